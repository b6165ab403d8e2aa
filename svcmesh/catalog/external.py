"""External records: nodes without an agent, written by any agent and replicated among all.

One entry wins each key: the highest (clock, origin, sequence), tombstones included. Each writer's
entries are a log of their own; an entry that loses its key vanishes from its log. A delete may
belong to another writer than the record it removes, so who has missed forgotten deletes of one
writer rebuilds the whole space from one peer, and keeps of its own only what that peer cannot have
seen: entries beyond the peer's version of their log.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from svcmesh.catalog.changes import CatalogDropped, CatalogEffect, ExternalNode, RecordChanged
from svcmesh.catalog.codec import ExternalPage, Page, Summary, Want, WantExternal
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.digest import item_value
from svcmesh.catalog.log import HASH_MASK, Entry, Log, Origin, RecordKey
from svcmesh.catalog.records import Kind, NodeId

VERSION_MASK = 2**63 - 1

CONTENT = Origin(NodeId("*"), 0)
"""Stands for the content of the whole space among the summaries."""


@dataclass(slots=True)
class _Space:
    """Logs by writer, and who won each key."""

    logs: dict[Origin, Log] = field(default_factory=dict)
    winners: dict[RecordKey, tuple[Entry, Origin]] = field(default_factory=dict)

    def put(self, log: Log, entry: Entry) -> Entry | None:
        """Store an entry if it wins its key; the former winner, or the entry itself if it lost."""
        former = self.winners.get(entry.key)
        if former is not None:
            old, origin = former
            if (old.clock, origin, old.seq) >= (entry.clock, log.origin, entry.seq):
                return entry
            self.logs[origin].remove(old)
        log.put(entry)
        self.winners[entry.key] = (entry, log.origin)
        return None if former is None else former[0]

    @property
    def hash(self) -> int:
        return sum(log.hash for log in self.logs.values()) & HASH_MASK


@dataclass(slots=True)
class _Rebuild:
    """The space of one peer as it arrives."""

    peer: str
    deadline_at: float
    space: _Space = field(default_factory=_Space)


class ExternalStore:
    """The external space here. `touch(origin)` is told of every log whose version changed."""

    def __init__(
        self,
        config: ReplicaConfig,
        *,
        emit: Callable[[CatalogEffect], None],
        touch: Callable[[Origin], None],
    ) -> None:
        self._config, self._emit, self._touch = config, emit, touch
        self._space = _Space()
        self._rebuild: _Rebuild | None = None

    @property
    def content_hash(self) -> int:
        """Of every live record here."""
        return self._space.hash

    @property
    def version_hash(self) -> int:
        """63 bits over the versions of all logs."""
        logs = self._space.logs
        return sum(item_value(o, log.through, 0) for o, log in logs.items()) & VERSION_MASK

    def log(self, origin: Origin) -> Log | None:
        """One writer's log."""
        return self._space.logs.get(origin)

    def winner(self, key: RecordKey) -> Entry | None:
        """The entry that holds a key, a tombstone included."""
        found = self._space.winners.get(key)
        return None if found is None else found[0]

    def live(self) -> Iterable[Entry]:
        """Every live record."""
        return (e for e, _ in self._space.winners.values() if e.raw is not None)

    def write(self, origin: Origin, entry: Entry) -> None:
        """Take in a write of our own, numbered next in its log."""
        log = self._space.logs.get(origin)
        if log is None:
            log = self._space.logs[origin] = Log(origin)
        log.advance(log.through, entry.seq)
        self._put(log, entry)
        self._touch(origin)

    def forget_deletes(self, *, before: float) -> None:
        """Drop tombstones received before an instant, and those beyond the bound."""
        for log in self._space.logs.values():
            keep_max = self._config.tombstones_max
            for entry in log.forget_deletes(before=before, keep_max=keep_max):
                del self._space.winners[entry.key]

    # -- repair -----------------------------------------------------------------------------

    def summary(self, origin: Origin) -> Summary | None:
        """What we have of a writer, or of the whole space's content (`CONTENT`)."""
        if origin == CONTENT:
            return Summary(True, CONTENT, self.version_hash, 0, self.content_hash)
        log = self._space.logs.get(origin)
        # Content is compared for the whole space: a log's depends on what other writers won.
        return None if log is None else Summary(True, origin, log.through, log.floor, 0)

    def want(self, summary: Summary) -> Want | None:
        """What to ask somebody for who has this of a writer; None when we lack nothing."""
        log = self._space.logs.get(summary.origin)
        through = 0 if log is None else log.through
        if summary.through <= through or summary.floor > through:
            return None
        return Want(True, summary.origin, through, None)

    def is_behind(self, summary: Summary) -> bool:
        """Whether somebody who has this of a writer has forgotten deletes that we never saw."""
        log = self._space.logs.get(summary.origin)
        return summary.floor > (0 if log is None else log.through)

    def page(self, want: Want, budget_bytes: int) -> Page | None:
        """Serve a want; None when deltas from there are not to be had here."""
        log = self._space.logs.get(want.origin)
        if log is None or want.after < log.floor:
            return None
        return _page(log, want.after, budget_bytes)

    def apply(self, page: Page, *, now: float) -> bool:
        """Take in a page; whether it brought anything new."""
        log = self._space.logs.get(page.origin)
        if log is None:
            if len(self._space.logs) >= self._config.external_origins_max:
                self._emit(CatalogDropped("catalog-too-many-external-writers", ""))
                return False
            log = self._space.logs[page.origin] = Log(page.origin)
        through, news = log.through, False
        for entry in page.entries:
            is_new_key = entry.key not in self._space.winners
            if is_new_key and len(self._space.winners) >= self._config.external_records_max:
                self._emit(CatalogDropped("catalog-too-many-external-records", entry.key.node))
                return news
            entry.received_at = now
            news = self._put(log, entry) or news
        log.advance(page.after, page.through)
        self._touch(page.origin)
        return news or log.through > through

    # -- rebuilding -------------------------------------------------------------------------

    def start_rebuild(self, peer: str, *, now: float) -> WantExternal | None:
        """Begin to fetch the whole space from a peer; None while another fetch is under way."""
        if self._rebuild is not None and now < self._rebuild.deadline_at:
            return None
        self._rebuild = _Rebuild(peer, now + self._config.reply_timeout_s)
        return WantExternal(None, 0)

    def external_page(self, want: WantExternal, budget_bytes: int) -> ExternalPage:
        """Serve one page of the whole space."""
        origins = sorted(self._space.logs)
        if want.cursor is not None:
            origins = [origin for origin in origins if origin >= want.cursor]
        if not origins:
            return ExternalPage(None, None, 0)
        log = self._space.logs[origins[0]]
        after = want.after if origins[0] == want.cursor else 0
        page = _page(log, after, budget_bytes)
        if page.through < log.through:
            return ExternalPage(page, log.origin, page.through)
        return ExternalPage(page, origins[1] if len(origins) > 1 else None, 0)

    def apply_external_page(
        self, peer: str, answer: ExternalPage, *, now: float
    ) -> WantExternal | None:
        """Take in one page of a rebuild; what to ask for next, None when it is over."""
        rebuild = self._rebuild
        if rebuild is None or rebuild.peer != peer:
            return None
        rebuild.deadline_at = now + self._config.reply_timeout_s
        page = answer.page
        if page is not None:
            logs = rebuild.space.logs
            if len(logs) >= self._config.external_origins_max:
                self._rebuild = None
                return None
            log = logs.setdefault(page.origin, Log(page.origin, floor=page.floor))
            for entry in page.entries:
                entry.received_at = now
                rebuild.space.put(log, entry)
            log.advance(page.after, page.through)
        if len(rebuild.space.winners) > self._config.external_records_max:
            self._rebuild = None
            return None
        if answer.next_cursor is not None:
            return WantExternal(answer.next_cursor, answer.next_after)
        self._rebuild = None
        self._take_over(rebuild.space)
        return None

    def _take_over(self, theirs: _Space) -> None:
        ours = self._space
        for origin, log in ours.logs.items():
            seen = theirs.logs.get(origin)
            covered = 0 if seen is None else seen.through
            if seen is None:
                seen = theirs.logs[origin] = Log(origin, floor=log.floor)
            seen.floor = max(seen.floor, log.floor)
            for entry in list(log.entries()):
                if entry.seq > covered:
                    theirs.put(seen, entry)
            seen.advance(seen.through, log.through)
        self._space = theirs
        for key, (entry, _) in list(ours.winners.items()):
            if key not in theirs.winners:
                self._report(replace(entry, raw=None, body=None), entry)
        for key, (entry, _) in theirs.winners.items():
            former = ours.winners.get(key)
            self._report(entry, None if former is None else former[0])
        for origin in theirs.logs:
            self._touch(origin)

    def _put(self, log: Log, entry: Entry) -> bool:
        old = self._space.put(log, entry)
        if old is entry:
            return False
        self._report(entry, old)
        return True

    def _report(self, new: Entry, old: Entry | None) -> None:
        before = None if old is None else old.body
        if before != new.body:
            owner = ExternalNode(new.key.node)
            self._emit(RecordChanged(owner, Kind(new.key.kind), new.key.id, before, new.body))


def _page(log: Log, after: int, budget_bytes: int) -> Page:
    entries, through = log.page(after, budget_bytes)
    return Page(True, log.origin, 0, log.floor, after, through, False, tuple(entries))
