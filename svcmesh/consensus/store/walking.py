"""Walks over a state that goes on changing, and sees it as it was when the walk began.

A writer of a snapshot takes one part after another between other work. What is about to change and
was not reached yet is set aside first, so a walk costs memory only for that.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sortedcontainers import SortedDict

from svcmesh.consensus.store.records import Row
from svcmesh.consensus.store.table import RowTable

ENTRIES_PER_PART: Final = 500


class Walk:
    """One walk over the entries of a table, in order. The owner tells it of changes."""

    def __init__(self, entries: RowTable) -> None:
        self._entries = entries
        self._reached: str | None = None
        """Keys up to this one have been handed out; None: none have."""
        self._before: SortedDict[str, Row | None] = SortedDict()
        """Keys behind `_reached` that have changed: what they were, None for nothing."""

    def note_change(self, key: str, before: Row | None) -> None:
        """A key is about to be another."""
        if self._reached is None or key > self._reached:
            self._before.setdefault(key, before)

    def parts(self) -> Iterator[list[Row]]:
        """The entries as they were, part after part; changes may come between two of them."""
        while part := self._next():
            yield part

    def _next(self) -> list[Row]:
        """The next entries; none at the end."""
        found: list[Row] = []
        while not found:
            keys = list(islice(_above(self._entries, self._reached), ENTRIES_PER_PART))
            changed = list(islice(_above(self._before, self._reached), ENTRIES_PER_PART))
            if not keys and not changed:
                return []
            # Up to where both are known.
            ends = [some[-1] for some in (keys, changed) if len(some) == ENTRIES_PER_PART]
            end = min(ends) if ends else max([*keys[-1:], *changed[-1:]])
            for key in sorted({*keys, *changed}):
                if key > end:
                    break
                entry = self._before.pop(key) if key in self._before else self._entries[key]
                if entry is not None:
                    found.append(entry)
            self._reached = end
        return found


def _above(by_key: "RowTable | SortedDict[str, Row | None]", key: str | None) -> Iterator[str]:
    """The keys of a sorted table above one."""
    found: Iterator[str] = by_key.irange(key, None, (False, True))
    return found
