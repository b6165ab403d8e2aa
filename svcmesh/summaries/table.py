"""One data center's summary: its entries in the order of their changes.

| word | means |
| --- | --- |
| generation | one publisher's series of changes; a later one replaces all that was before |
| sequence | of a change within its generation: 1, 2, 3, ... |
| version | of an entry: the publisher's wall clock, ms, at its last change; it only rises |
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

GENERATION_BITS: Final = 20
"""Below the wall clock in a generation: from whom it is, so that two publishers never share one."""

NAME_BYTES_MAX: Final = 255
ENTRY_OVERHEAD_BYTES: Final = 24
"""Of an encoded entry, at most, besides its name."""


class Entry(NamedTuple):
    """What a data center says of one service."""

    instances: int
    """0: it has none any more."""
    healthy: int
    version: int
    sequence: int


Change = tuple[str, Entry]


class Table:
    """The entries of one generation, complete up to `through`.

    Invariant: `entries` are in the order of their sequences, of which none is above `through`.
    """

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.through = 0
        self.entries: dict[str, Entry] = {}
        self.gone = 0
        """Entries of services without instances."""

    def put(self, name: str, entry: Entry) -> None:
        """Take in the next change."""
        old = self.entries.pop(name, None)
        self.gone += (entry.instances == 0) - (old is not None and old.instances == 0)
        self.entries[name] = entry
        self.through = entry.sequence

    def append(self, changes: Iterable[Change], through: int) -> None:
        """Take in all changes up to `through` that are above ours."""
        before = self.through
        for name, entry in changes:
            if before < entry.sequence <= through:
                self.put(name, entry)
        self.through = through

    def page(self, after: int, bytes_max: int) -> tuple[list[Change], int]:
        """The changes above `after` up to about a size, at least one; and up to where they are all.

        Their cost is that of what is returned, not of the table.
        """
        newest = []
        for name in reversed(self.entries):
            if self.entries[name].sequence <= after:
                break
            newest.append(name)
        changes: list[Change] = []
        size = 0
        for name in reversed(newest):
            if changes and size > bytes_max:
                return changes, changes[-1][1].sequence
            changes.append((name, self.entries[name]))
            size += len(name) + ENTRY_OVERHEAD_BYTES
        return changes, self.through

    def present(self) -> Iterator[Change]:
        """Every service that has instances."""
        return (change for change in self.entries.items() if change[1].instances)


def new_generation(before: int, node_id: str, *, wall_ms: int) -> int:
    """A generation of ours above every earlier one, at least the wall clock."""
    clock = max(wall_ms, (before >> GENERATION_BITS) + 1)
    return clock << GENERATION_BITS | _fold(node_id)


def _fold(node_id: str) -> int:
    folded = 0
    for byte in node_id.encode():
        folded = (folded * 257 + byte) % (1 << GENERATION_BITS)
    return folded
