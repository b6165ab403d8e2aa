"""Raft's vocabulary: terms, log indexes, entries, membership, what is kept on disk."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, NewType

import msgpack

from svcmesh.errors import DecodeError

Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)
"""Position in the log, from 1; 0 is before the first entry."""

ServerId = NewType("ServerId", str)
"""A server's node id. Where it is reached is the member table's business."""

ReadId = NewType("ReadId", int)
SaveToken = NewType("SaveToken", int)

SERVERS_MAX = 64


class EntryKind(IntEnum):
    """What an entry is for."""

    COMMAND = 0
    """For the state machine."""
    NOOP = 1
    """A new leader's first: it commits what earlier terms have left (thesis, 3.6.2, 6.4)."""
    MEMBERS = 2
    """A `Membership`, in force as soon as it is in the log (thesis, 4.1)."""


class Entry(NamedTuple):
    """One entry of the log."""

    index: LogIndex  # type: ignore[assignment]  # a tuple's own `index` is of no use here
    term: Term
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class Membership:
    """Who votes, and who only follows. Both sorted, without repetition, disjoint."""

    voters: tuple[ServerId, ...]
    learners: tuple[ServerId, ...] = ()

    @classmethod
    def of(cls, voters: "set[ServerId]", learners: "set[ServerId] | None" = None) -> "Membership":
        """Build one from sets; who votes is no learner."""
        return cls(tuple(sorted(voters)), tuple(sorted((learners or set()) - voters)))

    @property
    def servers(self) -> tuple[ServerId, ...]:
        """All of them."""
        return self.voters + self.learners

    @property
    def quorum(self) -> int:
        """The smallest number of voters that is a majority."""
        return len(self.voters) // 2 + 1

    def voters_changed(self, other: "Membership") -> int:
        """How many servers vote in one of the two only."""
        return len(set(self.voters) ^ set(other.voters))

    def encode(self) -> bytes:
        """As the data of an entry."""
        return bytes(msgpack.packb([self.voters, self.learners]))

    @classmethod
    def decode_untrusted(cls, data: bytes) -> "Membership":
        """Read the data of an entry.

        Raises:
            DecodeError: It is none.
        """
        try:
            voters, learners = msgpack.unpackb(data)
            lists = [list(map(_server_id, ids)) for ids in (voters, learners)]
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise DecodeError("raft-membership", str(error)) from error
        if not lists[0] or sum(map(len, lists)) > SERVERS_MAX:
            raise DecodeError("raft-membership", "1 to 64 servers, at least one voter")
        return cls.of(set(lists[0]), set(lists[1]))


@dataclass(frozen=True, slots=True)
class HardState:
    """What a server must remember across restarts besides its log."""

    term: Term = Term(0)
    voted_for: ServerId | None = None


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot stands for: all entries up to `index`, and who was a member then."""

    index: LogIndex
    term: Term
    members: Membership


def _server_id(value: object) -> ServerId:
    if not isinstance(value, str) or not value:
        raise ValueError("a server id is text")
    return ServerId(value)
