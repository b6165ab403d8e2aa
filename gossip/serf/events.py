"""What the membership library tells its user."""

from dataclasses import dataclass
from enum import StrEnum

from gossip.swim.effects import MessageDropped, NameConflict, PushPullFinished, ShellRequest
from gossip.types import Address, Incarnation, LamportTime, MemberName


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


@dataclass(frozen=True, slots=True)
class LeaveFinished:
    """The leave has been handed on, or waited long enough; the shell may close now."""


MemberEvent = MemberJoined | MemberUpdated | MemberFailed | MemberLeft | MemberReaped
Event = (
    MemberEvent
    | UserPayloadReceived
    | UserEventReceived
    | NameConflict
    | PushPullFinished
    | MessageDropped
    | LeaveFinished
)
Effect = ShellRequest | Event
