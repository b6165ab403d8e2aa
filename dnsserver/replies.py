"""Responses of recursors: whether one answers a query, and the addresses in it.

Everything is bounded: a name is followed through at most so many pointers, and what is malformed
ends the reading.
"""

import struct
from typing import Final

from dnsserver.labels import NAME_BYTES_MAX
from dnsserver.query import HEADER_BYTES
from dnsserver.records import AAAA, CNAME, A, Record, name_record

RECORDS_MAX: Final = 64
"""Of one response; more are not read."""
POINTERS_MAX: Final = 32

_FLAGS_AND_COUNTS = struct.Struct(">HHH")
_RECORD_FIXED = struct.Struct(">HHIH")
_QR, _TC = 0x8000, 0x0200


class ReplyError(ValueError):
    """A response cannot be read."""


def is_reply_untrusted(packet: bytes, id_: int, question: bytes) -> bool:
    """Say whether this is the response to the query with this id and question."""
    if len(packet) < HEADER_BYTES + len(question):
        return False
    flags, questions, _ = _FLAGS_AND_COUNTS.unpack_from(packet, 2)
    if int.from_bytes(packet[:2], "big") != id_ or not flags & _QR or questions != 1:
        return False
    # A recursor may answer in other letter case, which is no other name.
    return packet[HEADER_BYTES : HEADER_BYTES + len(question)].lower() == question.lower()


def rcode_of(packet: bytes) -> int:
    """Return the response code, without the upper bits that EDNS0 has."""
    return packet[3] & 15


def is_truncated(packet: bytes) -> bool:
    """Say whether TC is set."""
    return bool(int.from_bytes(packet[2:4], "big") & _TC)


def truncated(packet: bytes, question: bytes) -> bytes:
    """Return a response without its records, and with TC."""
    flags = int.from_bytes(packet[2:4], "big") | _TC
    return packet[:2] + flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\0" + question


def addresses_untrusted(packet: bytes, question: bytes) -> list[Record]:
    """Return the A, AAAA and CNAME records of the answer section.

    Raises:
        ReplyError: It is malformed.
    """
    count = min(_FLAGS_AND_COUNTS.unpack_from(packet, 2)[2], RECORDS_MAX)
    at = HEADER_BYTES + len(question)
    found: list[Record] = []
    for _ in range(count):
        name, at = _read_name(packet, at)
        if at + _RECORD_FIXED.size > len(packet):
            raise ReplyError("a record ends early")
        type_, _, ttl_s, data_bytes = _RECORD_FIXED.unpack_from(packet, at)
        at += _RECORD_FIXED.size
        data = packet[at : at + data_bytes]
        if len(data) != data_bytes:
            raise ReplyError("data ends early")
        ttl_s = ttl_s if ttl_s < 2**31 else 0
        if (type_ == A and data_bytes == 4) or (type_ == AAAA and data_bytes == 16):
            found.append(Record(name, type_, ttl_s, data))
        elif type_ == CNAME:
            found.append(name_record(name, CNAME, ttl_s, _read_name(packet, at)[0]))
        at += data_bytes
    return found


def _read_name(packet: bytes, at: int) -> tuple[bytes, int]:
    """Return a name without pointers, and where it ends in the packet."""
    name = bytearray()
    end: int | None = None
    pointers = 0
    while at < len(packet):
        length = packet[at]
        if length & 0xC0 == 0xC0:
            if at + 1 >= len(packet) or pointers == POINTERS_MAX:
                break
            end = at + 2 if end is None else end
            at = int.from_bytes(packet[at : at + 2], "big") & 0x3FFF
            pointers += 1
            continue
        label = packet[at : at + 1 + length]
        if length & 0xC0 or len(label) != 1 + length or len(name) + len(label) > NAME_BYTES_MAX:
            break
        name += label
        at += 1 + length
        if not length:
            return bytes(name), at if end is None else end
    raise ReplyError("a name is malformed")
