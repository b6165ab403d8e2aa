"""What an agent has of the catalog, and the digest of what of it is shown to others.

Own records are in `own.py`, external ones in `external.py`. Shown, that is digested and served, are
the external ones and the own records of nodes that the member table binds.
"""

from collections.abc import Callable, Iterable

from svcmesh.catalog.agreement import Version, version
from svcmesh.catalog.changes import CatalogEffect
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.digest import Digest, Item, item_value
from svcmesh.catalog.external import CONTENT, ExternalStore
from svcmesh.catalog.log import Log, Origin
from svcmesh.catalog.messages import Page, Summary, Want
from svcmesh.catalog.own import OwnStore
from svcmesh.catalog.records import NodeId


class Holdings:
    """Both stores behind one digest.

    Pages and summaries of our own node's records are never taken in; what they claim is noted in
    `claimed_epoch`.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        *,
        node_id: NodeId,
        is_bound: Callable[[NodeId], bool],
        emit: Callable[[CatalogEffect], None],
    ) -> None:
        self._digest = Digest()
        self._touched: dict[NodeId, None] = {}
        """Nodes whose own records are not in the digest as they are now."""
        self.own = OwnStore(config, emit=emit, touch=self._own_touched, is_bound=is_bound)
        self.external = ExternalStore(config, emit=emit, touch=self._external_touched)
        self.claimed_epoch: int | None = None
        """The highest epoch of ours that somebody has records of which we did not write."""
        self._id, self._is_bound = node_id, is_bound
        self._hides_own = False

    @property
    def digest(self) -> Digest:
        """What is shown, as it is now; worked out when it is asked for.

        That is about once a second at most, while records may change a thousand times.
        """
        if self._touched:
            touched, self._touched = self._touched, {}
            for node_id in touched:
                self._take_into_digest(node_id)
        return self._digest

    @property
    def own_log(self) -> Log:
        """Our own node's records, of this epoch."""
        log = self.own.log(self._id)
        assert log is not None
        return log

    def hide_own(self, hides: bool) -> None:
        """Leave our own node's records out of what is shown, or no longer."""
        self._hides_own = hides
        self._own_touched(self._id)

    def bind(self, node_id: NodeId) -> None:
        """The member table knows the node."""
        self.own.bind(node_id)

    def unbind(self, node_id: NodeId) -> None:
        """The node left, was reaped, or lost its identity: its own records go, except our own."""
        if node_id == self._id:
            self._own_touched(node_id)
        else:
            self.own.drop(node_id)

    # -- comparing --------------------------------------------------------------------------

    def summaries(self, bucket: int) -> list[Summary]:
        """What we show in one bucket."""
        found: list[Summary] = []
        for item in self.digest.items(bucket):
            if item.is_external:
                summary = self.external.summary(Origin(NodeId(item.node_id), item.epoch))
            else:
                summary = self.own.summary(NodeId(item.node_id))
            if summary is not None:
                found.append(summary)
        return found

    def is_comparable(self, summary: Summary) -> bool:
        """Whether we would have what this is about, too: nothing of nodes that are not members."""
        return summary.is_external or self._is_bound(summary.origin.node_id)

    def lacks(self, item: Item, wanted: Version) -> bool:
        """Whether we would have this version and do not."""
        if item.is_external:
            return version(self.external.summary(Origin(NodeId(item.node_id), item.epoch))) < wanted
        node_id = NodeId(item.node_id)
        return self._is_bound(node_id) and version(self.own.summary(node_id)) < wanted

    def want(self, summary: Summary, *, loose_after: int, now: float) -> Want | None:
        """What to ask somebody for who has this; None when that is of no use to us."""
        if summary.is_external:
            return self.external.want(summary, loose_after=loose_after)
        node_id = summary.origin.node_id
        if node_id == self._id or not self._is_bound(node_id):
            return None
        return self.own.want(summary, loose_after=loose_after, now=now)

    def heed_claim(self, summary: Summary) -> None:
        """Note a version of our own that we did not write: another run of this node did."""
        if summary.origin.node_id != self._id:
            return
        own = self.own_log
        epoch = summary.origin.epoch
        if summary.is_external:
            log = self.external.log(own.origin)
            is_ours = summary.through <= (0 if log is None else log.through)
            if epoch == own.origin.epoch and not is_ours:
                self._claim(epoch)
            return
        theirs, ours = (epoch, summary.through), (own.origin.epoch, own.through)
        if theirs > ours or (theirs == ours and summary.hash != own.hash):
            self._claim(epoch)

    # -- exchanging -------------------------------------------------------------------------

    def serve(self, want: Want, budget_bytes: int) -> list[Page]:
        """The answer to a want, up to about a size."""
        if want.is_external:
            return self.external.pages(want, budget_bytes)
        if not self._is_shown(want.origin.node_id):
            return []
        return self.own.pages(want, budget_bytes)

    def apply(self, pages: Iterable[Page], *, now: float) -> list[Page]:
        """Take in pages; those that brought anything new."""
        return [page for page in pages if self._apply(page, now=now)]

    def forget(self, *, deletes_before: float, unbound_before: float) -> None:
        """Drop deletes that are old or too many, and nodes that nobody has known for long."""
        self.own.forget_deletes(before=deletes_before)
        self.external.forget_deletes(before=deletes_before)
        self.own.drop_unbound(before=unbound_before)

    def _apply(self, page: Page, *, now: float) -> bool:
        if page.is_external:
            return page.origin != self.own_log.origin and self.external.apply(page, now=now)
        if page.origin.node_id == self._id:
            if page.origin.epoch > self.own_log.origin.epoch:
                self._claim(page.origin.epoch)
            return False
        return self.own.apply(page, now=now)

    def _claim(self, epoch: int) -> None:
        self.claimed_epoch = max(epoch, self.claimed_epoch or 0)

    def _is_shown(self, node_id: NodeId) -> bool:
        if node_id == self._id and self._hides_own:
            return False
        return self._is_bound(node_id)

    def _own_touched(self, node_id: NodeId) -> None:
        self._touched[node_id] = None

    def _take_into_digest(self, node_id: NodeId) -> None:
        item = Item(False, node_id, 0)
        log = self.own.log(node_id)
        if log is None or log.is_empty or not self._is_shown(node_id):
            self._digest.drop(item)
        else:
            self._digest.put(item, item_value(log.origin, log.through, log.hash))

    def _external_touched(self, origin: Origin, value: int) -> None:
        self._digest.put(Item(True, *origin), value)
        content = item_value(CONTENT, 0, self.external.content_hash)
        self._digest.put(Item(True, *CONTENT), content)
