"""The log in memory: entries behind the latest snapshot, and the memberships among them."""

from collections.abc import Iterable, Sequence

from svcmesh.consensus.raft.types import (
    Entry,
    EntryKind,
    LogIndex,
    Membership,
    SnapshotMeta,
    Term,
)


class RaftLog:
    """Entries `first_index` to `last_index` without a gap.

    Invariant: `first_index - 1 <= commit <= last_index`, and what is committed is never replaced.
    """

    def __init__(self, snapshot: SnapshotMeta, entries: Iterable[Entry]) -> None:
        """Take up what was on disk.

        Args:
            snapshot: Of the latest snapshot; index 0 with the founding members when there is none.
            entries: What follows, in order; entries that the snapshot covers are fine.
        """
        self.snapshot = snapshot
        self.commit = snapshot.index
        self._base_index, self._base_term = snapshot.index, snapshot.term
        """Of the entry before the first that is held."""
        self._entries: list[Entry] = []
        self._memberships: list[tuple[LogIndex, Membership]] = [(snapshot.index, snapshot.members)]
        kept = list(entries)
        if kept and kept[0].index <= snapshot.index:
            position = snapshot.index - kept[0].index
            if position < len(kept) and kept[position].term == snapshot.term:
                # Entries that are kept for followers that lag.
                self._base_index, self._base_term = LogIndex(kept[0].index - 1), Term(0)
            else:
                # The snapshot came from a leader whose log ours was not, or not yet.
                kept = []
        self.append(kept)

    @property
    def first_index(self) -> LogIndex:
        """Of the first entry that is held, or would be."""
        return LogIndex(self._base_index + 1)

    @property
    def last_index(self) -> LogIndex:
        """Of the last entry."""
        return LogIndex(self._base_index + len(self._entries))

    @property
    def last_term(self) -> Term:
        """Of the last entry."""
        return self._entries[-1].term if self._entries else self._base_term

    @property
    def members(self) -> Membership:
        """The latest membership, committed or not."""
        return self._memberships[-1][1]

    @property
    def members_index(self) -> LogIndex:
        """Of the entry that `members` is from."""
        return self._memberships[-1][0]

    def members_at(self, index: LogIndex) -> Membership:
        """The membership in force at an index that is not before the snapshot."""
        return next(m for at, m in reversed(self._memberships) if at <= index)

    def term(self, index: LogIndex) -> Term | None:
        """The term of an entry; None when it is not held."""
        if index == self.snapshot.index:
            return self.snapshot.term
        if index == self._base_index and self._base_term:
            return self._base_term
        position = index - self._base_index - 1
        return self._entries[position].term if 0 <= position < len(self._entries) else None

    def slice(self, first: LogIndex, *, bytes_max: int, entries_max: int) -> tuple[Entry, ...]:
        """Entries from `first` on, which is held; at least one if there is one."""
        position = first - self._base_index - 1
        found = self._entries[position : position + entries_max]
        size = 0
        for count, entry in enumerate(found):
            size += len(entry.data)
            if size > bytes_max and count:
                return tuple(found[:count])
        return tuple(found)

    def between(self, after: LogIndex, through: LogIndex) -> Sequence[Entry]:
        """The entries above `after` up to `through`, all of which are held."""
        assert after >= self._base_index
        return self._entries[after - self._base_index : through - self._base_index]

    def accepts(self, last_index: LogIndex, last_term: Term) -> bool:
        """Whether a log that ends so is at least as up to date as ours (thesis, 3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries; those at and behind the first one's index go."""
        if not entries:
            return
        first = entries[0].index
        assert self._base_index < first <= self.last_index + 1, "a gap, or a forgotten place"
        assert first > self.commit or not self._entries, "committed entries are never replaced"
        del self._entries[first - self._base_index - 1 :]
        while len(self._memberships) > 1 and self._memberships[-1][0] >= first:
            self._memberships.pop()
        self._entries.extend(entries)
        for entry in entries:
            if entry.kind == EntryKind.MEMBERS and entry.index > self.snapshot.index:
                members = Membership.decode_untrusted(entry.data)
                self._memberships.append((entry.index, members))

    def conflict(self, entries: Sequence[Entry]) -> int:
        """The position of the first entry that we do not have; `len(entries)` if we have all."""
        for position, entry in enumerate(entries):
            if self.term(entry.index) != entry.term:
                return position
        return len(entries)

    def hint(self, prev_index: LogIndex, prev_term: Term) -> tuple[LogIndex, Term]:
        """Where a leader should try next that has `prev_term` at `prev_index` where we have not.

        The last place whose term is not above `prev_term`, so a whole term of ours is passed over
        at once (thesis, 3.5).
        """
        index = min(prev_index, self.last_index)
        while index > self._base_index:
            term = self.term(index)
            if term is None or term <= prev_term:
                break
            index = LogIndex(index - 1)
        return index, self.term(index) or Term(0)

    def compact(self, snapshot: SnapshotMeta, *, trailing: int) -> None:
        """Note a newer snapshot of ours, and drop what it covers but for the last entries."""
        assert self.snapshot.index <= snapshot.index <= self.commit
        keep_from = max(self.first_index, LogIndex(snapshot.index - trailing + 1))
        base_term = self.term(LogIndex(keep_from - 1))
        self.snapshot = snapshot
        covered = [m for m in self._memberships if m[0] <= snapshot.index]
        self._memberships = [
            (snapshot.index, covered[-1][1]), *self._memberships[len(covered):]
        ]  # fmt: skip
        if base_term is not None:
            del self._entries[: keep_from - self._base_index - 1]
            self._base_index, self._base_term = LogIndex(keep_from - 1), base_term

    def reset(self, snapshot: SnapshotMeta) -> None:
        """Take a snapshot of the leader's for the log; everything held goes."""
        assert snapshot.index > self.commit
        self.snapshot, self.commit = snapshot, snapshot.index
        self._base_index, self._base_term = snapshot.index, snapshot.term
        self._entries = []
        self._memberships = [(snapshot.index, snapshot.members)]
