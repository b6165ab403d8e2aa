"""External records: nodes without an agent, written by any agent and replicated among all.

Each writer's entries are a log of their own; who wins a key is `external_space.py`'s business. A
delete may belong to another writer than the record it removes, so who has missed forgotten deletes
of one writer fetches the whole space of a peer and merges it as an OR-set without tombstones
(Bieniusa et al., 2012): an entry that one side lacks survives if that side has not seen it, being
beyond its version of the entry's log; otherwise it has been deleted there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from svcmesh.catalog.changes import CatalogDropped, CatalogEffect, ExternalNode, RecordChanged
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.errors import CatalogFullError
from svcmesh.catalog.external_space import ExternalSpace
from svcmesh.catalog.hlc import HybridClock
from svcmesh.catalog.log import LOOSE_MAX, Entry, Log, Origin, RecordKey
from svcmesh.catalog.messages import ExternalPage, Page, Summary, Want, WantExternal
from svcmesh.catalog.paging import advance, loose_pages, next_page, size_bytes
from svcmesh.catalog.records import Body, Kind, NodeId
from svcmesh.catalog.saving import (
    SavedVersion,
    Unsaved,
    pack_record,
    pack_version,
    record_name,
    version_name,
)

CONTENT = Origin(NodeId("*"), 0)
"""Stands for the content of the whole space among the summaries."""

FROM_ITS_START = WantExternal(None, 0)


@dataclass(slots=True)
class _Rebuild:
    """The space of one peer as it arrives."""

    peer: str
    deadline_at: float
    space: ExternalSpace = field(default_factory=ExternalSpace)


class ExternalStore:
    """The external space here.

    `touch(origin, value)` is told of every log whose version changed, with its digest value.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        *,
        emit: Callable[[CatalogEffect], None],
        touch: Callable[[Origin, int], None],
    ) -> None:
        self._config, self._emit, self._touch = config, emit, touch
        self._space = ExternalSpace()
        self._clock = HybridClock()
        self._rebuild: _Rebuild | None = None
        self._unsaved: Unsaved | None = None
        """What is to be saved; None: nothing is kept beyond memory."""

    @property
    def content_hash(self) -> int:
        """Of every live record here."""
        return self._space.content_hash

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

    def read_clock(self, *, wall_ms: int) -> int:
        """A reading above every earlier one and every one witnessed."""
        return self._clock.tick(wall_ms=wall_ms)

    def write(
        self,
        origin: Origin,
        key: RecordKey,
        raw: bytes | None,
        body: Body | None,
        *,
        now: float,
        wall_ms: int,
    ) -> None:
        """Take in a write of our own, numbered next in its log.

        Raises:
            CatalogFullError: It is one record or one writer too many; nothing has changed.
        """
        if self._is_full(key):
            raise CatalogFullError(self._config.external_records_max)
        if self._has_too_many_writers(origin):
            raise CatalogFullError(self._config.external_origins_max)
        log = self._space.log(origin)
        seq = log.through + 1
        entry = Entry(key, seq, raw, body, self._clock.tick(wall_ms=wall_ms), received_at=now)
        self._put(log, entry)
        log.advance(log.through, seq)
        self._settle(log)

    def forget_deletes(self, *, before: float) -> None:
        """Drop tombstones received before an instant, and those beyond the bound."""
        keep_max = self._config.tombstones_max
        forgotten = self._space.forget_deletes(before=before, keep_max=keep_max)
        if self._unsaved is not None:
            for origin, key in forgotten:
                self._unsaved.origins[origin] = None
                # A delete that is not on disk yet: what is there may be the record itself.
                if key not in self._unsaved.keys:
                    self._unsaved.forgotten[key] = None

    # -- saving -----------------------------------------------------------------------------

    def restore(
        self,
        records: Iterable[tuple[Origin, Entry]],
        versions: Iterable[SavedVersion],
        *,
        now: float,
    ) -> None:
        """Take in what was saved in an earlier run, and keep track of what is to be saved.

        Call it first of all. Records beyond what their version covers count as past a gap.
        """
        self._unsaved = Unsaved.nothing()
        space = self._space
        for origin, entry in records:
            if self._is_full(entry.key) or self._has_too_many_writers(origin):
                self._emit(CatalogDropped("catalog-too-many-external-records", entry.key.node))
                continue
            entry.received_at = now
            self._clock.witness(entry.clock)
            old = space.put(space.log(origin), entry)
            if old is not entry:
                self._report(entry, old)
        for version in versions:
            log = space.log(version.origin)
            log.floor = version.floor
            log.advance(0, version.through)
        for log in space.logs.values():
            self._touch(log.origin, space.settle(log))

    @property
    def has_unsaved(self) -> bool:
        """Whether something is to be saved."""
        return bool(self._unsaved)

    def take_unsaved(self, values_max: int) -> dict[str, bytes | None]:
        """Hand out what has changed, at most so many values, in the order that `saving.py` asks."""
        changes: dict[str, bytes | None] = {}
        unsaved, winners, logs = self._unsaved, self._space.winners, self._space.logs
        if unsaved is None:
            return changes
        while unsaved.keys and len(changes) < values_max:
            key = next(iter(unsaved.keys))
            del unsaved.keys[key]
            won = winners.get(key)
            changes[record_name(key)] = None if won is None else pack_record(*won)
        if unsaved.keys:
            return changes
        while unsaved.origins and len(changes) < values_max:
            origin = next(iter(unsaved.origins))
            del unsaved.origins[origin]
            changes[version_name(origin)] = pack_version(logs[origin])
        while not unsaved.origins and unsaved.forgotten and len(changes) < values_max:
            key = next(iter(unsaved.forgotten))
            del unsaved.forgotten[key]
            if key not in winners:
                changes[record_name(key)] = None
        return changes

    # -- repair -----------------------------------------------------------------------------

    def summary(self, origin: Origin) -> Summary | None:
        """What we have of a writer, or of the whole space's content (`CONTENT`)."""
        space = self._space
        if origin == CONTENT:
            return Summary(True, CONTENT, space.version_hash, 0, space.content_hash, 0)
        log = space.logs.get(origin)
        if log is None:
            return None
        # Content is compared for the whole space: a log's depends on what other writers won.
        return Summary(True, origin, log.through, log.floor, 0, log.loose_hash)

    def want(self, summary: Summary, *, loose_after: int) -> Want | None:
        """What to ask somebody for who has this of a writer; None when we lack nothing.

        `loose_after`: up to where that one's loose entries have been asked for already.
        """
        if summary.origin == CONTENT:
            return None
        log = self._space.logs.get(summary.origin)
        through, loose = (0, 0) if log is None else (log.through, log.loose_hash)
        if summary.floor > through or summary.through < through:
            return None
        if summary.through > through:
            return Want(True, summary.origin, through, None)
        if summary.loose and summary.loose != loose:
            return Want(True, summary.origin, max(through, loose_after), None)
        return None

    def needs_rebuild(self, summary: Summary) -> bool:
        """Whether somebody who has this can only help with the whole space."""
        if summary.origin != CONTENT:
            # They have forgotten deletes of this writer that we never saw.
            log = self._space.logs.get(summary.origin)
            return summary.floor > (0 if log is None else log.through)
        # Equal versions everywhere and unequal content: all go for the same one.
        ours = self._space
        return summary.through == ours.version_hash and summary.hash > ours.content_hash

    def pages(self, want: Want, budget_bytes: int) -> list[Page]:
        """Serve a want, or a part of it; nothing when deltas from there are not to be had here."""
        log = self._space.logs.get(want.origin)
        if log is None or want.after < log.floor:
            return []
        if want.after >= log.through:
            return loose_pages(log, want.after, budget_bytes, is_external=True)
        return [next_page(log, want.after, budget_bytes, is_external=True)]

    def apply(self, page: Page, *, now: float) -> bool:
        """Take in a page; whether it brought anything new."""
        if page.origin == CONTENT:
            self._emit(CatalogDropped("catalog-malformed", "a page of no writer"))
            return False
        if self._has_too_many_writers(page.origin):
            self._emit(CatalogDropped("catalog-too-many-external-writers", page.origin.node_id))
            return False
        log = self._space.log(page.origin)
        through, news = log.through, False
        if page.after > through and len(log.loose) >= LOOSE_MAX:
            return False
        for entry in page.entries:
            if entry.seq <= through:
                # We have it, or know that it is gone: the delete may be forgotten already.
                continue
            if self._is_full(entry.key):
                self._emit(CatalogDropped("catalog-too-many-external-records", entry.key.node))
                self._settle(log)
                return news
            entry.received_at = now
            self._clock.witness(entry.clock)
            news = self._put(log, entry) or news
        advance(log, page)
        self._settle(log)
        return news or log.through > through

    def _is_full(self, key: RecordKey) -> bool:
        winners = self._space.winners
        return len(winners) >= self._config.external_records_max and key not in winners

    def _has_too_many_writers(self, origin: Origin) -> bool:
        logs = self._space.logs
        return len(logs) >= self._config.external_origins_max and origin not in logs

    # -- rebuilding -------------------------------------------------------------------------

    def start_rebuild(self, peer: str, *, now: float) -> WantExternal | None:
        """Begin to fetch the whole space from a peer; None while another fetch is under way."""
        if self._rebuild is not None and now < self._rebuild.deadline_at:
            return None
        self._rebuild = _Rebuild(peer, now + self._config.reply_timeout_s)
        return FROM_ITS_START

    def external_page(self, want: WantExternal, budget_bytes: int) -> ExternalPage:
        """Serve a part of the whole space."""
        pages: list[Page] = []
        for origin in self._space.origins_from(want.cursor):
            if pages and budget_bytes <= 0:
                return ExternalPage(tuple(pages), origin, 0)
            log = self._space.logs[origin]
            after = want.after if origin == want.cursor else 0
            page = next_page(log, after, budget_bytes, is_external=True)
            pages.append(page)
            if page.through < log.through:
                return ExternalPage(tuple(pages), origin, page.through)
            budget_bytes -= size_bytes(page)
        return ExternalPage(tuple(pages), None, 0)

    def apply_external_page(
        self, peer: str, answer: ExternalPage, *, now: float
    ) -> WantExternal | None:
        """Take in a part of a rebuild; what to ask for next, None when it is over."""
        rebuild = self._rebuild
        if rebuild is None or rebuild.peer != peer:
            return None
        rebuild.deadline_at = now + self._config.reply_timeout_s
        space = rebuild.space
        for page in answer.pages:
            if page.origin == CONTENT:
                continue
            log = space.log(page.origin, floor=page.floor)
            if page.after and page.floor != log.floor:
                # Deletes were forgotten while it arrived, perhaps of records that are here.
                rebuild.space = ExternalSpace()
                return FROM_ITS_START
            for entry in page.entries:
                entry.received_at = now
                self._clock.witness(entry.clock)
                space.put(log, entry)
            log.advance(page.after, page.through)
        is_too_large = (
            len(space.winners) > self._config.external_records_max
            or len(space.logs) > self._config.external_origins_max
        )
        if is_too_large:
            self._emit(CatalogDropped("catalog-too-many-external-records", peer))
            self._rebuild = None
            return None
        if answer.next_cursor is not None:
            return WantExternal(answer.next_cursor, answer.next_after)
        self._rebuild = None
        self._take_over(space)
        return None

    def _take_over(self, theirs: ExternalSpace) -> None:
        ours = self._space
        if theirs.version != ours.version:
            # At the same version theirs is taken as it is: the two differ without a reason.
            for origin, log in ours.logs.items():
                for entry in theirs.entries(origin):
                    if entry.seq <= log.through and log.at(entry.seq) is None:
                        theirs.remove(theirs.log(origin), entry)
        for origin, log in ours.logs.items():
            seen = theirs.log(origin, floor=log.floor)
            covered = seen.through
            seen.floor = max(seen.floor, log.floor)
            for entry in list(log.entries()):
                if entry.seq > covered:
                    # Each space counts its own: an entry here may lose its key there.
                    theirs.put(seen, replace(entry))
            seen.advance(covered, log.through)
        self._space = theirs
        self._note_all(ours, theirs)
        for key, (entry, _) in ours.winners.items():
            if key not in theirs.winners:
                self._report(replace(entry, raw=None, body=None), entry)
        for key, (entry, _) in theirs.winners.items():
            former = ours.winners.get(key)
            self._report(entry, None if former is None else former[0])
        for log in theirs.logs.values():
            self._settle(log)

    def _note_all(self, before: ExternalSpace, after: ExternalSpace) -> None:
        """Have saved what is different after a rebuild."""
        if self._unsaved is None:
            return
        self._unsaved.origins |= dict.fromkeys(after.logs)
        for key in before.winners.keys() | after.winners.keys():
            if _version_of(before, key) != _version_of(after, key):
                self._unsaved.keys[key] = None

    def _settle(self, log: Log) -> None:
        if self._unsaved is not None:
            self._unsaved.origins[log.origin] = None
        self._touch(log.origin, self._space.settle(log))

    def _put(self, log: Log, entry: Entry) -> bool:
        old = self._space.put(log, entry)
        if old is entry:
            return False
        if self._unsaved is not None:
            self._unsaved.keys[entry.key] = None
        self._report(entry, old)
        return True

    def _report(self, new: Entry, old: Entry | None) -> None:
        before = None if old is None else old.body
        if before != new.body:
            owner = ExternalNode(new.key.node)
            self._emit(RecordChanged(owner, Kind(new.key.kind), new.key.id, before, new.body))


def _version_of(space: ExternalSpace, key: RecordKey) -> tuple[Origin, int] | None:
    won = space.winners.get(key)
    return None if won is None else (won[1], won[0].seq)
