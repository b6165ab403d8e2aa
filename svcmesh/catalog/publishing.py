"""Our own writes: numbered, stored, and sent out as rumors within a budget.

How a log is cut into rumors and who gets them is `spreading.py`'s business.
"""

from svcmesh.catalog.bodies import body_key, encode_body
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.errors import CatalogFullError, RecordTooLargeError
from svcmesh.catalog.holdings import Holdings
from svcmesh.catalog.log import Entry, Log, Origin, RecordKey
from svcmesh.catalog.messages import Pages, Summaries
from svcmesh.catalog.records import Body, Kind, NodeId
from svcmesh.catalog.spreading import OutgoingLog, PublishBudget


class Publisher:
    """The writer's side of one agent: its epoch, its two logs, and up to where they have gone out.

    Invariant: `flush_at` is set when something may be waiting to go out.
    """

    def __init__(
        self,
        config: ReplicaConfig,
        holdings: Holdings,
        *,
        node_id: NodeId,
        epoch: int,
        now: float,
    ) -> None:
        self.records_published = 0
        self.flush_at: float | None = None
        self._flushed_at = now - config.flush_delay_s
        self._config, self._holdings, self._id = config, holdings, node_id
        self._budget = PublishBudget(
            config.publish_rate_per_s, config.publish_burst, config.publish_burst, now
        )
        self.start_epoch(epoch)

    @property
    def epoch(self) -> int:
        """Of this run."""
        return self._log.origin.epoch

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch of ours with the live records of the one before."""
        log = Log(Origin(self._id, epoch))
        former = self._holdings.own.log(self._id)
        for entry in () if former is None else former.entries():
            if entry.raw is not None:
                log.put(Entry(entry.key, log.through + 1, entry.raw, entry.body))
                log.advance(log.through, log.through + 1)
        log.base = log.through
        self._log = log
        self._own_out = OutgoingLog(is_external=False)
        self._external_out = OutgoingLog(is_external=True)
        self._holdings.own.adopt(log)

    def seal_republication(self) -> None:
        """Count what is published before the first message as the republication of this run."""
        if not self._log.base:
            self._log.base = self._log.through

    # -- writes -----------------------------------------------------------------------------

    def put_own(self, body: Body, *, now: float) -> None:
        """Publish a record of our own node. The same body again has no effect.

        Raises:
            RecordTooLargeError, CatalogFullError: Nothing has changed.
        """
        raw, key = encode_body(body), body_key(body)
        self._check_size(len(raw))
        old = self._log.get(key)
        if old is not None and old.raw == raw:
            return
        if (old is None or old.raw is None) and self._log.live >= self._records_max:
            raise CatalogFullError(self._records_max)
        self._write_own(key, raw, body, now=now)

    def delete_own(self, kind: Kind, record_id: str, *, now: float) -> None:
        """Withdraw a record of our own node. One that is not there has no effect."""
        key = RecordKey("", kind, record_id)
        old = self._log.get(key)
        if old is not None and old.raw is not None:
            self._write_own(key, None, None, now=now)

    def put_external(self, node_name: str, body: Body, *, now: float, wall_ms: int) -> None:
        """Publish a record of a node without an agent. The same body again has no effect.

        Raises:
            RecordTooLargeError, CatalogFullError: Nothing has changed.
        """
        raw, key = encode_body(body), body_key(body, node=node_name.lower())
        self._check_size(len(raw) + len(key.node))
        old = self._holdings.external.winner(key)
        if old is None or old.raw != raw:
            self._write_external(key, raw, body, now=now, wall_ms=wall_ms)

    def delete_external(
        self, node_name: str, kind: Kind, record_id: str, *, now: float, wall_ms: int
    ) -> None:
        """Withdraw a record of a node without an agent, whoever wrote it."""
        key = RecordKey(node_name.lower(), kind, record_id)
        old = self._holdings.external.winner(key)
        if old is not None and old.raw is not None:
            self._write_external(key, None, None, now=now, wall_ms=wall_ms)

    def _write_own(
        self, key: RecordKey, raw: bytes | None, body: Body | None, *, now: float
    ) -> None:
        entry = Entry(key, self._log.through + 1, raw, body, received_at=now)
        self._holdings.own.write(self._log, entry)
        self.schedule_flush(now)

    def _write_external(
        self, key: RecordKey, raw: bytes | None, body: Body | None, *, now: float, wall_ms: int
    ) -> None:
        external = self._holdings.external
        external.write(self._log.origin, key, raw, body, now=now, wall_ms=wall_ms)
        self.schedule_flush(now)

    @property
    def _records_max(self) -> int:
        return self._config.records_per_origin_max

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._config.record_bytes_max:
            raise RecordTooLargeError(size_bytes, self._config.record_bytes_max)

    # -- rumors -----------------------------------------------------------------------------

    def schedule_flush(self, now: float) -> None:
        """Let what is new go out, when the last flush is a moment ago and the budget allows.

        A single change goes at once; only those that follow on its heels wait for each other.
        """
        if self.flush_at is None:
            rested_at = self._flushed_at + self._config.flush_delay_s
            self.flush_at = max(now, rested_at, self._budget.free_at(now=now))

    def flush(self, *, peers: int, hides_own: bool, now: float) -> list[Pages | Summaries]:
        """The rumors that are due, a bounded number; the rest is scheduled.

        Args:
            peers: How many there are: with none, nothing needs to go out.
            hides_own: Hold back our own node's records.
            now: Monotonic seconds.
        """
        self.flush_at, self._flushed_at = None, now
        logs = [(self._external_out, self._holdings.external.log(self._log.origin))]
        if not hides_own:
            logs.insert(0, (self._own_out, self._log))
        rumors: list[Pages | Summaries] = []
        for out, log in logs:
            if log is None:
                continue
            if not peers:
                out.skip(log)
                continue
            pass_on = peers > self._config.broadcast_peers_max
            messages, records = out.take_rumors(log, self._config, pass_on=pass_on)
            rumors += messages
            self._budget.spend(records, now=now)
            self.records_published += records
            if out.has_news(log):
                self.schedule_flush(now)
        return rumors
