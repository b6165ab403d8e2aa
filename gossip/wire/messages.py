"""Every message of the gossip protocol as a value (gossip protocol, sections 5, 6 and 10).

Addresses and metadata stay the bytes that were on the wire: two encodings of one address are
different claims (section 8.4), and metadata is forwarded unchanged. Codecs are in `codec.py`.

What idle members send each other all the time are named tuples, which are made and compared in a
third of the time that a frozen dataclass takes. Where every packet comes by, they are unpacked: one
of their fields takes as long to look up as all of them.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from gossip.types import Incarnation, LamportTime, MemberName, SeqNo

NO_NAME = MemberName("")

make: Final = tuple.__new__
"""Makes a named tuple, `make(Ack, (seq_no, payload))`, in half the time that calling it takes."""


class Ping(NamedTuple):
    seq_no: SeqNo
    node: MemberName
    """Intended target; empty means anyone."""
    source_addr: bytes = b""
    source_port: int = 0
    source_node: MemberName = NO_NAME


@dataclass(frozen=True, slots=True)
class IndirectPing:
    seq_no: SeqNo
    target: bytes
    port: int
    node: MemberName
    nack: bool
    source_addr: bytes = b""
    source_port: int = 0
    source_node: MemberName = NO_NAME


class Ack(NamedTuple):
    seq_no: SeqNo
    payload: bytes | None = None
    """A coordinate (section 11.2), or None in relayed acks and over TCP."""


@dataclass(frozen=True, slots=True)
class Nack:
    seq_no: SeqNo


@dataclass(frozen=True, slots=True)
class ErrorReply:
    error: str


@dataclass(frozen=True, slots=True)
class Suspect:
    incarnation: Incarnation
    node: MemberName
    from_node: MemberName
    refused: bool = False
    """`from_node` was refused a connection: ours, the reference ignores and strips it."""


@dataclass(frozen=True, slots=True)
class Dead:
    incarnation: Incarnation
    node: MemberName
    from_node: MemberName
    """The accuser; equal to `node` when the member left on purpose."""
    refused: bool = False
    """Declared on crash evidence rather than for silence: ours, as in `Suspect`."""


@dataclass(frozen=True, slots=True)
class Alive:
    incarnation: Incarnation
    node: MemberName
    addr: bytes
    port: int
    meta: bytes
    vsn: bytes
    """[pmin, pmax, pcur, dmin, dmax, dcur], section 7."""


@dataclass(frozen=True, slots=True)
class UserMessage:
    payload: bytes


class PushPullNode(NamedTuple):
    name: MemberName
    addr: bytes
    port: int
    meta: bytes
    incarnation: Incarnation
    state: int
    """A `MemberState` number; other numbers are refused when decoding."""
    vsn: bytes


@dataclass(frozen=True, slots=True)
class PushPull:
    join: bool
    nodes: tuple[PushPullNode, ...]
    user_state: bytes = b""


PacketMessage = Ping | IndirectPing | Ack | Nack | Suspect | Alive | Dead | UserMessage
"""What a datagram can carry once its layers are peeled off."""

StreamMessage = Ping | Ack | PushPull | UserMessage | ErrorReply
"""What one direction of a TCP exchange can carry."""

Message = PacketMessage | StreamMessage


# Serf's messages (section 10.1): inside user messages, push/pull user state and query payloads.


@dataclass(frozen=True, slots=True)
class LeaveIntent:
    ltime: LamportTime
    node: MemberName
    prune: bool = False


@dataclass(frozen=True, slots=True)
class JoinIntent:
    ltime: LamportTime
    node: MemberName


@dataclass(frozen=True, slots=True)
class UserEventEntry:
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class UserEventSlot:
    ltime: LamportTime
    events: tuple[UserEventEntry, ...]


@dataclass(frozen=True, slots=True)
class SerfState:
    """Serf's part of a push/pull (section 10.8). Unused event slots are left out."""

    ltime: LamportTime
    status_ltimes: dict[MemberName, LamportTime]
    left_members: tuple[MemberName, ...]
    event_ltime: LamportTime
    events: tuple[UserEventSlot, ...]
    query_ltime: LamportTime


@dataclass(frozen=True, slots=True)
class UserEvent:
    ltime: LamportTime
    name: str
    payload: bytes
    coalesce: bool


@dataclass(frozen=True, slots=True)
class Query:
    ltime: LamportTime
    id: int
    addr: bytes
    port: int
    source_node: MemberName
    filters: tuple[bytes, ...]
    flags: int
    relay_factor: int
    timeout_ns: int
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class QueryResponse:
    ltime: LamportTime
    id: int
    from_node: MemberName
    flags: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ConflictResponse:
    name: MemberName
    addr: bytes
    port: int
    tags: dict[str, str]
    status: int
    vsn: bytes
    """The six version fields in `Vsn` order."""


@dataclass(frozen=True, slots=True)
class KeyRequest:
    key: bytes


@dataclass(frozen=True, slots=True)
class KeyResponse:
    result: bool
    message: str
    keys: tuple[str, ...]
    primary_key: str


@dataclass(frozen=True, slots=True)
class Relay:
    dest_addr: bytes
    dest_port: int
    dest_name: MemberName
    inner: bytes
    """The Serf message to pass on unchanged, from its type byte on."""


# What Serf carries as opaque bytes inside the messages above.


@dataclass(frozen=True, slots=True)
class NodeFilter:
    """A query is for these members only (section 10.11)."""

    names: tuple[MemberName, ...]


@dataclass(frozen=True, slots=True)
class TagFilter:
    """A query is for members whose tag matches, as an unanchored search (section 10.11)."""

    tag: str
    expression: str
    """In Go's RE2 syntax; never to be run without a bound."""


QueryFilter = NodeFilter | TagFilter


class Coordinate(NamedTuple):
    """Where a member is in the latency space (section 11), as an ack carries it. Seconds."""

    vec: tuple[float, ...]
    error: float
    adjustment: float
    height: float


SerfMessage = (
    LeaveIntent
    | JoinIntent
    | SerfState
    | UserEvent
    | Query
    | QueryResponse
    | ConflictResponse
    | KeyRequest
    | KeyResponse
    | Relay
)
