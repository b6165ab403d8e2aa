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

_POINTER_REACH: Final = 0x4000
_SRV_WITH_OWNER: Final = struct.Struct(">HHHIHHHH")
_ADDRESS_WITH_OWNER: Final = struct.Struct(">HHHIH")
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

    def write_srv(self, ttl_s: int, weight: int, port: int, target: bytes) -> None:
        """Append an SRV record of the name that was asked; the same as `write`, but faster."""
        buffer = self.buffer
        buffer += _SRV_WITH_OWNER.pack(
            QUESTION_POINTER, records.SRV, CLASS_IN, ttl_s,
            _SRV_HEAD_BYTES + len(target), _SRV_PRIORITY, weight, port,
        )  # fmt: skip
        if target in self._places:
            buffer += target
        else:
            self._write_name(target, is_compressible=False)

    def write_address(self, owner: bytes, ttl_s: int, packed: bytes) -> None:
        """Append an A or AAAA record; the same as `write`, but faster for a known owner."""
        place = self._places.get(owner)
        type_ = records.A if len(packed) == 4 else records.AAAA
        if place is None:
            self.write(Record(owner, type_, ttl_s, packed))
            return
        self.buffer += _ADDRESS_WITH_OWNER.pack(0xC000 | place, type_, CLASS_IN, ttl_s, len(packed))
        self.buffer += packed

    def address_bytes_at_most(self, owner: bytes, packed: bytes) -> int:
        """Return a bound for what `write_address` will take."""
        owner_bytes = 2 if owner in self._places else len(owner)
        return owner_bytes + RECORD_FIXED.size + len(packed)

    def bytes_at_most(self, record: Record) -> int:
        """Return a bound for what writing the record will take."""
        owner_bytes = 2 if record.name in self._places else len(record.name)
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
        places, buffer = self._places, self.buffer
        start = len(buffer)
        at = 0
        while length := name[at]:
            suffix = name[at:] if at else name
            place = places.get(suffix)
            if place is not None:
                if not is_compressible:
                    # What ends it has been seen, too.
                    break
                buffer += name[:at]
                buffer += (0xC000 | place).to_bytes(2, "big")
                return
            if start + at < _POINTER_REACH:
                places[suffix] = start + at
            at += 1 + length
        buffer += name


def uncompressed_bytes(record: Record) -> int:
    """Return what a record takes when no name in it is compressed."""
    data_bytes = len(record.head) + sum(map(len, record.names)) + len(record.tail)
    return len(record.name) + RECORD_FIXED.size + data_bytes
