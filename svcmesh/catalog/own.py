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
from svcmesh.catalog.codec import FROM_THE_START, Page, Summary, Want
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.log import Entry, Log
from svcmesh.catalog.records import Kind, NodeId


@dataclass(slots=True)
class Space:
    """One node's records here."""

    current: Log
    building: Log | None = None
    is_rebuild: bool = False
    """`building` is of the current epoch, in place of a log that is too old for deltas."""
    unbound_at: float | None = None
    """Since when the member table does not know the node; None while it does."""


class OwnStore:
    """Every node's own records. `touch(node_id)` is told of every log whose digest may differ."""

    def __init__(
        self,
        config: ReplicaConfig,
        *,
        emit: Callable[[CatalogEffect], None],
        touch: Callable[[NodeId], None],
    ) -> None:
        self._config, self._emit, self._touch = config, emit, touch
        self._spaces: dict[NodeId, Space] = {}
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
        self._spaces[log.origin.node_id] = Space(log)
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
            space.current.forget_deletes(before=before, keep_max=self._config.tombstones_max)

    # -- repair -----------------------------------------------------------------------------

    def want(self, summary: Summary) -> Want | None:
        """What to ask somebody for who has this of a node; None when we lack nothing of it."""
        space = self._spaces.get(summary.origin.node_id)
        if space is None:
            return Want(False, summary.origin, 0, None) if summary.through else None
        current, building = space.current, space.building
        if summary.origin.epoch < current.origin.epoch:
            return None
        if building is not None and building.origin == summary.origin:
            if building.through < summary.through or not self._is_complete(space, building):
                full_floor = building.floor if space.is_rebuild or building.floor else None
                return Want(False, summary.origin, building.through, full_floor)
            return None
        if summary.origin.epoch > current.origin.epoch:
            return Want(False, summary.origin, 0, None)
        if summary.through > current.through:
            # Below the floor we are in the middle of a full transfer.
            full_floor = current.floor if current.through < current.floor else None
            return Want(False, summary.origin, current.through, full_floor)
        if summary.through == current.through and summary.hash > current.hash:
            # One origin, one version, two contents: a cloned data directory. All go for the same.
            return Want(False, summary.origin, 0, FROM_THE_START)
        return None

    def page(self, want: Want, budget_bytes: int) -> Page | None:
        """Serve a want; None when we have nothing of that origin beyond it."""
        log = self.log(want.origin.node_id)
        if log is None or log.origin != want.origin:
            return None
        after, is_full = want.after, want.full_floor is not None
        if is_full and want.full_floor != log.floor:
            after = 0
        elif not is_full and after < log.floor:
            after, is_full = 0, True
        entries, through = log.page(after, budget_bytes)
        return Page(False, log.origin, log.base, log.floor, after, through, is_full, tuple(entries))

    def apply(self, page: Page, *, now: float) -> bool:
        """Take in a page; whether it brought anything new."""
        node_id = page.origin.node_id
        space = self._spaces.get(node_id)
        if space is None:
            if self._unbound >= self._config.unbound_max:
                self._emit(CatalogDropped("catalog-too-many-unknown-nodes", node_id))
                return False
            space = Space(self._new_log(page), unbound_at=now)
            self._spaces[node_id] = space
            self._unbound += 1
        log = self._target(space, page)
        if log is None:
            return False
        log.base = max(log.base, page.base)
        news = self._fill(space, log, page, now=now)
        if log is space.building and self._is_complete(space, log):
            self._swap(node_id, space)
        self._touch(node_id)
        return news

    def _target(self, space: Space, page: Page) -> Log | None:
        """The log that a page belongs to; None when it is of no use."""
        current, building = space.current, space.building
        if page.origin.epoch < current.origin.epoch:
            return None
        if not current.through and not len(current) and page.origin.epoch > current.origin.epoch:
            space.current = current = self._new_log(page)
        if page.origin.epoch == current.origin.epoch:
            if not page.is_full:
                return current
            if not current.through and page.after == 0:
                current.floor = page.floor
                return current
            if current.floor == page.floor and current.through == page.after and not building:
                return current
        elif building is not None and building.origin.epoch > page.origin.epoch:
            return None
        is_other = building is None or building.origin != page.origin
        if page.is_full and page.after == 0:
            is_other = True
        if is_other:
            if page.is_full and page.after:
                return None
            space.building = building = self._new_log(page)
            space.is_rebuild = page.origin.epoch == current.origin.epoch
        elif page.is_full and building is not None and building.through != page.after:
            return None
        return building

    def _new_log(self, page: Page) -> Log:
        return Log(page.origin, base=page.base, floor=page.floor if page.is_full else 0)

    def _fill(self, space: Space, log: Log, page: Page, *, now: float) -> bool:
        through = log.through
        news = False
        for entry in page.entries:
            if len(log) >= self._config.records_per_origin_max and log.get(entry.key) is None:
                self._emit(CatalogDropped("catalog-too-many-records", page.origin.node_id))
                return news
            entry.received_at = now
            old = log.put(entry)
            if old is entry:
                continue
            news = True
            if log is space.current:
                self._report(page.origin.node_id, entry, old)
        log.advance(page.after, page.through)
        return news or log.through > through

    def _is_complete(self, space: Space, building: Log) -> bool:
        if building.through < building.base or building.through < building.floor:
            return False
        return not space.is_rebuild or building.through >= space.current.through

    def _swap(self, node_id: NodeId, space: Space) -> None:
        """Let the log built aside take over, in one step."""
        old, new = space.current, space.building
        assert new is not None
        space.current, space.building, space.is_rebuild = new, None, False
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

    def summary(self, node_id: NodeId) -> Summary | None:
        """What we have of a node."""
        log = self.log(node_id)
        if log is None:
            return None
        return Summary(False, log.origin, log.through, log.floor, log.hash)
