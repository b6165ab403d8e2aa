"""The replication core of the catalog: rumors out at once, differences repaired in the background.

One agent's replica. It is fed own writes, the member table, messages and time, and returns what to
send and what has become known (`changes.py`). The exchange with a random peer, about once a second:

| message              | answer                                                                |
|----------------------|-----------------------------------------------------------------------|
| `Compare`            | `Same`, or `Buckets`                                                  |
| `Buckets`            | `Summaries` of the buckets that differ, under a byte budget           |
| `Summaries`          | `Wants` for what we lack, and, unless it is an answer, our `Summaries`|
| `Wants`              | `Pages` under a byte budget; more is asked for as they arrive         |
| `WantExternal`       | `ExternalPage`                                                        |

Own records are in `own.py`, external ones in `external.py`, names and ids in `identity.py`.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import assert_never

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
from svcmesh.catalog.codec import (
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
    Summary,
    Want,
    WantExternal,
    Wants,
    body_key,
    decode_envelope_untrusted,
    encode_body,
    encode_envelope,
)
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.digest import BUCKETS, Digest, Item, item_value
from svcmesh.catalog.errors import RecordTooLargeError
from svcmesh.catalog.external import CONTENT, ExternalStore
from svcmesh.catalog.hlc import HybridClock
from svcmesh.catalog.identity import BindingChange, Bindings
from svcmesh.catalog.log import Entry, Log, Origin, RecordKey
from svcmesh.catalog.own import OwnStore
from svcmesh.catalog.records import Body, Kind, NodeId
from svcmesh.catalog.spreading import OutgoingLog, PublishBudget, rumor_targets
from svcmesh.errors import DecodeError

SUMMARY_BYTES = 64
"""About what one summary takes, and one want."""

WANTS_MAX = 256
"""Origins asked for in one message."""

HOUSEKEEPING_S = 10.0
"""Between looks for old tombstones and nodes that nobody knows."""

DRIFT_SAMPLES = 64
DRIFT_REPORT_S = 600.0
CONTEST_ANSWER_S = 1.0

NEW_PEER_REPAIR_S = 0.05
"""A new peer is compared with this soon, instead of at the next round."""


@dataclass(slots=True)
class _Round:
    """The comparison under way with one peer."""

    peer: str
    deadline_at: float


@dataclass(slots=True)
class _Pull:
    """What is still to come from one peer: versions by origin."""

    deadline_at: float
    summaries: dict[tuple[bool, Origin], Summary] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether this agent has what its peers have, as of the latest comparison."""

    agrees: bool | None
    """None before the first comparison."""
    since_at: float
    """Monotonic seconds of the last change of `agrees`."""
    peer: str
    """Who was compared with."""
    differing_buckets: int


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
        """Start empty.

        Args:
            config: Intervals, budgets and bounds.
            name: Our node name.
            node_id: Our node id.
            epoch: This run's, above that of any earlier run of this node id.
            expects_peers: Whether there is a cluster to synchronise with; if not we are ready.
            now: Monotonic seconds.
            rng: Chooses peers and nothing else.
        """
        self.metrics: Counter[str] = Counter()
        self.is_ready = not expects_peers
        self._config, self._name, self._id, self._rng = config, name, node_id, rng
        self._effects: list[CatalogEffect] = []
        self._digest = Digest()
        self._bindings = Bindings(name)
        self._clock = HybridClock()
        self._own = OwnStore(config, emit=self._emit, touch=self._own_touched)
        self._external = ExternalStore(config, emit=self._emit, touch=self._external_touched)
        self._contested_until: float | None = None
        self._external_out: OutgoingLog | None = None
        self._start_epoch(epoch)
        self._budget = PublishBudget(
            config.publish_rate_per_s, config.publish_burst, config.publish_burst, now
        )
        self._announced_ready = False
        self._ready_at = now + (config.ready_after_s if expects_peers else 0.0)
        self._flush_at: float | None = None
        self._repair_at = now + rng.random() * config.repair_interval_s
        self._housekeeping_at = now + HOUSEKEEPING_S
        self._next_peer: str | None = None
        self._round: _Round | None = None
        self._pulls: dict[str, _Pull] = {}
        self._agreement = Agreement(None, now, "", 0)
        self._contest_answered_at = now - CONTEST_ANSWER_S
        self._epoch_raised_at = now - config.epoch_raise_s
        self._drifts_ms: deque[int] = deque(maxlen=DRIFT_SAMPLES)
        self._drift_reported_at = now - DRIFT_REPORT_S

    # -- what we know -----------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Of this run."""
        return self._own_out.log.origin.epoch

    @property
    def fingerprint(self) -> int:
        """64 bits that are equal on two agents exactly when they have the same."""
        return self._digest.total

    @property
    def agreement(self) -> Agreement:
        """Whether we have what our peers have."""
        return self._agreement

    def own_records(self) -> dict[RecordKey, Body]:
        """Live records of our own node."""
        return self.records(self._id)

    def records(self, node_id: NodeId) -> dict[RecordKey, Body]:
        """Live records of one node, bound or not."""
        log = self._own.log(node_id)
        entries: Iterable[Entry] = () if log is None else log.entries()
        return {entry.key: entry.body for entry in entries if entry.body is not None}

    def external_records(self) -> dict[RecordKey, Body]:
        """Live external records."""
        return {e.key: e.body for e in self._external.live() if e.body is not None}

    def node_ids(self) -> list[NodeId]:
        """Nodes that the member table knows and that we have records of."""
        return [node_id for node_id in self._own.node_ids() if self._bindings.is_bound(node_id)]

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due."""
        due = [self._repair_at, self._housekeeping_at]
        if self._flush_at is not None:
            due.append(self._flush_at)
        if not self._announced_ready:
            due.append(self._ready_at)
        if self._contested_until is not None:
            due.append(self._contested_until)
        return min(due)

    # -- writes -----------------------------------------------------------------------------

    def put_own(self, body: Body, *, now: float) -> list[CatalogEffect]:
        """Publish a record of our own node. The same body again has no effect.

        Raises:
            RecordTooLargeError: Over `record_bytes_max` encoded; nothing has changed.
        """
        raw = self._encode(body)
        log = self._own_out.log
        key = body_key(body)
        old = log.get(key)
        if old is None or old.raw != raw:
            self._own.write(log, Entry(key, log.through + 1, raw, body, received_at=now))
            self._schedule_flush(now)
        return self._take_effects()

    def delete_own(self, kind: Kind, record_id: str, *, now: float) -> list[CatalogEffect]:
        """Withdraw a record of our own node. One that is not there has no effect."""
        log = self._own_out.log
        key = RecordKey("", kind, record_id)
        old = log.get(key)
        if old is not None and old.raw is not None:
            self._own.write(log, Entry(key, log.through + 1, None, None, received_at=now))
            self._schedule_flush(now)
        return self._take_effects()

    def put_external(
        self, node_name: str, body: Body, *, now: float, wall_ms: int
    ) -> list[CatalogEffect]:
        """Publish a record of a node without an agent. The same body again has no effect.

        Raises:
            RecordTooLargeError: Over `record_bytes_max` encoded; nothing has changed.
        """
        raw = self._encode(body)
        key = body_key(body, node=node_name.lower())
        old = self._external.winner(key)
        if old is None or old.raw != raw:
            self._write_external(key, raw, body, now=now, wall_ms=wall_ms)
        return self._take_effects()

    def delete_external(
        self, node_name: str, kind: Kind, record_id: str, *, now: float, wall_ms: int
    ) -> list[CatalogEffect]:
        """Withdraw a record of a node without an agent, whoever wrote it."""
        key = RecordKey(node_name.lower(), kind, record_id)
        old = self._external.winner(key)
        if old is not None and old.raw is not None:
            self._write_external(key, None, None, now=now, wall_ms=wall_ms)
        return self._take_effects()

    def _write_external(
        self, key: RecordKey, raw: bytes | None, body: Body | None, *, now: float, wall_ms: int
    ) -> None:
        origin = self._own_out.log.origin
        log = self._external.log(origin)
        seq = 1 if log is None else log.through + 1
        clock = self._clock.tick(wall_ms=wall_ms)
        self._external.write(origin, Entry(key, seq, raw, body, clock, received_at=now))
        if self._external_out is None:
            log = self._external.log(origin)
            assert log is not None
            self._external_out = OutgoingLog(log, is_external=True)
        self._schedule_flush(now)

    def _encode(self, body: Body) -> bytes:
        raw = encode_body(body)
        if len(raw) > self._config.record_bytes_max:
            raise RecordTooLargeError(len(raw), self._config.record_bytes_max)
        return raw

    def _start_epoch(self, epoch: int) -> None:
        """Begin an epoch of ours with the live records of the one before."""
        origin = Origin(self._id, epoch)
        log = Log(origin)
        former = self._own.log(self._id)
        for entry in () if former is None else former.entries():
            if entry.raw is not None:
                log.put(Entry(entry.key, log.through + 1, entry.raw, entry.body))
                log.advance(log.through, log.through + 1)
        self._own_out = OutgoingLog(log, is_external=False)
        self._external_out = None
        self._own.adopt(log)

    def _raise_epoch(self, seen: int, *, now: float) -> None:
        """Somebody has records of our node that we did not write: outrank them."""
        if now - self._epoch_raised_at < self._config.epoch_raise_s or self._is_contested:
            return
        self._epoch_raised_at = now
        self._start_epoch(max(seen, self.epoch) + 1)
        self._emit(EpochRaised(self.epoch))
        self._schedule_flush(now)

    # -- the member table -------------------------------------------------------------------

    def member_alive(
        self, name: str, node_id: NodeId, *, is_peer: bool, now: float
    ) -> list[CatalogEffect]:
        """A member of our data center joined, came back, or changed its tags."""
        was_peer = self._bindings.is_peer(name)
        self._rebind(self._bindings.alive(name, node_id, is_peer=is_peer))
        if not was_peer and self._bindings.is_peer(name):
            self._next_peer = name
            soon = now + NEW_PEER_REPAIR_S * (1 + self._rng.random())
            self._repair_at = min(self._repair_at, soon)
        return self._take_effects()

    def member_failed(self, name: str, *, now: float) -> list[CatalogEffect]:
        """A member was declared dead."""
        self._rebind(self._bindings.failed(name))
        return self._take_effects()

    def member_gone(self, name: str, *, now: float) -> list[CatalogEffect]:
        """A member left or was reaped: its own records go with it."""
        self._rebind(self._bindings.gone(name))
        self._pulls.pop(name, None)
        return self._take_effects()

    def _rebind(self, changes: Iterable[BindingChange]) -> None:
        for change in changes:
            self._emit(change)
            match change:
                case NodeBound():
                    self._own.bind(change.node_id)
                case NodeUnbound() if change.node_id == self._id:
                    self._own_touched(self._id)
                case NodeUnbound():
                    self._own.drop(change.node_id)
                case NodeHealthChanged():
                    # Nobody writes when a node dies: health is the view's to derive.
                    continue

    # -- time -------------------------------------------------------------------------------

    def handle_timer(self, *, now: float, wall_ms: int) -> list[CatalogEffect]:
        """Do what is due. An early call does nothing."""
        self._seal_republication()
        if not self._announced_ready and (self.is_ready or now >= self._ready_at):
            self._become_ready()
        if self._contested_until is not None and now >= self._contested_until:
            self._contested_until = None
            self._emit(IdentityRestored())
            self._own_touched(self._id)
            self._schedule_flush(now)
        if self._flush_at is not None and now >= self._flush_at:
            self._flush(now=now, wall_ms=wall_ms)
        if now >= self._repair_at:
            spread = 0.8 + 0.4 * self._rng.random()
            self._repair_at = now + self._config.repair_interval_s * spread
            self._start_round(now=now, wall_ms=wall_ms)
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + HOUSEKEEPING_S
            self._keep_house(now=now)
        return self._take_effects()

    def _become_ready(self) -> None:
        self.is_ready = True
        if not self._announced_ready:
            self._announced_ready = True
            self._emit(BecameReady())

    def _seal_republication(self) -> None:
        """What is published before the first message counts as this epoch's republication."""
        log = self._own_out.log
        if not log.base and log.through:
            log.base = log.through

    def _schedule_flush(self, now: float) -> None:
        if self._flush_at is None:
            self._flush_at = max(now + self._config.flush_delay_s, self._budget.free_at(now=now))

    def _flush(self, *, now: float, wall_ms: int) -> None:
        self._flush_at = None
        peers = list(self._bindings.peers)
        pass_on = len(peers) > self._config.broadcast_peers_max
        outgoing = [] if self._is_contested else [self._own_out]
        if self._external_out is not None:
            outgoing.append(self._external_out)
        for out in outgoing:
            messages, records = out.take_rumors(self._config, pass_on=pass_on)
            self._budget.spend(records, now=now)
            self.metrics["records_published"] += records
            for message in messages:
                self._spread(message, peers, wall_ms=wall_ms)

    def _spread(self, message: CatalogMessage, peers: list[str], *, wall_ms: int) -> None:
        payload = self._payload(message, wall_ms=wall_ms)
        for peer in rumor_targets(peers, self._config, cluster=len(peers), rng=self._rng):
            self._emit(SendCatalog(peer, payload))

    def _start_round(self, *, now: float, wall_ms: int) -> None:
        peers = self._bindings.peers
        if not peers:
            return
        peer, self._next_peer = self._next_peer, None
        if peer is None or not self._bindings.is_peer(peer):
            peer = self._rng.choice(peers)
        self._compare_with(peer, now=now, wall_ms=wall_ms)

    def _compare_with(self, peer: str, *, now: float, wall_ms: int) -> None:
        self._round = _Round(peer, now + self._config.reply_timeout_s)
        self.metrics["comparisons"] += 1
        self._send(peer, Compare(self._digest.total), wall_ms=wall_ms)

    def _keep_house(self, *, now: float) -> None:
        before = now - self._config.tombstone_s
        self._own.forget_deletes(before=before)
        self._external.forget_deletes(before=before)
        self._own.drop_unbound(before=now - self._config.unbound_s)
        self._pulls = {peer: pull for peer, pull in self._pulls.items() if now < pull.deadline_at}
        drift_s = median(self._drifts_ms) / 1000 if self._drifts_ms else 0.0
        is_large = abs(drift_s) > self._config.drift_warning_s
        if is_large and now - self._drift_reported_at >= DRIFT_REPORT_S:
            self._drift_reported_at = now
            self._emit(ClockDrift(drift_s))

    # -- messages ---------------------------------------------------------------------------

    def handle_message_untrusted(
        self, payload: bytes, *, now: float, wall_ms: int
    ) -> list[CatalogEffect]:
        """Take a direct message, its first byte included."""
        self._seal_republication()
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
                self._emit(AnswerSource(self._payload(contest, wall_ms=wall_ms)))
            self._drop("catalog-contested-sender", peer)
        elif not self._bindings.is_peer(peer):
            self._drop("catalog-unknown-sender", peer)
        else:
            self._drifts_ms.append(wall_ms - envelope.wall_ms)
            self._handle(peer, message, now=now, wall_ms=wall_ms)
        return self._take_effects()

    def _handle(self, peer: str, message: CatalogMessage, *, now: float, wall_ms: int) -> None:
        match message:
            case Compare():
                is_same = message.fingerprint == self._digest.total
                answer = Same() if is_same else Buckets(tuple(self._digest.buckets))
                self._send(peer, answer, wall_ms=wall_ms)
            case Same():
                if self._is_in_round_with(peer, now):
                    self._round = None
                    self._note_agreement(True, peer, 0, now=now)
                    self._become_ready()
            case Buckets():
                if self._is_in_round_with(peer, now):
                    self._handle_buckets(peer, message, now=now, wall_ms=wall_ms)
            case Summaries():
                self._handle_summaries(peer, message, now=now, wall_ms=wall_ms)
            case Wants():
                self._handle_wants(peer, message, wall_ms=wall_ms)
            case Pages():
                self._handle_pages(peer, message, now=now, wall_ms=wall_ms)
            case WantExternal():
                page = self._external.external_page(message, self._config.page_bytes)
                self._send(peer, page, wall_ms=wall_ms)
            case ExternalPage():
                self._handle_external_page(peer, message, now=now, wall_ms=wall_ms)
            case Contested():
                self._handle_contested(message, now=now)
            case _:
                assert_never(message)

    def _is_in_round_with(self, peer: str, now: float) -> bool:
        return (
            self._round is not None and self._round.peer == peer and now < self._round.deadline_at
        )

    def _handle_buckets(self, peer: str, theirs: Buckets, *, now: float, wall_ms: int) -> None:
        if len(theirs.hashes) != BUCKETS:
            self._drop("catalog-malformed", f"{len(theirs.hashes)} buckets")
            return
        differing = [n for n in range(BUCKETS) if theirs.hashes[n] != self._digest.buckets[n]]
        self._note_agreement(not differing, peer, len(differing), now=now)
        if not differing:
            return
        # Another place to begin each time, so that no bucket starves behind a large one.
        first = self._rng.randrange(len(differing))
        summaries: list[Summary] = []
        buckets: list[int] = []
        for bucket in differing[first:] + differing[:first]:
            if buckets and len(summaries) * SUMMARY_BYTES > self._config.page_bytes:
                break
            buckets.append(bucket)
            summaries += self._summaries(bucket)
        message = Summaries(tuple(buckets), tuple(summaries), is_answer=False)
        self._send(peer, message, wall_ms=wall_ms)

    def _handle_summaries(self, peer: str, theirs: Summaries, *, now: float, wall_ms: int) -> None:
        if any(bucket >= BUCKETS for bucket in theirs.buckets):
            self._drop("catalog-malformed", "a bucket out of range")
            return
        if theirs.buckets and not theirs.is_answer:
            ours = tuple(s for bucket in theirs.buckets for s in self._summaries(bucket))
            answer = Summaries(theirs.buckets, ours, is_answer=True)
            self._send(peer, answer, wall_ms=wall_ms)
        pull = self._pulls.get(peer) or _Pull(now)
        needs_rebuild = False
        for summary in theirs.summaries:
            if summary.origin.node_id == self._id:
                self._handle_own_summary(summary, now=now)
            elif summary.is_external:
                needs_rebuild |= self._is_behind(summary)
            if self._want(summary) is not None:
                pull.summaries[summary.is_external, summary.origin] = summary
        if needs_rebuild:
            want = self._external.start_rebuild(peer, now=now)
            if want is not None:
                self.metrics["external_rebuilds"] += 1
                self._send(peer, want, wall_ms=wall_ms)
        if pull.summaries:
            self._pulls[peer] = pull
            self._continue_pull(peer, pull, now=now, wall_ms=wall_ms)
        elif theirs.is_answer and not needs_rebuild and self._is_in_round_with(peer, now):
            # The peer lacks something of ours, we lack nothing of what was compared.
            self._round = None
            if len(theirs.buckets) >= self._agreement.differing_buckets:
                self._become_ready()

    def _handle_own_summary(self, summary: Summary, *, now: float) -> None:
        """Somebody shows what they have of us: more than we wrote means another run wrote it."""
        if summary.is_external:
            log = self._external.log(summary.origin)
            through = 0 if log is None else log.through
            if summary.origin.epoch == self.epoch and summary.through > through:
                self._raise_epoch(summary.origin.epoch, now=now)
            return
        log = self._own_out.log
        theirs = (summary.origin.epoch, summary.through)
        ours = (log.origin.epoch, log.through)
        if theirs > ours or (theirs == ours and summary.hash != log.hash):
            self._raise_epoch(summary.origin.epoch, now=now)

    def _is_behind(self, summary: Summary) -> bool:
        if summary.origin != CONTENT:
            return self._external.is_behind(summary)
        # Equal versions everywhere and unequal content: all go for the same one.
        return (
            summary.through == self._external.version_hash
            and summary.hash > self._external.content_hash
        )

    def _want(self, summary: Summary) -> Want | None:
        if summary.is_external:
            return None if summary.origin == CONTENT else self._external.want(summary)
        node_id = summary.origin.node_id
        if node_id == self._id or not self._bindings.is_bound(node_id):
            return None
        return self._own.want(summary)

    def _continue_pull(self, peer: str, pull: _Pull, *, now: float, wall_ms: int) -> None:
        wants: list[Want] = []
        for key, summary in list(pull.summaries.items()):
            want = self._want(summary)
            if want is None:
                del pull.summaries[key]
            elif len(wants) < WANTS_MAX:
                wants.append(want)
        if wants:
            pull.deadline_at = now + self._config.reply_timeout_s
            self._send(peer, Wants(tuple(wants)), wall_ms=wall_ms)
            return
        self._pulls.pop(peer, None)
        if self._is_in_round_with(peer, now):
            # See whether that was all; it usually was, and then we are in sync.
            self._compare_with(peer, now=now, wall_ms=wall_ms)

    def _handle_wants(self, peer: str, wants: Wants, *, wall_ms: int) -> None:
        budget_bytes = self._config.page_bytes
        pages: list[Page] = []
        for want in wants.wants[:WANTS_MAX]:
            if budget_bytes <= 0:
                break
            page = self._serve(want, budget_bytes)
            if page is not None:
                pages.append(page)
                budget_bytes -= SUMMARY_BYTES + sum(entry.size_bytes for entry in page.entries)
        if pages:
            self._send(peer, Pages(tuple(pages), is_answer=True, pass_on=False), wall_ms=wall_ms)

    def _serve(self, want: Want, budget_bytes: int) -> Page | None:
        if want.is_external:
            return self._external.page(want, budget_bytes)
        if not self._is_shown(want.origin.node_id):
            return None
        return self._own.page(want, budget_bytes)

    def _handle_pages(self, peer: str, message: Pages, *, now: float, wall_ms: int) -> None:
        news: list[Page] = []
        for page in message.pages:
            if page.origin.node_id == self._id and not page.is_external:
                if page.origin.epoch > self.epoch:
                    self._raise_epoch(page.origin.epoch, now=now)
                continue
            if page.is_external and page.origin == self._own_out.log.origin:
                continue
            if page.is_external:
                for entry in page.entries:
                    self._clock.witness(entry.clock)
            store = self._external if page.is_external else self._own
            if store.apply(page, now=now):
                news.append(page)
                self.metrics["records_received"] += len(page.entries)
        if message.is_answer:
            pull = self._pulls.get(peer)
            if pull is None:
                return
            if not news:
                # Nothing came of it; the next round asks somebody again.
                del self._pulls[peer]
                return
            self._continue_pull(peer, pull, now=now, wall_ms=wall_ms)
        elif message.pass_on and news:
            others = [name for name in self._bindings.peers if name != peer]
            rumor = Pages(tuple(news), is_answer=False, pass_on=True)
            self._spread(rumor, others, wall_ms=wall_ms)

    def _handle_external_page(
        self, peer: str, answer: ExternalPage, *, now: float, wall_ms: int
    ) -> None:
        if answer.page is not None:
            if not answer.page.is_external:
                self._drop("catalog-malformed", "an own page in an external one")
                return
            for entry in answer.page.entries:
                self._clock.witness(entry.clock)
        want = self._external.apply_external_page(peer, answer, now=now)
        if want is not None:
            self._send(peer, want, wall_ms=wall_ms)
            return
        log = self._external.log(self._own_out.log.origin)
        if self._external_out is not None and log is not None:
            # The logs were replaced; ours goes on in its successor.
            self._external_out.log = log
        if self._is_in_round_with(peer, now):
            self._compare_with(peer, now=now, wall_ms=wall_ms)

    # -- identity ---------------------------------------------------------------------------

    @property
    def _is_contested(self) -> bool:
        return self._contested_until is not None

    def _handle_contested(self, message: Contested, *, now: float) -> None:
        match message.what:
            case "name" if message.holder != self._id:
                fact = IdentityContested("name", self._name, self._id, message.holder)
            case "id" if message.holder != self._name:
                fact = IdentityContested("id", self._name, self._id, message.holder)
            case _:
                return
        if not self._is_contested:
            self._emit(fact)
        self._contested_until = now + self._config.contest_s
        self._own_touched(self._id)

    def _is_shown(self, node_id: NodeId) -> bool:
        """Whether a node's records are digested and served."""
        if node_id == self._id and self._is_contested:
            return False
        return self._bindings.is_bound(node_id)

    # -- digest -----------------------------------------------------------------------------

    def _own_touched(self, node_id: NodeId) -> None:
        item = Item(False, node_id, 0)
        log = self._own.log(node_id)
        if log is None or not self._is_shown(node_id):
            self._digest.drop(item)
        else:
            self._digest.put(item, item_value(log.origin, log.through, log.hash))

    def _external_touched(self, origin: Origin) -> None:
        log = self._external.log(origin)
        if log is not None:
            self._digest.put(Item(True, *origin), item_value(origin, log.through, 0))
        content = item_value(CONTENT, 0, self._external.content_hash)
        self._digest.put(Item(True, *CONTENT), content)

    def _summaries(self, bucket: int) -> list[Summary]:
        found: list[Summary] = []
        for item in self._digest.items(bucket):
            if item.is_external:
                summary = self._external.summary(Origin(NodeId(item.node_id), item.epoch))
            else:
                summary = self._own.summary(NodeId(item.node_id))
            if summary is not None:
                found.append(summary)
        return found

    # -- effects ----------------------------------------------------------------------------

    def _note_agreement(self, agrees: bool, peer: str, differing: int, *, now: float) -> None:
        since_at = self._agreement.since_at if agrees == self._agreement.agrees else now
        self._agreement = Agreement(agrees, since_at, peer, differing)

    def _payload(self, message: CatalogMessage, *, wall_ms: int) -> bytes:
        return encode_envelope(Envelope(self._name, self._id, wall_ms, message))

    def _send(self, peer: str, message: CatalogMessage, *, wall_ms: int) -> None:
        self._emit(SendCatalog(peer, self._payload(message, wall_ms=wall_ms)))

    def _drop(self, reason: str, detail: str) -> None:
        self._emit(CatalogDropped(reason, detail))

    def _emit(self, effect: CatalogEffect) -> None:
        if isinstance(effect, CatalogDropped):
            self.metrics[f"dropped.{effect.reason}"] += 1
        self._effects.append(effect)

    def _take_effects(self) -> list[CatalogEffect]:
        effects, self._effects = self._effects, []
        return effects
