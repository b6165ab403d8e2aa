"""The key/value part of the state: keys in order, what was deleted, and a window of history."""

import sys
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final
from weakref import WeakSet

from sortedcontainers import SortedList

from svcmesh.consensus.store.records import MODIFY_INDEX, SESSION, KvEntry, Row
from svcmesh.consensus.store.table import RowTable
from svcmesh.consensus.store.walking import Walk

TOMBSTONES_MAX: Final = 65_536
HISTORY_CHANGES_MAX: Final = 10_000
HISTORY_BYTES_MAX: Final = 32 * 1024 * 1024
CHANGES_MAX: Final = 1000
"""Given at a time, but for those of one index, which are given together."""
LAST: Final = chr(sys.maxunicode)


Change = tuple[int, str, Row | None]
"""The index of a change, its key, and what that was before."""


Changed = tuple[int, str, KvEntry | None]
"""The index of a change, its key, and what that is since."""


class CompactedError(Exception):
    """A revision that is no longer known; `floor` is the first that is."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"history begins at {floor}")
        self.floor = floor


class KeySpace:
    """All keys. `index` is that of the last change of any.

    Changes are made between `begin` and either `take_changed` or `undo`.
    """

    def __init__(self) -> None:
        self.index = 0
        self._entries = RowTable()
        self._deleted: OrderedDict[str, int] = OrderedDict()
        """Keys that are gone, and the index at which they went, in the order of deletion. What a
        transaction that failed had brought back stands last."""
        self._deleted_keys: SortedList[str] = SortedList()
        self._forgotten_index = 0
        """Of the last deletion that is not in `_deleted` any more."""
        self._history: deque[Change] = deque()
        """Oldest first."""
        self._history_bytes = 0
        self._history_floor = 0
        self._by_session: dict[str, set[str]] = {}
        self._changes: list[tuple[str, Row | None, int | None]] = []
        """Since `begin`: key, its entry before, and when it had been deleted."""
        self._index_before = 0
        self._walks: WeakSet[Walk] = WeakSet()

    def __len__(self) -> int:
        return len(self._entries)

    # -- reading --------------------------------------------------------------------------------

    def get(self, key: str) -> KvEntry | None:
        """The entry of a key."""
        return _entry_of(self._entries.get(key))

    def below(self, prefix: str) -> Iterator[KvEntry]:
        """The entries whose keys begin so, by key."""
        for key in self._keys_below(prefix):
            yield KvEntry._make(self._entries[key])

    def keys_below(self, prefix: str, separator: str = "") -> list[str]:
        """The keys that begin so; those that go on beyond a separator only up to it, once."""
        keys = self._keys_below(prefix)
        if not separator:
            return list(keys)
        found: list[str] = []
        for key in keys:
            at = key.find(separator, len(prefix))
            shown = key if at < 0 else key[: at + len(separator)]
            if not found or found[-1] != shown:
                found.append(shown)
        return found

    def key_index(self, key: str) -> int:
        """The index of the last change of a key; of all keys when it is not there."""
        entry = self._entries.get(key)
        return self.index if entry is None else entry[MODIFY_INDEX]

    def prefix_index(self, prefix: str) -> int:
        """The index of the last change of any key that begins so; of all keys without any."""
        keys = self._keys_below(prefix)
        index = max((self._entries[key][MODIFY_INDEX] for key in keys), default=0)
        if not index:
            return self.index
        gone = _below(self._deleted_keys, prefix)
        return max([index, *(self._deleted[key] for key in gone)])

    def held_by(self, session: str) -> list[str]:
        """The keys that a session has locked, in order."""
        return sorted(self._by_session.get(session, ()))

    def at(self, revision: int, prefix: str, *, is_exact: bool) -> list[KvEntry]:
        """The entries of a prefix, or of one key, as they were after an index.

        Raises:
            CompactedError: That is too long ago.
        """
        if revision < self._history_floor:
            raise CompactedError(self._history_floor)
        then: dict[str, Row | None] = {}
        for index, key, before in reversed(self._history):
            if index <= revision:
                break
            if key == prefix if is_exact else key.startswith(prefix):
                then[key] = before
        for key in [prefix] if is_exact else self._keys_below(prefix):
            then.setdefault(key, self._entries.get(key))
        return [KvEntry._make(row) for _, row in sorted(then.items()) if row is not None]

    def changes(self, after: int, prefix: str, *, is_exact: bool) -> list[Changed]:
        """What has become of a prefix, or of one key, since an index: every change, in order.

        The first ones, if there are many: whoever asks goes on from the last one's index.

        Raises:
            CompactedError: Some may be forgotten.
        """
        if after < self._history_floor:
            if self._may_have_changed(after, prefix, is_exact=is_exact):
                raise CompactedError(self._history_floor)
            return []
        found: list[Changed] = []
        later: dict[str, Row | None] = {}
        for index, key, before in reversed(self._history):
            if index <= after:
                break
            if key == prefix if is_exact else key.startswith(prefix):
                now = later[key] if key in later else self._entries.get(key)
                found.append((index, key, _entry_of(now)))
                later[key] = before
        found.reverse()
        if len(found) > CHANGES_MAX:
            end = found[CHANGES_MAX - 1][0]
            return list(takewhile(lambda change: change[0] <= end, found))
        return found

    def _may_have_changed(self, after: int, prefix: str, *, is_exact: bool) -> bool:
        if self._forgotten_index > after:
            return True
        keys = (
            [prefix]
            if is_exact
            else [*self._keys_below(prefix), *_below(self._deleted_keys, prefix)]
        )
        entries = (self._entries.get(key) for key in keys)
        return any(entry is not None and entry[MODIFY_INDEX] > after for entry in entries) or any(
            self._deleted.get(key, 0) > after for key in keys
        )

    # -- changing -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note from now on what changes."""
        self._changes, self._index_before = [], self.index

    def take_changed(self) -> list[str]:
        """The keys that have changed since `begin`; the changes stand."""
        changes, self._changes = self._changes, []
        for key, before, _ in changes:
            self._history.append((self.index, key, before))
            self._history_bytes += _size_bytes(before)
        while len(self._history) > HISTORY_CHANGES_MAX or self._history_bytes > HISTORY_BYTES_MAX:
            self._history_floor, _, old = self._history.popleft()
            self._history_bytes -= _size_bytes(old)
        return [key for key, _, _ in changes]

    def undo(self) -> None:
        """Take back everything since `begin`."""
        while self._changes:
            key, before, deleted_at = self._changes.pop()
            self._tell_walks(key, self._entries.get(key))
            self._unlink(self._entries.pop(key))
            if before is not None:
                self._entries[key] = before
                self._link(before)
            self._drop_deletion(key)
            if deleted_at is not None:
                self._add_deletion(key, deleted_at)
        self.index = self._index_before

    def put(self, entry: KvEntry) -> None:
        """Store an entry; its `modify_index` is the index of the change."""
        self._note(entry.key, entry.modify_index)
        self._entries[entry.key] = row = entry[:]
        self._link(row)
        self._drop_deletion(entry.key)

    def delete(self, key: str, *, index: int) -> bool:
        """Remove a key; False when there is none."""
        if key not in self._entries:
            return False
        self._note(key, index)
        self._entries.pop(key)
        self._add_deletion(key, index)
        while len(self._deleted) > TOMBSTONES_MAX:
            # By the index, because what was brought back and taken back again is out of order.
            oldest, gone_at = self._deleted.popitem(last=False)
            self._deleted_keys.remove(oldest)
            self._forgotten_index = max(self._forgotten_index, gone_at)
        return True

    def delete_below(self, prefix: str, *, index: int) -> list[str]:
        """Remove every key that begins so; which."""
        gone = list(self._keys_below(prefix))
        for key in gone:
            self.delete(key, index=index)
        return gone

    # -- as a whole -----------------------------------------------------------------------------

    def walk(self) -> Walk:
        """Begin a walk over the entries, which later changes do not touch."""
        walk = Walk(self._entries)
        self._walks.add(walk)
        return walk

    def history(self) -> list[Change]:
        """What was before each of the last changes, oldest first."""
        return list(self._history)

    def deletions(self) -> list[tuple[str, int]]:
        """Keys that are gone, and the index at which they went, in the order of deletion."""
        # Not the ordered view, which is much slower, and has the same order.
        return list(dict.items(self._deleted))

    @property
    def history_floor(self) -> int:
        """The earliest index as of which `at` knows the keys."""
        return self._history_floor

    @property
    def forgotten_index(self) -> int:
        """Of the last deletion that is not known any more."""
        return self._forgotten_index

    def load(self, rows: Iterable[Row]) -> None:
        """Take in entries as they are, before `finish_loading`; they come in order."""
        for row in rows:
            self._entries[row[0]] = row
            self._link(row)

    def load_deletions(self, deletions: Iterable[tuple[str, int]]) -> None:
        """Take in deletions as they are, before `finish_loading`."""
        for key, index in deletions:
            self._add_deletion(key, index)

    def load_history(self, changes: Iterable[Change]) -> None:
        """Take in changes as they are, oldest first, before `finish_loading`."""
        for change in changes:
            self._history.append(change)
            self._history_bytes += _size_bytes(change[2])

    def finish_loading(self, *, index: int, floor: int, forgotten: int) -> None:
        """All is loaded.

        Args:
            index: Of the last change.
            floor: Where history begins.
            forgotten: Of the last deletion that is not known any more.
        """
        self.index, self._history_floor, self._forgotten_index = index, floor, forgotten

    def forget_history(self, *, index: int) -> None:
        """Begin anew at `index`: what was before is another cluster's, or another time's."""
        self._history.clear()
        self._history_bytes = 0
        self._deleted.clear()
        self._deleted_keys.clear()
        self.index = self._history_floor = self._forgotten_index = index

    def _tell_walks(self, key: str, before: Row | None) -> None:
        for walk in self._walks:
            walk.note_change(key, before)

    def _keys_below(self, prefix: str) -> Iterator[str]:
        return _below(self._entries, prefix)

    def _note(self, key: str, index: int) -> None:
        """A key is about to change."""
        before = self._entries.get(key)
        self._changes.append((key, before, self._deleted.get(key)))
        self._tell_walks(key, before)
        self._unlink(before)
        self.index = index

    def _link(self, row: Row) -> None:
        if row[SESSION]:
            self._by_session.setdefault(row[SESSION], set()).add(row[0])

    def _unlink(self, row: Row | None) -> None:
        if row is None or not row[SESSION]:
            return
        held = self._by_session[row[SESSION]]
        held.discard(row[0])
        if not held:
            del self._by_session[row[SESSION]]

    def _add_deletion(self, key: str, index: int) -> None:
        if key not in self._deleted:
            self._deleted_keys.add(key)
        self._deleted[key] = index

    def _drop_deletion(self, key: str) -> None:
        if self._deleted.pop(key, None) is not None:
            self._deleted_keys.remove(key)


def _below(keys: "RowTable | SortedList[str]", prefix: str) -> Iterator[str]:
    """The keys of a sorted collection that begin so."""
    # What ends with the greatest character has no successor of its own length.
    stem = prefix.rstrip(LAST)
    end = stem[:-1] + chr(ord(stem[-1]) + 1) if stem else None
    found: Iterator[str] = keys.irange(prefix, end, (True, False))
    return found


def _entry_of(row: Row | None) -> KvEntry | None:
    return None if row is None else KvEntry._make(row)


def _size_bytes(row: Row | None) -> int:
    return 64 if row is None else 128 + len(row[1])
