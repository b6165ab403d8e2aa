"""From the records of an answer to the bytes of a response that fits.

Consul's rules: a small UDP response about a service has at most so many answers; then answers are
dropped from the end until the rest fits, and with them the additional records that nothing refers
to any more. Names are compressed as RFC 1035 section 4.1.4 says, except SRV targets (RFC 2782),
which other names may point to nevertheless.

Written by hand: dnslib costs seven times as much, and its compression pointers go wrong beyond
16 KiB, where large TCP responses are.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dnsserver import records
from dnsserver.answers import Answer
from dnsserver.labels import ROOT
from dnsserver.query import HEADER_BYTES, Query
from dnsserver.records import Record

UDP_BYTES_DEFAULT = 512
UDP_BYTES_MAX = 65507
"""What fits into an IPv4 datagram."""
TCP_BYTES_MAX = 65535
SMALL_UNCOMPRESSED_BYTES_MAX = 505
"""A shortened small response keeps to this also when somebody on the way unpacks its names."""

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010

_POINTER_REACH = 0x4000
_HEADER = struct.Struct(">HHHHHH")
_RECORD_FIXED = struct.Struct(">HHIH")
_CLASS_IN = 1


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


def encode_response(
    query: Query, answer: Answer, room: Room, *, sets_tc: bool, has_recursors: bool
) -> tuple[bytes, bool]:
    """Return the response, never larger than the room, and whether anything was left out.

    `sets_tc`: whether TC says so; `has_recursors`: what RA says. Answers are never reordered.
    """
    answers, additional = answer.answers, answer.additional
    is_cut = False
    answers_max = room.answers_max if answer.is_of_service else None
    if answers_max is not None and len(answers) > answers_max:
        answers, additional = _shorten(query, answer, answers_max)
        is_cut = True
    opt = _opt_record(query) if answer.has_edns else b""
    writer = _Writer(query.question)
    for record in (*answers, *answer.authority, *additional):
        writer.write(record)
        if len(writer.buffer) > room.bytes_max:
            break
    counts = (len(answers), len(answer.authority), len(additional))
    if len(writer.buffer) + len(opt) > room.bytes_max:
        writer = _Writer(query.question)
        counts = _write_what_fits(writer, answer, answers, room.bytes_max - len(opt))
        is_cut = True
    writer.buffer += opt
    flags = _flags(query, answer) | (TC if is_cut and sets_tc else 0) | (RA if has_recursors else 0)
    header = _HEADER.pack(query.id, flags, 1, counts[0], counts[1], counts[2] + (1 if opt else 0))
    writer.buffer[:HEADER_BYTES] = header
    return bytes(writer.buffer), is_cut


def _flags(query: Query, answer: Answer) -> int:
    flags = QR | query.flags & 0x7800 | answer.rcode
    if query.opcode == records.OPCODE_QUERY:
        flags |= query.flags & (RD | CD)
    if answer.is_authoritative:
        flags |= AA
    if answer.has_recursion:
        flags |= RA
    return flags


def _opt_record(query: Query) -> bytes:
    """Return our OPT: version 0 whatever was asked, no DO, the client's size and subnet echoed."""
    if query.edns is None:
        return b""
    options = query.edns.subnet_option
    fixed = _RECORD_FIXED.pack(records.OPT, query.edns.udp_bytes, 0, len(options))
    return ROOT + fixed + options


class _Writer:
    """A message that grows, with the places of the names in it."""

    def __init__(self, question: bytes) -> None:
        self.buffer = bytearray(HEADER_BYTES)
        self._places: dict[bytes, int] = {}
        self._write_name(question[:-4], is_compressible=True)
        self.buffer += question[-4:]

    def write(self, record: Record) -> None:
        buffer = self.buffer
        self._write_name(record.name, is_compressible=True)
        buffer += _RECORD_FIXED.pack(record.type, _CLASS_IN, record.ttl_s, len(record.head))
        buffer += record.head
        if record.names:
            data_at = len(buffer) - len(record.head)
            for name in record.names:
                self._write_name(name, is_compressible=record.type != records.SRV)
            buffer += record.tail
            struct.pack_into(">H", buffer, data_at - 2, len(buffer) - data_at)

    def bytes_at_most(self, record: Record) -> int:
        """Return a bound for what writing the record will take."""
        owner_bytes = 2 if record.name in self._places else len(record.name)
        return owner_bytes + _uncompressed_bytes(record) - len(record.name)

    def undo_to(self, end: int) -> None:
        """Forget what was written from `end` on."""
        del self.buffer[end:]
        places = self._places
        while places and next(reversed(places.values())) >= end:
            places.popitem()

    def _write_name(self, name: bytes, *, is_compressible: bool) -> None:
        places, buffer = self._places, self.buffer
        start = len(buffer)
        at = 0
        while length := name[at]:
            suffix = name[at:] if at else name
            place = places.get(suffix)
            if place is None:
                if start + at < _POINTER_REACH:
                    places[suffix] = start + at
            elif is_compressible:
                buffer += name[:at]
                buffer += (0xC000 | place).to_bytes(2, "big")
                return
            at += 1 + length
        buffer += name


def _uncompressed_bytes(record: Record) -> int:
    data_bytes = len(record.head) + sum(map(len, record.names)) + len(record.tail)
    return len(record.name) + _RECORD_FIXED.size + data_bytes


def _shorten(query: Query, answer: Answer, answers_max: int) -> tuple[list[Record], list[Record]]:
    """Keep at most `answers_max` answers, and at least one of those that should fit."""
    index = _index(answer.additional)
    fixed_bytes = HEADER_BYTES + len(query.question)
    for count in range(answers_max, 0, -1):
        answers = answer.answers[:count]
        additional = _referenced(answers, index)
        kept = (*answers, *answer.authority, *additional)
        if fixed_bytes + sum(map(_uncompressed_bytes, kept)) <= SMALL_UNCOMPRESSED_BYTES_MAX:
            return answers, additional
    answers = answer.answers[: min(answers_max, 1)]
    return answers, _referenced(answers, index)


def _write_what_fits(
    writer: _Writer, answer: Answer, answers: Sequence[Record], bytes_max: int
) -> tuple[int, int, int]:
    """Write as many answers as fit with their additional records; return the sections' counts."""
    authority = answer.authority
    authority_bytes = sum(map(writer.bytes_at_most, authority))
    if len(writer.buffer) + authority_bytes > bytes_max:
        authority, authority_bytes = [], 0
    index = _index(answer.additional)
    written = 0
    reserved_bytes = authority_bytes
    extras: list[Record] = []
    seen: set[bytes] = set()
    for record in answers:
        mark = len(writer.buffer)
        writer.write(record)
        own_extras = _referenced((record,), index, seen)
        extra_bytes = sum(map(writer.bytes_at_most, own_extras))
        if len(writer.buffer) + reserved_bytes + extra_bytes > bytes_max:
            # The last resort is one answer without its additional records.
            if written or len(writer.buffer) + reserved_bytes > bytes_max:
                writer.undo_to(mark)
                break
            written += 1
            break
        written += 1
        reserved_bytes += extra_bytes
        extras += own_extras
    for record in (*authority, *extras):
        writer.write(record)
    return written, len(authority), len(extras)


def _index(additional: Iterable[Record]) -> dict[bytes, Record]:
    index: dict[bytes, Record] = {}
    for record in additional:
        index.setdefault(record.name.lower(), record)
    return index


def _referenced(
    answers: Iterable[Record], index: dict[bytes, Record], seen: set[bytes] | None = None
) -> list[Record]:
    """Return the additional records of SRV and NS targets, aliases followed, each target once."""
    seen = set() if seen is None else seen
    found: list[Record] = []
    for answer in answers:
        if answer.type not in (records.SRV, records.NS):
            continue
        target = answer.names[0].lower()
        while target not in seen:
            seen.add(target)
            record = index.get(target)
            if record is None:
                break
            found.append(record)
            if record.type != records.CNAME:
                break
            target = record.names[0].lower()
    return found
