"""The A or AAAA records of a large service, one after the other as they go into a response.

An answer is a stretch of them, so it costs a copy however many instances there are. The row follows
its pool: an address that comes or goes moves one other record and leaves the rest.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

from dnsserver.records import AAAA, A
from dnsserver.writer import CLASS_IN, POINTER_BYTES, QUESTION_POINTER, RECORD_FIXED

ADDRESS_BYTES: Final = {A: 4, AAAA: 16}


def encode_address_records(type_: int, ttl_s: int, addresses: Sequence[bytes]) -> bytes:
    """Return the records of addresses of one family; their owner is the name that was asked."""
    start = _start(type_, ttl_s)
    return start + start.join(addresses) if addresses else b""


def address_record_bytes(type_: int) -> int:
    """Return what each of them takes."""
    return len(_start(type_, 0)) + ADDRESS_BYTES[type_]


class AddressRow:
    """Records of distinct addresses in random order, every order equally likely."""

    __slots__ = ("_places", "_records", "_rng", "_start", "_uses", "record_bytes")

    def __init__(self, type_: int, ttl_s: int, addresses: Sequence[bytes], rng: Random) -> None:
        """Begin with the addresses of all instances, which are in random order."""
        self._rng = rng
        self._start = _start(type_, ttl_s)
        self._uses = Counter(addresses)
        """How many instances have an address."""
        self._places = {address: at for at, address in enumerate(self._uses)}
        self._records = bytearray(encode_address_records(type_, ttl_s, list(self._uses)))
        self.record_bytes = address_record_bytes(type_)

    def __len__(self) -> int:
        """The number of addresses."""
        return len(self._places)

    def stretch(self, first: int, count: int) -> bytes:
        """Return `count` records from the index `first` on, the first after the last."""
        size = self.record_bytes
        found = self._records[first * size : (first + count) * size]
        while len(found) < count * size:
            found += self._records[: count * size - len(found)]
        return bytes(found)

    def add(self, address: bytes) -> None:
        """Take in the address of an instance more."""
        self._uses[address] += 1
        if self._uses[address] > 1:
            return
        last = len(self._places)
        at = int(self._rng.random() * (last + 1))
        self._places[address] = last
        self._records += self._start + address
        if at < last:
            moved = self._record(at)
            self._set(last, moved)
            self._set(at, self._start + address)

    def discard(self, address: bytes) -> None:
        """Let go of the address of an instance less."""
        self._uses[address] -= 1
        if self._uses[address]:
            return
        del self._uses[address]
        at, last = self._places.pop(address), len(self._places)
        if at < last:
            self._set(at, self._record(last))
        del self._records[last * self.record_bytes :]

    def _record(self, at: int) -> bytes:
        return bytes(self._records[at * self.record_bytes : (at + 1) * self.record_bytes])

    def _set(self, at: int, record: bytes) -> None:
        self._records[at * self.record_bytes : (at + 1) * self.record_bytes] = record
        self._places[record[len(self._start) :]] = at


def _start(type_: int, ttl_s: int) -> bytes:
    pointer = QUESTION_POINTER.to_bytes(POINTER_BYTES, "big")
    return pointer + RECORD_FIXED.pack(type_, CLASS_IN, ttl_s, ADDRESS_BYTES[type_])
