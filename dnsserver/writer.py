"""A message that grows record by record, its names compressed.

Names are compressed as RFC 1035 section 4.1.4 says, except SRV targets (RFC 2782), which other
names may point to nevertheless.
"""

import struct
from typing import Final, NamedTuple

from dnsserver import records
from dnsserver.query import HEADER_BYTES
from dnsserver.records import Record

RECORD_FIXED: Final = struct.Struct(">HHIH")
"""Type, class, TTL and length of the data."""
CLASS_IN: Final = 1
QUESTION_POINTER: Final = 0xC000 | HEADER_BYTES
"""Stands for the name that was asked."""
POINTER_BYTES: Final = 2
"""What a compressed name takes."""

_POINTER_REACH: Final = 0x4000
_SRV_WITH_OWNER: Final = struct.Struct(">HHHIHHHH")
_SRV_PRIORITY: Final = 1
_SRV_HEAD_BYTES: Final = 6


class Body(NamedTuple):
    """A response but for its header and its OPT record."""

    after_header: bytes | memoryview
    counts: tuple[int, int, int]
    """Answers, authority, additional records."""
    is_cut: bool
    """Whether something was left out."""


class Writer:
    """A message without its header yet, and the places of the names in it."""

    def __init__(self, question: bytes) -> None:
        self.buffer = bytearray(HEADER_BYTES)
        self._places: dict[bytes, int] = {}
        self._write_name(question[:-4], is_compressible=True)
        self.buffer += question[-4:]

    def write(self, record: Record) -> None:
        """Append a record of any type."""
        buffer = self.buffer
        self._write_name(record.name, is_compressible=True)
        buffer += RECORD_FIXED.pack(record.type, CLASS_IN, record.ttl_s, len(record.head))
        buffer += record.head
        if record.names:
            data_at = len(buffer) - len(record.head)
            for name in record.names:
                self._write_name(name, is_compressible=record.type != records.SRV)
            buffer += record.tail
            struct.pack_into(">H", buffer, data_at - 2, len(buffer) - data_at)

    def write_srv(self, srv: bytes, target: bytes) -> None:
        """Append an encoded SRV record of this target."""
        target_at = len(self.buffer) + len(srv) - len(target)
        self.buffer += srv
        if target not in self._places:
            self._note_name(target, target_at)

    def write_address(self, owner: bytes, data: bytes) -> None:
        """Append an A or AAAA record with this data, as it is encoded."""
        place = self._places.get(owner)
        if place is None:
            self._write_name(owner, is_compressible=True)
        else:
            self.buffer += (0xC000 | place).to_bytes(POINTER_BYTES, "big")
        self.buffer += data

    def owner_bytes_at_most(self, owner: bytes) -> int:
        """Return a bound for what a compressed name will take."""
        return POINTER_BYTES if owner in self._places else len(owner)

    def bytes_at_most(self, record: Record) -> int:
        """Return a bound for what writing the record will take."""
        owner_bytes = self.owner_bytes_at_most(record.name)
        return owner_bytes + uncompressed_bytes(record) - len(record.name)

    def undo_to(self, end: int) -> None:
        """Forget what was written from `end` on."""
        del self.buffer[end:]
        places = self._places
        while places and next(reversed(places.values())) >= end:
            places.popitem()

    def body(self, counts: tuple[int, int, int], *, is_cut: bool) -> Body:
        """Return what has been written."""
        return Body(memoryview(self.buffer)[HEADER_BYTES:], counts, is_cut)

    def _write_name(self, name: bytes, *, is_compressible: bool) -> None:
        end, place = self._note_name(name, len(self.buffer))
        if place is None or not is_compressible:
            self.buffer += name
        else:
            self.buffer += name[:end]
            self.buffer += (0xC000 | place).to_bytes(POINTER_BYTES, "big")

    def _note_name(self, name: bytes, start: int) -> tuple[int, int | None]:
        """Remember where the parts of a name will be that is about to be written at `start`.

        Returns where the part begins that was there before, and its place. None: there is none.
        """
        places = self._places
        at = 0
        while length := name[at]:
            suffix = name[at:] if at else name
            place = places.get(suffix)
            if place is not None:
                return at, place
            if start + at < _POINTER_REACH:
                places[suffix] = start + at
            at += 1 + length
        return at, None


def encode_srv(ttl_s: int, weight: int, port: int, target: bytes) -> bytes:
    """Return an SRV record of the name that was asked; its priority is 1."""
    fixed = _SRV_WITH_OWNER.pack(
        QUESTION_POINTER, records.SRV, CLASS_IN, ttl_s,
        _SRV_HEAD_BYTES + len(target), _SRV_PRIORITY, weight, port,
    )  # fmt: skip
    return fixed + target


def encode_address_data(ttl_s: int, packed: bytes) -> bytes:
    """Return an A or AAAA record, by the length of the address, without its owner."""
    type_ = records.A if len(packed) == 4 else records.AAAA
    return RECORD_FIXED.pack(type_, CLASS_IN, ttl_s, len(packed)) + packed


def uncompressed_bytes(record: Record) -> int:
    """Return what a record takes when no name in it is compressed."""
    data_bytes = len(record.head) + sum(map(len, record.names)) + len(record.tail)
    return len(record.name) + RECORD_FIXED.size + data_bytes
