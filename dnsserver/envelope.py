"""Around the records of a response: header, flags, OPT, the room there is, and refusals."""

import struct
from dataclasses import dataclass

from dnsserver import records
from dnsserver.answers import Answer
from dnsserver.labels import ROOT
from dnsserver.query import Query

UDP_BYTES_DEFAULT = 512
UDP_BYTES_MAX = 65507
"""What fits into an IPv4 datagram."""
TCP_BYTES_MAX = 65535
ID_BYTES = 2
ANSWER_COUNT_AT = 6
"""Where a message says how many answers it has, in two bytes."""

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010

_HEADER = struct.Struct(">HHHHHH")
_OPT_FIXED = struct.Struct(">HHIH")


@dataclass(frozen=True, slots=True)
class Room:
    """How large a response may be."""

    bytes_max: int
    answers_max: int | None
    """The same for the answers about a service. None: no limit but the size."""

    @property
    def answers_useful(self) -> int:
        """How many answers need to be known to decide what is left out."""
        # An A record with a compressed name, the smallest, has 16 bytes.
        by_size = self.bytes_max // 16 + 1
        return by_size if self.answers_max is None else min(self.answers_max + 1, by_size)


def room_for(query: Query, *, is_tcp: bool, small_answers_max: int) -> Room:
    """Return the room for the response to `query`."""
    if is_tcp:
        return Room(TCP_BYTES_MAX, None)
    offered = UDP_BYTES_DEFAULT if query.edns is None else query.edns.udp_bytes
    if offered <= UDP_BYTES_DEFAULT:
        return Room(UDP_BYTES_DEFAULT, small_answers_max)
    return Room(min(offered, UDP_BYTES_MAX), None)


def encode_rejection(packet: bytes, rcode: int, question: bytes) -> bytes:
    """Return the response to a packet that is no acceptable query; it has at least a header."""
    id_, flags = struct.unpack_from(">HH", packet)
    opcode = flags & 0x7800 if rcode == records.NOTIMP else 0
    kept = flags & (TC | RD | RA | AD | CD)
    count = 1 if question else 0
    return _HEADER.pack(id_, QR | opcode | kept | rcode, count, 0, 0, 0) + question


def encode_slip(query: Query) -> bytes:
    """Return the response that has nothing but TC."""
    flags = QR | AA | TC | query.flags & (0x7800 | RD | CD)
    return _HEADER.pack(query.id, flags, 1, 0, 0, 0) + query.question


def header(query: Query, flags: int, counts: tuple[int, int, int]) -> bytes:
    """Return the header of a response to one question; `counts` are of the other sections."""
    return _HEADER.pack(query.id, flags, 1, *counts)


def response_flags(query: Query, answer: Answer, *, is_cut: bool, has_recursors: bool) -> int:
    """Return the flags: AA, TC, RA and the code as told, RD and CD as asked."""
    flags = QR | query.flags & 0x7800 | answer.rcode
    if query.opcode == records.OPCODE_QUERY:
        flags |= query.flags & (RD | CD)
    if answer.is_authoritative:
        flags |= AA
    if is_cut:
        flags |= TC
    if answer.has_recursion or has_recursors:
        flags |= RA
    return flags


def opt_record(query: Query, answer: Answer) -> bytes:
    """Return our OPT: version 0 whatever was asked, no DO, the client's size and subnet echoed."""
    if query.edns is None:
        return b""
    options = query.edns.subnet_echo(is_for_subnet=answer.is_for_subnet)
    fixed = _OPT_FIXED.pack(records.OPT, query.edns.udp_bytes, 0, len(options))
    return ROOT + fixed + options
