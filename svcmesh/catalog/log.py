"""One origin's records by sequence, with what is known to be complete and what is forgotten.

An origin is one run of one agent, (node id, epoch). It numbers its writes 1, 2, 3, ...; a later
write of a key replaces the earlier one, whose number then vanishes. Deletes stay for a while as
tombstones. Whose record wins a key is decided above: by sequence for own records (`own.py`), by the
hybrid logical clock for external ones (`external.py`).
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from svcmesh.catalog.records import Body, NodeId

HASH_MASK = 2**64 - 1
ISLANDS_MAX = 64
"""Ranges remembered past a gap; beyond, repair fetches them again."""

LOOSE_MAX = 1024
"""Entries taken in past a gap; beyond, repair brings them."""

FORGET_MAX = 8192
"""Deletes forgotten in one step."""


class Origin(NamedTuple):
    """One run of one agent; orders by node id, then epoch."""

    node_id: NodeId
    epoch: int


class RecordKey(NamedTuple):
    """What a record is about. `node` is empty for own records: their origin says whose."""

    node: str
    kind: str
    id: str


@dataclass(slots=True)
class Entry:
    """One record as it is replicated."""

    key: RecordKey
    seq: int
    raw: bytes | None
    """The encoded body; None for a tombstone."""
    body: Body | None
    """The decoded body; None for a tombstone, and for what only newer agents understand."""
    clock: int = 0
    """Hybrid logical clock, external records only."""
    received_at: float = 0.0
    hash: int = 0

    @property
    def size_bytes(self) -> int:
        """About what it takes in a page."""
        return len(self.raw or b"") + len(self.key.id) + len(self.key.node) + 32


def entry_hash(origin: Origin, key: RecordKey, seq: int, raw: bytes | None) -> int:
    """64 bits that stand for a record at a version."""
    what = "d" if raw is None else "r"
    head = f"{origin.node_id}\0{origin.epoch}\0{key.node}\0{key.kind}\0{key.id}\0{seq}\0{what}"
    digest = blake2b(head.encode("utf-8", "surrogateescape"), digest_size=8)
    digest.update(raw or b"")
    return int.from_bytes(digest.digest(), "big")


class Log:
    """Entries of one origin.

    Entries past the first gap are *loose*: applied, but nobody can tell what came before them.

    Invariants: `through` is the highest sequence below which nothing is missing; a key has one
    entry and a sequence one key; up to `floor` deletes have been forgotten.
    """

    def __init__(self, origin: Origin, *, base: int = 0, floor: int = 0) -> None:
        self.origin = origin
        self.base = base
        """The last sequence of the republication at the epoch's start."""
        self.floor = floor
        self.through = 0
        self.hash = 0
        """Sum of the live entries' hashes. Tombstones count as nothing: holders forget them at
        different times and must agree all the same."""
        self.live = 0
        self._by_key: dict[RecordKey, Entry] = {}
        self._by_seq: dict[int, Entry] = {}
        self._order: list[int] = []
        """Sequences in use, sorted, with some that have vanished."""
        self._tombstones: dict[int, Entry] = {}
        """In the order of their receipt."""
        self._islands: list[tuple[int, int]] = []

    @property
    def tombstones(self) -> int:
        """How many deletes are remembered."""
        return len(self._tombstones)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all has been taken in."""
        return not self.through and not self._by_key

    @property
    def loose(self) -> list[Entry]:
        """Entries past the first gap, by sequence."""
        if not self._order or self._order[-1] <= self.through:
            return []
        start = bisect_right(self._order, self.through)
        return [e for seq in self._order[start:] if (e := self._by_seq.get(seq)) is not None]

    @property
    def loose_hash(self) -> int:
        """Sum of the loose entries' hashes, tombstones included; 0 without any."""
        return sum(entry.hash for entry in self.loose) & HASH_MASK

    def get(self, key: RecordKey) -> Entry | None:
        """The entry of a key, a tombstone included."""
        return self._by_key.get(key)

    def at(self, seq: int) -> Entry | None:
        """The entry with a sequence."""
        return self._by_seq.get(seq)

    def entries(self) -> Iterator[Entry]:
        """Every entry, tombstones included, by sequence."""
        return (entry for seq in self._order if (entry := self._by_seq.get(seq)) is not None)

    def put(self, entry: Entry) -> Entry | None:
        """Store an entry in place of its key's older one, which is returned.

        An entry that is not newer than the stored one changes nothing: then it is returned itself.
        """
        old = self._by_key.get(entry.key)
        if old is not None and old.seq >= entry.seq:
            return entry
        if entry.seq in self._by_seq:
            # Two keys at one number: not one run's work. Content hashes sort it out.
            return entry
        if old is not None:
            self._forget(old)
        entry.hash = entry_hash(self.origin, entry.key, entry.seq, entry.raw)
        self._by_key[entry.key] = entry
        self._by_seq[entry.seq] = entry
        if not self._order or entry.seq > self._order[-1]:
            self._order.append(entry.seq)
        elif self._order[bisect_left(self._order, entry.seq)] != entry.seq:
            insort(self._order, entry.seq)
        if entry.raw is None:
            self._tombstones[entry.seq] = entry
        else:
            self.live += 1
            self.hash = (self.hash + entry.hash) & HASH_MASK
        return old

    def remove(self, entry: Entry) -> None:
        """Let an entry vanish: a record of another origin has won its key."""
        if self._by_key.get(entry.key) is entry:
            self._forget(entry)

    def advance(self, after: int, through: int) -> None:
        """Take in that nothing is missing in (after, through]."""
        if through <= self.through:
            return
        if after > self.through:
            if after < through:
                self._islands = _merged(self._islands, (after, through))[:ISLANDS_MAX]
            return
        self.through = through
        while self._islands and self._islands[0][0] <= self.through:
            self.through = max(self.through, self._islands.pop(0)[1])

    def page(self, after: int, budget_bytes: int) -> tuple[list[Entry], int]:
        """Entries above `after` up to about a size, and the sequence they are complete through.

        At least one entry is given, whatever its size. Loose entries are not part of it.
        """
        found: list[Entry] = []
        size = 0
        for position in range(bisect_right(self._order, after), len(self._order)):
            seq = self._order[position]
            if seq > self.through:
                break
            entry = self._by_seq.get(seq)
            if entry is None:
                continue
            if found and size + entry.size_bytes > budget_bytes:
                return found, found[-1].seq
            found.append(entry)
            size += entry.size_bytes
        return found, max(self.through, after)

    def forget_deletes(self, *, before: float, keep_max: int) -> list[Entry]:
        """Drop and return tombstones received before an instant, or too many; the floor rises.

        At most `FORGET_MAX` at once.
        """
        excess = len(self._tombstones) - keep_max
        forgotten: list[Entry] = []
        for entry in self._tombstones.values():
            is_old = entry.received_at < before or len(forgotten) < excess
            if not is_old or len(forgotten) == FORGET_MAX:
                break
            # The floor stays below the first gap: loose deletes are kept.
            if entry.seq <= self.through:
                forgotten.append(entry)
        for entry in forgotten:
            self._forget(entry)
            self.floor = max(self.floor, entry.seq)
        return forgotten

    def _forget(self, entry: Entry) -> None:
        del self._by_key[entry.key]
        del self._by_seq[entry.seq]
        if entry.raw is None:
            del self._tombstones[entry.seq]
        else:
            self.live -= 1
            self.hash = (self.hash - entry.hash) & HASH_MASK
        if len(self._order) > 2 * len(self._by_seq) + 16:
            self._order = [seq for seq in self._order if seq in self._by_seq]


def _merged(islands: list[tuple[int, int]], new: tuple[int, int]) -> list[tuple[int, int]]:
    """Ranges with one more among them, those that touch made one."""
    merged: list[tuple[int, int]] = []
    for after, through in sorted([*islands, new]):
        if merged and after <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(through, merged[-1][1]))
        else:
            merged.append((after, through))
    return merged
