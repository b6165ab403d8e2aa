"""Datagrams: all layers of a UDP packet (gossip protocol, 1 and 4).

[label] [encryption] [checksum] [compress] [compound] message
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gossip.config import PoolConfig
from gossip.errors import DecodeError
from gossip.wire import limits, numbers, reasons
from gossip.wire.body import unpack_untrusted
from gossip.wire.codec import decode_message_untrusted
from gossip.wire.crypto import ENCRYPTION_OVERHEAD_BYTES, Keyring, NonceSource
from gossip.wire.framing import (
    add_crc,
    check_label,
    compress_packet,
    compressed_bytes_from_body,
    join_parts,
    label_header,
    split_compound_untrusted,
    split_label_untrusted,
    strip_crc_untrusted,
)
from gossip.wire.lzw import decompress_untrusted
from gossip.wire.messages import PacketMessage


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """What one datagram held: the good messages in order, and why the rest was dropped."""

    messages: list[PacketMessage]
    drops: list[DecodeError]
    key: bytes | None = None
    """What opened it; None for plain text."""


class PacketCodec:
    """Wraps messages into datagrams and unwraps them, for one pool.

    The keyring is shared: a change of keys is in force from the next packet on.
    """

    def __init__(
        self,
        pool: PoolConfig,
        keyring: Keyring | None,
        *,
        new_nonce: NonceSource,
        compress: bool = False,
    ) -> None:
        self._pool, self._keyring, self._compress = pool, keyring, compress
        self._new_nonce = new_nonce
        self._label = pool.label.encode()
        self._label_header = label_header(pool.label)

    def room_bytes(self, udp_buffer_bytes: int) -> int:
        """What is left for messages in a datagram of that size, before checksum and compound."""
        sealed = self._keyring is not None and self._pool.verify_outgoing
        overhead = ENCRYPTION_OVERHEAD_BYTES if sealed else 0
        return udp_buffer_bytes - len(self._label_header) - overhead

    def encode(self, parts: Sequence[bytes], *, crc: bool) -> bytes:
        """Make a datagram of 1 to 255 encoded messages."""
        packet = join_parts(parts)
        if self._compress:
            packet = compress_packet(packet)
        if crc:
            packet = add_crc(packet)
        if self._keyring is not None and self._pool.verify_outgoing:
            packet = self._keyring.encrypt(packet, aad=self._label, nonce=self._new_nonce())
        return self._label_header + packet

    def decode_untrusted(self, datagram: bytes) -> DecodedPacket:
        """Read a datagram. Nothing in it makes this raise; what is bad ends up in `drops`."""
        decoded = DecodedPacket([], [])
        try:
            opened, key = self._open_untrusted(datagram)
            decoded = DecodedPacket([], [], key)
            packet = strip_crc_untrusted(opened)
            if packet and packet[0] not in (numbers.COMPOUND, numbers.COMPRESS):
                decoded.messages.append(decode_message_untrusted(packet))
                return decoded
        except DecodeError as error:
            decoded.drops.append(error)
            return decoded
        _Unwrapping(decoded).unwrap_untrusted(packet, layers=0, is_expanded=False)
        return decoded

    def _open_untrusted(self, datagram: bytes) -> tuple[bytes, bytes | None]:
        """Take off label and encryption; also the key."""
        label, packet = split_label_untrusted(datagram)
        if label or self._label:
            check_label(label, expected=self._label, skip_check=self._pool.skip_inbound_label_check)
        if self._keyring is None:
            return packet, None
        try:
            return self._keyring.open_untrusted(packet, aad=self._label)
        except DecodeError:
            if self._pool.verify_incoming:
                raise
            return packet, None


class _Unwrapping:
    """Takes one packet apart, under the bounds that hold for it as a whole (14.3)."""

    def __init__(self, decoded: DecodedPacket) -> None:
        self._decoded = decoded
        self._parts_left = limits.PACKET_PARTS_MAX

    def unwrap_untrusted(self, packet: bytes, *, layers: int, is_expanded: bool) -> None:
        kind = packet[0] if packet else None
        try:
            if kind not in (numbers.COMPOUND, numbers.COMPRESS):
                self._decoded.messages.append(decode_message_untrusted(packet))
                return
            if layers == limits.PACKET_LAYERS_MAX:
                raise DecodeError(reasons.TOO_MANY_LAYERS)
            if kind == numbers.COMPOUND:
                self._unwrap_compound(packet, layers=layers + 1, is_expanded=is_expanded)
                return
            if is_expanded:
                raise DecodeError(reasons.TOO_MANY_LAYERS, "compress inside compress")
            expanded = _expand_untrusted(packet)
        except DecodeError as error:
            self._decoded.drops.append(error)
            return
        self.unwrap_untrusted(expanded, layers=layers + 1, is_expanded=True)

    def _unwrap_compound(self, packet: bytes, *, layers: int, is_expanded: bool) -> None:
        parts, is_cut = split_compound_untrusted(packet)
        if is_cut:
            self._decoded.drops.append(DecodeError(reasons.COMPOUND_CUT))
        for part in parts:
            if not self._parts_left:
                raise DecodeError(reasons.TOO_MANY_PARTS)
            self._parts_left -= 1
            if part:
                self.unwrap_untrusted(part, layers=layers, is_expanded=is_expanded)
            else:
                self._decoded.drops.append(DecodeError(reasons.EMPTY_PART))


def _expand_untrusted(packet: bytes) -> bytes:
    expanded = decompress_untrusted(
        compressed_bytes_from_body(unpack_untrusted(packet[1:])),
        output_bytes_max=limits.PACKET_EXPANSION_BYTES_MAX,
    )
    if not expanded:
        raise DecodeError(reasons.EMPTY, "compression of nothing")
    return expanded
