"""Rows by key, in order, in a table that never takes long to grow."""

from collections.abc import Iterator
from typing import Final

from sortedcontainers import SortedList

from svcmesh.consensus.store.records import Row

SHARDS: Final = 64


class _Shard(dict[str, Row]):
    """A part of the table.

    Not a plain dictionary: the garbage collector lets go of one that holds nothing of interest, and
    takes it up again, young and whole, with the next row. This it leaves out once it is frozen.
    """

    __slots__ = ()


class RowTable:
    """Rows of keys.

    A dictionary that outgrows its room moves all that it holds: with 700,000 keys that is 30 ms, in
    which the event loop stands. Of 64 dictionaries each moves its own part, at a moment of its own.
    """

    def __init__(self) -> None:
        self._shards = [_Shard() for _ in range(SHARDS)]
        self._keys: SortedList[str] = SortedList()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._shards[hash(key) % SHARDS]

    def __getitem__(self, key: str) -> Row:
        return self._shards[hash(key) % SHARDS][key]

    def get(self, key: str) -> Row | None:
        """The row of a key; None when there is none."""
        return self._shards[hash(key) % SHARDS].get(key)

    def __setitem__(self, key: str, row: Row) -> None:
        shard = self._shards[hash(key) % SHARDS]
        if key not in shard:
            self._keys.add(key)
        shard[key] = row

    def pop(self, key: str) -> Row | None:
        """Take a row out; None when there is none."""
        row = self._shards[hash(key) % SHARDS].pop(key, None)
        if row is not None:
            self._keys.remove(key)
        return row

    def irange(
        self, minimum: str | None, maximum: str | None, inclusive: tuple[bool, bool]
    ) -> Iterator[str]:
        """The keys between two, which `inclusive` says whether to include, in order."""
        found: Iterator[str] = self._keys.irange(minimum, maximum, inclusive)
        return found
