"""The layers that need no key: label, checksum, compound, compress (gossip protocol, 4)."""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

from gossip.errors import DecodeError
from gossip.wire import limits, numbers, reasons
from gossip.wire.body import blob, fields_untrusted, pack, u64
from gossip.wire.lzw import compress

CRC_OVERHEAD_BYTES: Final = 5
COMPOUND_OVERHEAD_BYTES: Final = 2
"""Type and count."""
PART_OVERHEAD_BYTES: Final = 2
"""Each part's length."""
_COMPRESS: Final = (b"Algo", b"Buf")
_ALGO_LZW: Final = 0


def label_header(label: str) -> bytes:
    """What stands in front of every datagram and every dialled stream; nothing without label."""
    if not label:
        return b""
    encoded = label.encode()
    return bytes((numbers.LABEL, len(encoded))) + encoded


def split_label_untrusted(data: bytes) -> tuple[bytes, bytes]:
    """Take the label, possibly empty, off `data`.

    Raises:
        DecodeError: There is a header, and it is cut or its label is empty.
    """
    if not data or data[0] != numbers.LABEL:
        return b"", data
    end = 2 + data[1] if len(data) > 1 else 0
    if end < 3 or len(data) < end:
        raise DecodeError(reasons.BAD_LABEL)
    return data[2:end], data[end:]


def check_label(found: bytes, *, expected: bytes, skip_check: bool) -> None:
    """Compare a peer's label with the pool's (section 4.1).

    Raises:
        DecodeError: It belongs to another pool, or is there although the check is skipped.
    """
    if found != (b"" if skip_check else expected):
        raise DecodeError(reasons.WRONG_LABEL)


def add_crc(message: bytes) -> bytes:
    """Put a checksum in front of a whole packet."""
    return b"\x0c" + crc32(message).to_bytes(4, "big") + message


def strip_crc_untrusted(data: bytes) -> bytes:
    """Check and take off the checksum, if there is one.

    Raises:
        DecodeError: It is wrong, or nothing follows it.
    """
    if not data or data[0] != numbers.CRC:
        return data
    if len(data) < CRC_OVERHEAD_BYTES:
        raise DecodeError(reasons.UNKNOWN_TYPE, "a cut checksum")
    message = data[CRC_OVERHEAD_BYTES:]
    if not message:
        raise DecodeError(reasons.EMPTY, "a checksum of nothing")
    if crc32(message) != int.from_bytes(data[1:CRC_OVERHEAD_BYTES], "big"):
        raise DecodeError(reasons.BAD_CRC)
    return message


def join_parts(parts: Sequence[bytes]) -> bytes:
    """Make one packet of encoded messages; a single one stands for itself."""
    if len(parts) == 1:
        return parts[0]
    assert 2 <= len(parts) <= limits.COMPOUND_PARTS_MAX
    assert all(parts), "receivers may stop at an empty part"
    table = b"".join(len(part).to_bytes(2, "big") for part in parts)
    return bytes((numbers.COMPOUND, len(parts))) + table + b"".join(parts)


def split_compound_untrusted(data: bytes) -> tuple[list[bytes], bool]:
    """The parts that are whole, in order, and whether the last ones were cut.

    Raises:
        DecodeError: The table of lengths itself is cut, or there are no parts.
    """
    count = data[1] if len(data) > 1 else 0
    position = COMPOUND_OVERHEAD_BYTES + count * PART_OVERHEAD_BYTES
    if not count or len(data) < position:
        raise DecodeError(reasons.COMPOUND_CUT, "no parts or a cut table")
    parts: list[bytes] = []
    for entry in range(COMPOUND_OVERHEAD_BYTES, position, PART_OVERHEAD_BYTES):
        end = position + (data[entry] << 8 | data[entry + 1])
        if end > len(data):
            return parts, True
        parts.append(data[position:end])
        position = end
    return parts, False


def compress_body(compressed: bytes) -> bytes:
    """The compress message around LZW output."""
    return b"\x09" + pack({"Algo": _ALGO_LZW, "Buf": compressed})


def compress_packet(packet: bytes) -> bytes:
    """Compress a packet if that makes it shorter."""
    shorter = compress_body(compress(packet))
    return shorter if len(shorter) < len(packet) else packet


def compressed_bytes_from_body(body: object) -> bytes:
    """Check an unpacked compress body and give its LZW input.

    Raises:
        DecodeError: A field is wrong or the algorithm is not LZW.
    """
    algorithm, compressed = fields_untrusted(body, _COMPRESS)[:2]
    if u64(algorithm) != _ALGO_LZW:
        raise DecodeError(reasons.BAD_COMPRESSION, f"algorithm {algorithm}")
    return blob(compressed)
