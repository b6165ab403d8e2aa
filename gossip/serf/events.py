"""What the membership library tells its user."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gossip.swim.effects import (
    MessageDropped,
    NameConflict,
    PushPullFinished,
    ShellRequest,
    StallNoticed,
)
from gossip.types import Address, Incarnation, LamportTime, MemberName, Peer


class MemberStatus(StrEnum):
    """Serf's view of a member (gossip protocol, 10.4), as `serf members` prints it."""

    NONE = "none"
    ALIVE = "alive"
    LEAVING = "leaving"
    LEFT = "left"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as Serf shows it. A suspect member is still `ALIVE` here."""

    name: MemberName
    address: Address
    tags: dict[str, str]
    status: MemberStatus
    incarnation: Incarnation
    vsn: bytes
    """[pmin, pmax, pcur, dmin, dmax, dcur] (gossip protocol, 7)."""


@dataclass(frozen=True, slots=True)
class MemberJoined:
    member: Member


@dataclass(frozen=True, slots=True)
class MemberUpdated:
    """Address, tags or versions changed."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberFailed:
    member: Member


@dataclass(frozen=True, slots=True)
class MemberLeft:
    member: Member


@dataclass(frozen=True, slots=True)
class MemberReaped:
    """Forgotten: its name is free again."""

    member: Member


@dataclass(frozen=True, slots=True)
class PeerFound:
    """A lost peer answered when it was dialled again, and our states are merged."""

    peer: Peer
    lost_s: float


@dataclass(frozen=True, slots=True)
class UserPayloadReceived:
    """A direct user message whose first byte is 0x80 or above: not one of Serf's types."""

    payload: bytes
    source: Address


@dataclass(frozen=True, slots=True)
class UserEventReceived:
    """A user event, ours or another member's. Each is told once."""

    name: str
    payload: bytes
    ltime: LamportTime


class QueryId(NamedTuple):
    """Names a query in the pool, with next to no chance of another of the same name."""

    ltime: LamportTime
    id: int


@dataclass(frozen=True, slots=True)
class IncomingQuery:
    """A query that reached us, ours included."""

    id: QueryId
    name: str
    payload: bytes
    source_node: MemberName
    asker: Address
    deadline_at: float
    """An answer after it is of no use to anybody."""
    relay_factor: int


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """A query that the user may answer, once."""

    query: IncomingQuery


@dataclass(frozen=True, slots=True)
class QueryAcked:
    """A member has our query."""

    query: QueryId
    member: MemberName


@dataclass(frozen=True, slots=True)
class QueryAnswered:
    """A member's answer to our query."""

    query: QueryId
    member: MemberName
    payload: bytes


@dataclass(frozen=True, slots=True)
class QueryFinished:
    """No answer to our query is taken any more."""

    query: QueryId


class KeyOperation(StrEnum):
    """What a key query asks for; its name on the wire."""

    INSTALL = "_serf_install-key"
    USE = "_serf_use-key"
    REMOVE = "_serf_remove-key"
    LIST = "_serf_list-keys"


@dataclass(frozen=True, slots=True)
class KeyQueryReceived:
    """The shell is to do this to the keyring, and answer when it is durable."""

    query: IncomingQuery
    operation: KeyOperation
    key: bytes


@dataclass(frozen=True, slots=True)
class NameVoteFinished:
    """Another member claimed our name, and the others were asked whose it is."""

    is_ours: bool
    """If not, this member has to go."""
    matching: int
    answers: int


@dataclass(frozen=True, slots=True)
class LeaveFinished:
    """The leave has been handed on, or waited long enough; the shell may close now."""


MemberEvent = MemberJoined | MemberUpdated | MemberFailed | MemberLeft | MemberReaped
Event = (
    MemberEvent
    | PeerFound
    | UserPayloadReceived
    | UserEventReceived
    | QueryReceived
    | QueryAcked
    | QueryAnswered
    | QueryFinished
    | KeyQueryReceived
    | NameVoteFinished
    | NameConflict
    | StallNoticed
    | PushPullFinished
    | MessageDropped
    | LeaveFinished
)
Effect = ShellRequest | Event
