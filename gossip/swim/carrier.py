"""Datagrams and their freight: rumors ride on every packet that has room (9.2, 9.3).

It knows sizes and overheads; who gets a packet, and why, is decided by its callers.
"""

from typing import Protocol

from gossip.config import GossipConfig
from gossip.swim.broadcasts import BroadcastQueue, Freight, retransmit_limit
from gossip.swim.effects import SendPacket
from gossip.swim.facts import Emit
from gossip.swim.table import Entry, MemberTable
from gossip.swim.versions import PMAX_CRC, pmax
from gossip.types import Address
from gossip.wire.codec import encode_message
from gossip.wire.limits import COMPOUND_PARTS_MAX
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Nack,
    PacketMessage,
    Ping,
    Suspect,
    make,
)

_COMPOUND_HEADER_BYTES = 2
_PART_BYTES = 2
"""What a compound's length table adds for each part."""
_CRC_BYTES = 5
_USER_TYPE = b"\x08"
_USER_PART_BYTES = _PART_BYTES + len(_USER_TYPE)


class UserRumors(Protocol):
    """The upper layer's queues; their rumors travel as user messages."""

    @property
    def freight(self) -> Freight:
        """Counts the rumors of these queues, and takes in those of ours."""
        ...

    @property
    def has_urgent(self) -> bool:
        """Whether one of them goes before any claim."""
        ...

    def draw(
        self,
        *,
        room_bytes: int,
        overhead_bytes: int,
        count_max: int,
        to: Address,
        others_present: int,
    ) -> list[bytes]:
        """Take rumors as `BroadcastQueue.draw` does."""
        ...


def packet_room_bytes(config: GossipConfig, *, keyring_overhead_bytes: int) -> int:
    """What is left of a datagram for a compound's parts and their lengths, CRC allowed for."""
    label_bytes = len(config.pool.label.encode())
    label_overhead = 2 + label_bytes if label_bytes else 0
    return (
        config.swim.udp_buffer_bytes
        - _COMPOUND_HEADER_BYTES
        - _CRC_BYTES
        - label_overhead
        - keyring_overhead_bytes
    )


def rumor_bytes_max(room_bytes: int) -> int:
    """The largest claim that a packet with `room_bytes` carries."""
    return room_bytes - _PART_BYTES


def user_rumor_bytes_max(room_bytes: int) -> int:
    """The largest user message that a packet with `room_bytes` carries."""
    return room_bytes - _USER_PART_BYTES


class Carrier:
    """Fills packets and emits them."""

    def __init__(
        self,
        room_bytes: int,
        *,
        retransmit_mult: int,
        table: MemberTable,
        rumors: BroadcastQueue,
        user_rumors: UserRumors,
        emit: Emit,
    ) -> None:
        self._room_bytes, self._retransmit_mult = room_bytes, retransmit_mult
        self._table, self._rumors, self._user_rumors = table, rumors, user_rumors
        self._freight = user_rumors.freight
        self._emit = emit

    def send(self, to: Address, message: Ping | IndirectPing | Ack | Nack) -> None:
        """Send a message with whatever rumors fit beside it."""
        body = encode_message(message)
        if not self._freight.count:
            self._emit(make(SendPacket, (to, (body,), False, message)))
            return
        room_bytes = self._room_bytes - _PART_BYTES - len(body)
        freight = self._draw(to, room_bytes, COMPOUND_PARTS_MAX - 1)
        self._emit(SendPacket(to, (body, *freight), message=message))

    def send_exactly(self, to: Entry, *messages: PacketMessage) -> None:
        """Send these messages to a member in one packet, and nothing else."""
        parts = tuple(encode_message(message) for message in messages)
        self._emit(SendPacket(to.address, parts, crc=pmax(to.vsn) >= PMAX_CRC))

    def send_claim(self, to: Address, claim: Alive | Suspect | Dead) -> None:
        """Send one claim, perhaps to an address that no member has."""
        self._emit(SendPacket(to, (encode_message(claim),)))

    def send_rumors(self, to: Entry) -> None:
        """Send a packet of rumors to a member, if there are any for it."""
        freight = self._draw(to.address, self._room_bytes, COMPOUND_PARTS_MAX)
        if freight:
            self._emit(SendPacket(to.address, tuple(freight), crc=pmax(to.vsn) >= PMAX_CRC))

    def _draw(self, to: Address, room_bytes: int, count_max: int) -> list[bytes]:
        if not self._freight.count:
            return []
        if self._user_rumors.has_urgent:
            first = self._draw_user(to, room_bytes, count_max)
            room_bytes -= sum(map(len, first)) + _PART_BYTES * len(first)
            return first + self._draw_claims(to, room_bytes, count_max - len(first))
        first = self._draw_claims(to, room_bytes, count_max)
        room_bytes -= sum(map(len, first)) + _PART_BYTES * len(first)
        return first + self._draw_user(to, room_bytes, count_max - len(first))

    def _draw_claims(self, to: Address, room_bytes: int, count_max: int) -> list[bytes]:
        return self._rumors.draw(
            room_bytes=room_bytes,
            overhead_bytes=_PART_BYTES,
            limit=retransmit_limit(self._retransmit_mult, len(self._table)),
            count_max=count_max,
            to=to,
            others_present=self._table.others_present,
        )

    def _draw_user(self, to: Address, room_bytes: int, count_max: int) -> list[bytes]:
        if room_bytes <= _USER_PART_BYTES or count_max <= 0:
            return []
        payloads = self._user_rumors.draw(
            room_bytes=room_bytes,
            overhead_bytes=_USER_PART_BYTES,
            count_max=count_max,
            to=to,
            others_present=self._table.others_present,
        )
        return [_USER_TYPE + payload for payload in payloads]
