"""What the membership machines ask of their shell, and what they tell it.

Imperatives are requests: the shell sends or opens what they name and reports back by the same
`stream_id`. Past tenses are facts. The Serf layer passes the requests through and turns SWIM's
facts into its own (`gossip/serf/events.py`).
"""

from dataclasses import dataclass
from typing import NamedTuple

from gossip.types import Address, MemberName
from gossip.wire.messages import Alive, PacketMessage, Ping, PushPull


class SendPacket(NamedTuple):
    """Send one datagram made of these encoded messages (more than one: a compound)."""

    to: Address
    parts: tuple[bytes, ...]
    crc: bool = False
    """Put a CRC header in front (gossip protocol, 4.3)."""
    message: PacketMessage | None = None
    """What the first of `parts` encodes, where that was made for this packet. The simulator hands
    it to the receiver, who would read the same of the bytes."""


@dataclass(frozen=True, slots=True)
class OpenPushPull:
    """Dial `to`, send `state`, read the reply; report it or the failure before `deadline_at`."""

    stream_id: int
    to: Address
    state: PushPull
    deadline_at: float


@dataclass(frozen=True, slots=True)
class OpenTcpPing:
    """Dial `to`, send `ping`, read the ack; report it or the failure before `deadline_at`."""

    stream_id: int
    to: Address
    ping: Ping
    deadline_at: float


ShellRequest = SendPacket | OpenPushPull | OpenTcpPing


@dataclass(frozen=True, slots=True)
class PushPullFinished:
    """The exchange that `OpenPushPull` asked for has been merged (error None) or has failed."""

    stream_id: int
    to: Address
    error: str | None


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """A well-formed message without effect that an operator may want to count.

    `reason` is a short stable identifier, for instance `ping-for-another-name`.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StallNoticed:
    """Our own process did not run for so long; nobody is accused on account of that time."""

    stalled_s: float


@dataclass(frozen=True, slots=True)
class NameConflict:
    """Two addresses claim one name; the first holder keeps it (gossip protocol, 8.4 step 5)."""

    name: MemberName
    holder: Address
    claimant: Alive
