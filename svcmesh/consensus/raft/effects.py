"""What the machine asks of its shell, and what it tells it."""

from dataclasses import dataclass
from enum import StrEnum

from svcmesh.consensus.raft.messages import Message
from svcmesh.consensus.raft.types import (
    Entry,
    HardState,
    LogIndex,
    Membership,
    ReadId,
    SaveToken,
    ServerId,
    SnapshotMeta,
    Term,
)


class Role(StrEnum):
    FOLLOWER = "follower"
    """Also a server that does not vote, or is no member."""
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Save:
    """Write to disk, in the order of the tokens; then call `handle_saved` with the last of them.

    An entry takes the place of the one with its index, and of all behind it.
    """

    token: SaveToken
    hard_state: HardState
    """As it is now, changed or not."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message; it may be lost, doubled, late or out of order."""

    to: ServerId
    message: Message


@dataclass(frozen=True, slots=True)
class SendSnapshot:
    """Bring the latest snapshot to a follower that is too far behind; then `handle_snapshot_sent`.

    It is received by `handle_snapshot` there.
    """

    to: ServerId
    term: Term


@dataclass(frozen=True, slots=True)
class Committed:
    """Apply the entries of the log up to `through`, in order."""

    through: LogIndex


@dataclass(frozen=True, slots=True)
class ReadReady:
    """What has been applied up to `index` may be read; it was committed when the read began."""

    id: ReadId
    index: LogIndex


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The leadership that a read relied on is over."""

    id: ReadId


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """Our role, term, or whom we take for the leader."""

    role: Role
    term: Term
    leader: ServerId | None


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """This membership is in force, committed or not."""

    members: Membership


@dataclass(frozen=True, slots=True)
class SnapshotInstalled:
    """The log is now what follows a snapshot that came from the leader: restore the state from it.

    The shell has it on disk already; the log on disk may be emptied after the `Save` that follows.
    """

    meta: SnapshotMeta


Effect = (
    Save
    | Send
    | SendSnapshot
    | Committed
    | ReadReady
    | ReadFailed
    | RoleChanged
    | MembersChanged
    | SnapshotInstalled
)
