"""The replication core of the catalog: rumors out at once, differences repaired in the background.

One agent's replica. It is fed own writes, the member table, messages and time, and returns what to
send and what has become known (`changes.py`). Here these meet: own writes and rumors are
`publishing.py`'s, repair is `exchange.py`'s, the records themselves `holdings.py`'s, names and ids
`identity.py`'s and `contest.py`'s.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import assert_never

from svcmesh.catalog.agreement import PeerAgreement
from svcmesh.catalog.changes import (
    AnswerSource,
    BecameReady,
    CatalogDropped,
    CatalogEffect,
    ClockDrift,
    EpochRaised,
    IdentityContested,
    IdentityRestored,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    SendCatalog,
)
from svcmesh.catalog.codec import decode_envelope_untrusted, encode_envelope
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.contest import Contest
from svcmesh.catalog.exchange import Exchange
from svcmesh.catalog.fields import EPOCH_MAX
from svcmesh.catalog.hlc import PeerClocks
from svcmesh.catalog.holdings import Holdings
from svcmesh.catalog.identity import BindingChange, Bindings
from svcmesh.catalog.log import Entry, Origin, RecordKey
from svcmesh.catalog.messages import (
    Buckets,
    CatalogMessage,
    Compare,
    Contested,
    Envelope,
    ExternalPage,
    Page,
    Pages,
    Same,
    Summaries,
    WantExternal,
    Wants,
)
from svcmesh.catalog.publishing import Publisher
from svcmesh.catalog.records import Body, Kind, NodeId
from svcmesh.catalog.saving import SavedVersion
from svcmesh.catalog.spreading import rumor_targets
from svcmesh.errors import DecodeError

HOUSEKEEPING_S = 10.0
"""Between looks for old tombstones and nodes that nobody knows."""

DRIFT_REPORT_S = 600.0
CONTEST_ANSWER_S = 1.0

NEW_PEER_REPAIR_S = 0.05
"""A new peer is compared with this soon, instead of at the next round."""


class Replica:
    """One agent's copy of the catalog.

    Methods that take `now` (monotonic seconds) return effects in order; none raises for what a peer
    sent. `wall_ms` is the wall clock, for external records and for telling how far clocks differ.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        *,
        name: str,
        node_id: NodeId,
        epoch: int,
        expects_peers: bool,
        now: float,
        rng: Random,
    ) -> None:
        """Start empty, our own name and id bound to us.

        Args:
            config: Intervals, budgets and bounds.
            name: Our node name.
            node_id: Our node id.
            epoch: This run's, above that of any earlier run of this node id.
            expects_peers: Whether there is a cluster to synchronise with; if not we are ready.
            now: Monotonic seconds.
            rng: Chooses peers and nothing else.
        """
        self.is_ready = not expects_peers
        self._config, self._name, self._id, self._rng = config, name, node_id, rng
        self._effects: list[CatalogEffect] = []
        self._counts: Counter[str] = Counter()
        self._wall_ms = 0
        self._bindings = Bindings(name)
        self._contest = Contest(config, name=name, node_id=node_id)
        self._holdings = Holdings(
            config, node_id=node_id, is_bound=self._bindings.is_bound, emit=self._emit
        )
        self._publisher = Publisher(config, self._holdings, node_id=node_id, epoch=epoch, now=now)
        self._exchange = Exchange(config, self._holdings, send=self._send, now=now, rng=rng)
        self._announced_ready = False
        self._ready_at = now + (config.ready_after_s if expects_peers else 0.0)
        self._repair_at = now + rng.random() * config.repair_interval_s
        self._quiet_at = now + config.quiet_repair_interval_s
        """When we are to compare less often, if nothing changes until then."""
        self._housekeeping_at = now + HOUSEKEEPING_S
        self._next_peer: str | None = None
        self._contest_answered_at = now - CONTEST_ANSWER_S
        self._epoch_raised_at = now - config.epoch_raise_s
        self._clocks = PeerClocks()
        self._drift_reported_at = now - DRIFT_REPORT_S
        self._rebind(self._bindings.alive(name, node_id, is_peer=True))

    # -- what we know -----------------------------------------------------------------------

    @property
    def clock_drift_s(self) -> float:
        """Our wall clock against the median of the peers'; positive: ours is ahead."""
        return self._clocks.drift_s

    @property
    def epoch(self) -> int:
        """Of this run."""
        return self._publisher.epoch

    @property
    def fingerprint(self) -> int:
        """64 bits that are equal on two agents exactly when they have the same."""
        return self._holdings.digest.total

    @property
    def peers(self) -> Mapping[str, PeerAgreement | None]:
        """Every peer with the latest comparison; None where there has been none yet."""
        compared = self._exchange.agreements.peers
        return {name: compared.get(name) for name in self._bindings.peers}

    @property
    def agrees(self) -> bool | None:
        """Whether all peers had what we had when compared last; None before that."""
        compared = [peer.agrees for peer in self.peers.values() if peer is not None]
        return all(compared) if compared or not self._bindings.peers else None

    def lag_s(self, *, now: float) -> float:
        """How long we have lacked what a peer was seen to have; 0 when we lack nothing."""
        return self._exchange.agreements.lag_s(self._holdings.lacks, now=now)

    @property
    def metrics(self) -> dict[str, int]:
        """Counters since the start."""
        return {
            "comparisons": self._exchange.comparisons,
            "external_rebuilds": self._exchange.rebuilds,
            "records_published": self._publisher.records_published,
            **self._counts,
        }

    def own_records(self) -> dict[RecordKey, Body]:
        """Live records of our own node."""
        return self.records(self._id)

    def records(self, node_id: NodeId) -> dict[RecordKey, Body]:
        """Live records of one node, bound or not."""
        log = self._holdings.own.log(node_id)
        entries: Iterable[Entry] = () if log is None else log.entries()
        return {entry.key: entry.body for entry in entries if entry.body is not None}

    def external_records(self) -> dict[RecordKey, Body]:
        """Live external records."""
        return {e.key: e.body for e in self._holdings.external.live() if e.body is not None}

    def node_ids(self) -> list[NodeId]:
        """Nodes that the member table knows and that we have records of."""
        return [id_ for id_ in self._holdings.own.node_ids() if self._bindings.is_bound(id_)]

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due."""
        due = [self._repair_at, self._housekeeping_at]
        if not self._announced_ready:
            due.append(self._ready_at)
        optional = (self._publisher.flush_at, self._contest.deadline_at)
        return min(due + [at for at in optional if at is not None])

    # -- writes -----------------------------------------------------------------------------

    def put_own(self, body: Body, *, now: float) -> list[CatalogEffect]:
        """Publish a record of our own node. The same body again has no effect.

        Raises:
            RecordTooLargeError, CatalogFullError: Nothing has changed.
        """
        self._publisher.put_own(body, now=now)
        return self._take_effects()

    def delete_own(self, kind: Kind, record_id: str, *, now: float) -> list[CatalogEffect]:
        """Withdraw a record of our own node. One that is not there has no effect."""
        self._publisher.delete_own(kind, record_id, now=now)
        return self._take_effects()

    def read_clock(self, *, wall_ms: int) -> int:
        """A reading of the hybrid clock of external records, above all before it."""
        return self._holdings.external.read_clock(wall_ms=wall_ms)

    def put_external(
        self, node_name: str, body: Body, *, now: float, wall_ms: int
    ) -> list[CatalogEffect]:
        """Publish a record of a node without an agent. The same body again has no effect.

        Raises:
            RecordTooLargeError, CatalogFullError: Nothing has changed.
        """
        self._publisher.put_external(node_name, body, now=now, wall_ms=wall_ms)
        return self._take_effects()

    def delete_external(
        self, node_name: str, kind: Kind, record_id: str, *, now: float, wall_ms: int
    ) -> list[CatalogEffect]:
        """Withdraw a record of a node without an agent, whoever wrote it."""
        self._publisher.delete_external(node_name, kind, record_id, now=now, wall_ms=wall_ms)
        return self._take_effects()

    # -- external records on disk ---------------------------------------------------------------

    def restore_external(
        self,
        records: Iterable[tuple[Origin, Entry]],
        versions: Iterable[SavedVersion],
        *,
        now: float,
    ) -> list[CatalogEffect]:
        """Take in what an earlier run has saved; from now on changes are there to be saved.

        Call it before anything else is written or received.
        """
        self._holdings.external.restore(records, versions, now=now)
        return self._take_effects()

    @property
    def has_unsaved(self) -> bool:
        """Whether external records have changed that are to be saved."""
        return self._holdings.external.has_unsaved

    def take_unsaved(self, values_max: int) -> dict[str, bytes | None]:
        """Hand out what is to be saved, at most so many values, in the order given."""
        return self._holdings.external.take_unsaved(values_max)

    # -- the member table -------------------------------------------------------------------

    def member_alive(
        self, name: str, node_id: NodeId, *, is_peer: bool, now: float
    ) -> list[CatalogEffect]:
        """A member of our data center joined, came back, or changed its tags."""
        was_peer = self._bindings.is_peer(name)
        self._rebind(self._bindings.alive(name, node_id, is_peer=is_peer))
        if not was_peer and self._bindings.is_peer(name):
            self._note_change(now)
            self._next_peer = name
            soon = now + NEW_PEER_REPAIR_S * (1 + self._rng.random())
            self._repair_at = min(self._repair_at, soon)
        return self._take_effects()

    def member_failed(self, name: str, *, now: float) -> list[CatalogEffect]:
        """A member was declared dead."""
        self._rebind(self._bindings.failed(name))
        self._exchange.agreements.forget(name)
        return self._take_effects()

    def member_gone(self, name: str, *, now: float) -> list[CatalogEffect]:
        """A member left or was reaped: its own records go with it."""
        self._rebind(self._bindings.gone(name))
        self._exchange.forget_peer(name)
        return self._take_effects()

    def _rebind(self, changes: Iterable[BindingChange]) -> None:
        for change in changes:
            self._emit(change)
            match change:
                case NodeBound():
                    self._holdings.bind(change.node_id)
                case NodeUnbound():
                    self._holdings.unbind(change.node_id)
                case NodeHealthChanged():
                    # Nobody writes when a node dies: health is the view's to derive.
                    continue

    # -- time -------------------------------------------------------------------------------

    def handle_timer(self, *, now: float, wall_ms: int) -> list[CatalogEffect]:
        """Do what is due. An early call does nothing."""
        self._wall_ms = wall_ms
        self._publisher.seal_republication()
        if now >= self._ready_at:
            self.is_ready = True
        if self._contest.handle_timer(now=now):
            self._emit(IdentityRestored())
            self._holdings.hide_own(False)
            self._publisher.schedule_flush(now)
        if self._publisher.flush_at is not None and now >= self._publisher.flush_at:
            self._flush(now=now)
        if now >= self._repair_at:
            self._repair_at = now + self._repair_pause_s(now)
            self._start_round(now=now)
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + HOUSEKEEPING_S
            self._keep_house(now=now)
        self._follow_up(now=now)
        return self._take_effects()

    def _flush(self, *, now: float) -> None:
        peers = self._bindings.peers
        rumors = self._publisher.flush(peers=len(peers), hides_own=self._contest.is_lost, now=now)
        if rumors:
            self._note_change(now)
        for rumor in rumors:
            self._spread(rumor)

    def _repair_pause_s(self, now: float) -> float:
        interval_s = self._config.repair_interval_s
        if now >= self._quiet_at:
            interval_s = max(interval_s, self._config.quiet_repair_interval_s)
        return interval_s * (0.8 + 0.4 * self._rng.random())

    def _note_change(self, now: float) -> None:
        """Compare more often for a while: somebody may lack what is new."""
        was_quiet = now >= self._quiet_at
        self._quiet_at = now + self._config.quiet_repair_interval_s
        if was_quiet:
            self._repair_at = min(self._repair_at, now + self._repair_pause_s(now))

    def _start_round(self, *, now: float) -> None:
        peers = self._bindings.peers
        if not peers:
            return
        peer, self._next_peer = self._next_peer or self._exchange.to_confirm, None
        if peer is None or not self._bindings.is_peer(peer):
            peer = self._rng.choice(peers)
        self._exchange.start_round(peer, now=now)

    def _keep_house(self, *, now: float) -> None:
        self._holdings.forget(
            deletes_before=now - self._config.tombstone_s,
            unbound_before=now - self._config.unbound_s,
        )
        self._exchange.forget_late(now=now)
        drift_s = self._clocks.drift_s
        is_large = abs(drift_s) > self._config.drift_warning_s
        if is_large and now - self._drift_reported_at >= DRIFT_REPORT_S:
            self._drift_reported_at = now
            self._emit(ClockDrift(drift_s))

    # -- messages ---------------------------------------------------------------------------

    def handle_message_untrusted(
        self, payload: bytes, *, now: float, wall_ms: int
    ) -> list[CatalogEffect]:
        """Take a direct message, its first byte included."""
        self._wall_ms = wall_ms
        self._publisher.seal_republication()
        try:
            envelope = decode_envelope_untrusted(payload, bytes_max=self._config.message_bytes_max)
        except DecodeError as error:
            self._drop(error.reason, str(error))
            return self._take_effects()
        peer, message = envelope.sender, envelope.message
        contest = self._bindings.contest(peer, envelope.sender_id)
        if contest is not None:
            if now - self._contest_answered_at >= CONTEST_ANSWER_S:
                self._contest_answered_at = now
                self._emit(AnswerSource(self._payload(contest)))
            self._drop("catalog-contested-sender", peer)
        elif not self._bindings.is_peer(peer):
            self._drop("catalog-unknown-sender", peer)
        else:
            self._clocks.note(peer, theirs_ms=envelope.wall_ms, ours_ms=wall_ms)
            self._handle(peer, message, now=now)
            self._follow_up(now=now)
        return self._take_effects()

    def _handle(self, peer: str, message: CatalogMessage, *, now: float) -> None:
        exchange = self._exchange
        if not isinstance(message, Compare | Same):
            # Whatever else is said is about something that somebody lacks.
            self._note_change(now)
        match message:
            case Compare():
                exchange.handle_compare(peer, message, now=now)
            case Same():
                exchange.handle_same(peer, now=now)
            case Buckets():
                exchange.handle_buckets(peer, message, now=now)
            case Summaries():
                exchange.handle_summaries(peer, message, now=now)
            case Wants():
                exchange.handle_wants(peer, message)
            case Pages() if message.is_answer:
                self._count(exchange.handle_answer(peer, message.pages, now=now))
            case Pages():
                self._handle_rumor(peer, message, now=now)
            case WantExternal():
                exchange.handle_want_external(peer, message)
            case ExternalPage():
                exchange.handle_external_page(peer, message, now=now)
            case Contested():
                self._handle_contested(message, now=now)
            case _:
                assert_never(message)

    def _handle_rumor(self, peer: str, rumor: Pages, *, now: float) -> None:
        news = self._holdings.apply(rumor.pages, now=now)
        self._count(news)
        if rumor.pass_on and news:
            self._spread(Pages(tuple(news), is_answer=False, pass_on=True), but_not=peer)

    def _handle_contested(self, message: Contested, *, now: float) -> None:
        if not self._contest.hear(message, now=now):
            return
        self._emit(IdentityContested(message.what, self._name, self._id, message.holder))
        self._holdings.hide_own(True)

    def _follow_up(self, *, now: float) -> None:
        """Act on what handling something has shown about ourselves."""
        self.is_ready = self.is_ready or self._exchange.has_synced
        if self.is_ready and not self._announced_ready:
            self._announced_ready = True
            self._emit(BecameReady())
        claimed, self._holdings.claimed_epoch = self._holdings.claimed_epoch, None
        if claimed is not None:
            self._outrank(claimed, now=now)

    def _outrank(self, claimed: int, *, now: float) -> None:
        """Another run of this node has written records: raise our epoch above its."""
        is_soon = now - self._epoch_raised_at < self._config.epoch_raise_s
        if is_soon or self._contest.is_lost or claimed >= EPOCH_MAX:
            return
        self._epoch_raised_at = now
        self._publisher.start_epoch(max(claimed, self.epoch) + 1)
        self._emit(EpochRaised(self.epoch))
        self._publisher.schedule_flush(now)

    # -- effects ----------------------------------------------------------------------------

    def _spread(self, message: Pages | Summaries, *, but_not: str = "") -> None:
        payload = self._payload(message)
        for peer in rumor_targets(self._bindings.peers, self._config, rng=self._rng):
            if peer != but_not:
                self._emit(SendCatalog(peer, payload))

    def _send(self, peer: str, message: CatalogMessage) -> None:
        self._emit(SendCatalog(peer, self._payload(message)))

    def _payload(self, message: CatalogMessage) -> bytes:
        return encode_envelope(Envelope(self._name, self._id, self._wall_ms, message))

    def _count(self, news: Iterable[Page]) -> None:
        self._counts["records_received"] += sum(len(page.entries) for page in news)

    def _drop(self, reason: str, detail: str) -> None:
        self._emit(CatalogDropped(reason, detail))

    def _emit(self, effect: CatalogEffect) -> None:
        if isinstance(effect, CatalogDropped):
            self._counts[f"dropped.{effect.reason}"] += 1
        self._effects.append(effect)

    def _take_effects(self) -> list[CatalogEffect]:
        effects, self._effects = self._effects, []
        return effects
