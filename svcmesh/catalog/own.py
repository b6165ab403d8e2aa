"""Own records: each node's, as its own agent wrote them, by epoch and sequence.

A node has one current log, which is shown. A later epoch, and a log that has to be fetched anew
because deletes were forgotten meanwhile, is built aside and takes over in one step when complete:

| page of              | goes to                                                               |
|----------------------|-----------------------------------------------------------------------|
| an earlier epoch     | nowhere                                                               |
| the current epoch    | the current log; `is_full`: a log aside                               |
| a later epoch        | a log aside, complete when it reaches the end of the republication    |
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from svcmesh.catalog.changes import CatalogDropped, CatalogEffect, OwnNode, RecordChanged
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.log import LOOSE_MAX, Entry, Log
from svcmesh.catalog.messages import FROM_THE_START, Page, Summary, Want
from svcmesh.catalog.paging import advance, loose_pages, next_page
from svcmesh.catalog.records import Kind, NodeId

BUILDING_S = 10.0
"""A later epoch that has not grown for so long makes way for an earlier one that somebody has."""


@dataclass(slots=True)
class _Space:
    """One node's records here."""

    current: Log
    building: Log | None = None
    is_rebuild: bool = False
    """`building` is of the current epoch, in place of a log that is too old for deltas."""
    grown_at: float = 0.0
    """When `building` last grew."""
    unbound_at: float | None = None
    """Since when the member table does not know the node; None while it does."""

    def is_building_later(self, epoch: int, now: float) -> bool:
        """Whether a later epoch than this is being built, and that is still getting on."""
        building = self.building
        return (
            building is not None
            and building.origin.epoch > epoch
            and now - self.grown_at < BUILDING_S
        )

    def is_complete(self, building: Log) -> bool:
        """Whether the log built aside may take over."""
        if building.through < max(building.base, building.floor):
            return False
        return not self.is_rebuild or building.through >= self.current.through


class OwnStore:
    """Every node's own records.

    `touch(node_id)` is told of every log whose digest may differ, `is_bound(node_id)` says whether
    the member table knows the node.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        *,
        emit: Callable[[CatalogEffect], None],
        touch: Callable[[NodeId], None],
        is_bound: Callable[[NodeId], bool],
    ) -> None:
        self._config, self._emit = config, emit
        self._touch, self._is_bound = touch, is_bound
        self._spaces: dict[NodeId, _Space] = {}
        self._unbound = 0

    def log(self, node_id: NodeId) -> Log | None:
        """The current log of a node."""
        space = self._spaces.get(node_id)
        return None if space is None else space.current

    def node_ids(self) -> Iterator[NodeId]:
        """Every node with records here, bound or not."""
        return iter(self._spaces)

    # -- our own node -----------------------------------------------------------------------

    def write(self, log: Log, entry: Entry) -> None:
        """Take a write of our own node into its log, which is complete by definition."""
        old = log.put(entry)
        log.advance(log.through, entry.seq)
        self._report(log.origin.node_id, entry, old)
        self._touch(log.origin.node_id)

    def adopt(self, log: Log) -> None:
        """Make a log the current one of its node: the start of an epoch of ours."""
        self._spaces[log.origin.node_id] = _Space(log)
        self._touch(log.origin.node_id)

    # -- the member table -------------------------------------------------------------------

    def bind(self, node_id: NodeId) -> None:
        """The member table knows the node."""
        space = self._spaces.get(node_id)
        if space is not None and space.unbound_at is not None:
            space.unbound_at = None
            self._unbound -= 1
        self._touch(node_id)

    def drop(self, node_id: NodeId) -> None:
        """Forget a node with all its records."""
        space = self._spaces.pop(node_id, None)
        if space is None:
            return
        self._unbound -= space.unbound_at is not None
        for entry in space.current.entries():
            self._report(node_id, replace(entry, raw=None, body=None), entry)
        self._touch(node_id)

    def drop_unbound(self, *, before: float) -> None:
        """Forget nodes that the member table has not known since an instant."""
        if not self._unbound:
            return
        late = [
            node_id
            for node_id, space in self._spaces.items()
            if space.unbound_at is not None and space.unbound_at < before
        ]
        for node_id in late:
            self.drop(node_id)

    def forget_deletes(self, *, before: float) -> None:
        """Drop tombstones received before an instant, and those beyond the bound."""
        for space in self._spaces.values():
            if space.current.tombstones:
                space.current.forget_deletes(before=before, keep_max=self._config.tombstones_max)

    # -- repair -----------------------------------------------------------------------------

    def summary(self, node_id: NodeId) -> Summary | None:
        """What we have of a node."""
        log = self.log(node_id)
        if log is None:
            return None
        return Summary(False, log.origin, log.through, log.floor, log.hash, log.loose_hash)

    def want(self, summary: Summary, *, loose_after: int, now: float) -> Want | None:
        """What to ask somebody for who has this of a node; None when we lack nothing of it.

        `loose_after`: up to where that one's loose entries have been asked for already.
        """
        origin = summary.origin
        space = self._spaces.get(origin.node_id)
        if space is None:
            return Want(False, origin, 0, None) if summary.through or summary.loose else None
        current, building = space.current, space.building
        if origin.epoch < current.origin.epoch or space.is_building_later(origin.epoch, now):
            return None
        if building is not None and building.origin == origin:
            if summary.through <= building.through:
                return None
            is_full = space.is_rebuild or building.floor
            return Want(False, origin, building.through, building.floor if is_full else None)
        if origin.epoch > current.origin.epoch:
            return Want(False, origin, 0, None)
        if summary.through > current.through:
            # Below the floor we are in the middle of a full transfer.
            full_floor = current.floor if current.through < current.floor else None
            return Want(False, origin, current.through, full_floor)
        if summary.through < current.through:
            return None
        if summary.loose != current.loose_hash:
            after = max(current.through, loose_after)
            return Want(False, origin, after, None) if summary.loose else None
        if summary.hash > current.hash:
            # One origin, one version, two contents: a cloned data directory. All go for the same.
            return Want(False, origin, 0, FROM_THE_START)
        return None

    def pages(self, want: Want, budget_bytes: int) -> list[Page]:
        """Serve a want, or a part of it: one page, or one for each loose record."""
        log = self.log(want.origin.node_id)
        if log is None or log.origin != want.origin:
            return []
        if want.full_floor is None and want.after >= log.through:
            return loose_pages(log, want.after, budget_bytes, is_external=False)
        after, is_full = want.after, want.full_floor is not None
        if is_full and want.full_floor != log.floor:
            after = 0
        elif not is_full and after < log.floor:
            after, is_full = 0, True
        return [next_page(log, after, budget_bytes, is_external=False, is_full=is_full)]

    def apply(self, page: Page, *, now: float) -> bool:
        """Take in a page; whether it brought anything new."""
        node_id = page.origin.node_id
        space = self._spaces.get(node_id) or self._new_space(page, now=now)
        if space is None:
            return False
        log = _target(space, page, now=now)
        if log is None:
            return False
        log.base = max(log.base, page.base)
        news = self._fill(space, log, page, now=now)
        if log is space.building:
            if news:
                space.grown_at = now
            if space.is_complete(log):
                self._swap(node_id, space)
        self._touch(node_id)
        return news

    def _new_space(self, page: Page, *, now: float) -> _Space | None:
        if page.is_full and page.after:
            return None
        node_id = page.origin.node_id
        unbound_at = None if self._is_bound(node_id) else now
        if unbound_at is not None:
            if self._unbound >= self._config.unbound_max:
                self._emit(CatalogDropped("catalog-too-many-unknown-nodes", node_id))
                return None
            self._unbound += 1
        space = self._spaces[node_id] = _Space(_new_log(page), unbound_at=unbound_at)
        return space

    def _fill(self, space: _Space, log: Log, page: Page, *, now: float) -> bool:
        through = log.through
        if page.after > through and len(log.loose) >= LOOSE_MAX:
            return False
        news = False
        for entry in page.entries:
            if entry.seq <= through:
                # We have it, or know that it is gone: the delete may be forgotten already.
                continue
            if self._is_full(log, entry):
                self._emit(CatalogDropped("catalog-too-many-records", page.origin.node_id))
                return news
            entry.received_at = now
            old = log.put(entry)
            if old is entry:
                continue
            news = True
            if log is space.current:
                self._report(page.origin.node_id, entry, old)
        advance(log, page)
        return news or log.through > through

    def _is_full(self, log: Log, entry: Entry) -> bool:
        if log.get(entry.key) is not None:
            return False
        if entry.raw is None:
            # Housekeeping brings them down to the bound.
            return log.tombstones >= 2 * self._config.tombstones_max
        return log.live >= self._config.records_per_origin_max

    def _swap(self, node_id: NodeId, space: _Space) -> None:
        """Let the log built aside take over, in one step."""
        old, new = space.current, space.building
        assert new is not None
        space.current, space.building, space.is_rebuild = new, None, False
        if old.origin == new.origin:
            for entry in old.loose:
                if entry.seq > new.through:
                    new.put(entry)
        for entry in old.entries():
            if new.get(entry.key) is None:
                self._report(node_id, replace(entry, raw=None, body=None), entry)
        for entry in new.entries():
            self._report(node_id, entry, old.get(entry.key))

    def _report(self, node_id: NodeId, new: Entry, old: Entry | None) -> None:
        before = None if old is None else old.body
        if before != new.body:
            self._emit(
                RecordChanged(OwnNode(node_id), Kind(new.key.kind), new.key.id, before, new.body)
            )


def _new_log(page: Page) -> Log:
    return Log(page.origin, base=page.base, floor=page.floor if page.is_full else 0)


def _target(space: _Space, page: Page, *, now: float) -> Log | None:
    """The log that a page belongs to; None when it is of no use."""
    epoch = page.origin.epoch
    if epoch < space.current.origin.epoch or space.is_building_later(epoch, now):
        return None
    if space.current.is_empty and epoch > space.current.origin.epoch:
        space.current = _new_log(page)
    current, building = space.current, space.building
    if epoch == current.origin.epoch:
        if not page.is_full:
            return current
        if not current.through and not page.after:
            current.floor = page.floor
            return current
        if building is None and (page.floor, page.after) == (current.floor, current.through):
            return current
    is_other = building is None or building.origin != page.origin
    if page.is_full and not page.after:
        is_other = True
    if is_other:
        if page.is_full and page.after:
            return None
        building = _new_log(page)
        space.building, space.grown_at = building, now
        space.is_rebuild = epoch == current.origin.epoch
    elif building is not None and page.is_full and building.through != page.after:
        return None
    return building
