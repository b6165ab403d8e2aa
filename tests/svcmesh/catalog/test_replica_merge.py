"""Merging is commutative, associative and idempotent, against a naive table of who wrote what.

Rumors of two writers are captured and handed to receivers in any order, grouping and repetition.
Whatever the history, a receiver ends with what the table says.
"""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from svcmesh.catalog.changes import CatalogEffect, SendCatalog
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.records import Body, Kind, NodeId
from svcmesh.catalog.replica import Replica
from tests.svcmesh.catalog.replicas import WALL_START_MS, Shown, node_record, service

WRITERS = {"w0": NodeId("a" * 8), "w1": NodeId("b" * 8)}
RECEIVER, RECEIVER_ID = "r", NodeId("c" * 8)
KEYS = ["k0", "k1", "k2", "k3"]

# No comparison interferes: what the receiver has, it has from the rumors.
NEVER_S = 1e9


@dataclass(frozen=True)
class Write:
    writer: str
    key: str
    is_delete: bool
    is_external: bool
    then_flush: bool


@dataclass(frozen=True)
class Restart:
    """The writer starts a later epoch with the records it has."""

    writer: str


writes = st.builds(
    Write,
    writer=st.sampled_from(sorted(WRITERS)),
    key=st.sampled_from(KEYS),
    is_delete=st.sampled_from([False, False, True]),
    is_external=st.booleans(),
    then_flush=st.booleans(),
)
restarts = st.builds(Restart, writer=st.sampled_from(sorted(WRITERS)))


@dataclass
class NaiveTable:
    """Own rows as last written; external ones by the highest hybrid clock, then by writer."""

    own: dict[str, dict[str, Body]] = field(default_factory=lambda: {w: {} for w in WRITERS})
    external: dict[str, tuple[tuple[int, str, int], Body | None]] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WRITERS, 0))

    def write_external(
        self, writer: str, epoch: int, key: str, body: Body | None, wall_ms: int
    ) -> None:
        self.clocks[writer] = max(wall_ms * 65536, self.clocks[writer] + 1)
        stamp = (self.clocks[writer], WRITERS[writer], epoch)
        if key not in self.external or stamp > self.external[key][0]:
            self.external[key] = (stamp, body)

    def rows(self) -> dict[tuple[str, Kind, str], Body]:
        rows: dict[tuple[str, Kind, str], Body] = {}
        for writer, bodies in self.own.items():
            rows[writer, Kind.NODE, ""] = node_record(writer)
            rows |= {(writer, Kind.SERVICE, key): body for key, body in bodies.items()}
        for key, (_, external) in self.external.items():
            if external is not None:
                rows["external:x", Kind.SERVICE, key] = external
        return rows


class Writer:
    """A replica that is only written to, and the rumors it sends."""

    def __init__(self, name: str, config: ReplicaConfig, rumors: list[bytes]) -> None:
        self.name, self.epoch = name, 0
        self.external: dict[str, Body] = {}
        self._config, self._rumors = config, rumors
        self.now = 0.0
        self.restart({})

    def restart(self, records: dict[str, Body]) -> None:
        self.epoch += 1
        self.external = {}
        self.replica = Replica(
            self._config,
            name=self.name,
            node_id=WRITERS[self.name],
            epoch=self.epoch,
            expects_peers=True,
            now=self.now,
            rng=Random(1),
        )
        self.replica.member_alive(self.name, WRITERS[self.name], is_peer=True, now=self.now)
        self.replica.member_alive(RECEIVER, RECEIVER_ID, is_peer=True, now=self.now)
        # The comparison with a new peer is due soon; it is not a rumor.
        self.now += 1.0
        self.replica.handle_timer(now=self.now, wall_ms=0)
        self.replica.put_own(node_record(self.name), now=self.now)
        for body in records.values():
            self.replica.put_own(body, now=self.now)
        self.flush()

    def flush(self) -> None:
        self.now += 10.0
        effects = self.replica.handle_timer(now=self.now, wall_ms=WALL_START_MS)
        self._rumors += [effect.payload for effect in effects if isinstance(effect, SendCatalog)]


def receive(rumors: list[bytes]) -> tuple[Replica, Shown]:
    receiver = Replica(
        ReplicaConfig(repair_interval_s=NEVER_S),
        name=RECEIVER,
        node_id=RECEIVER_ID,
        epoch=1,
        expects_peers=True,
        now=0.0,
        rng=Random(1),
    )
    shown = Shown()
    effects: list[CatalogEffect] = []
    for name, node_id in WRITERS.items():
        effects += receiver.member_alive(name, node_id, is_peer=True, now=0.0)
    for rumor in rumors:
        effects += receiver.handle_message_untrusted(rumor, now=1.0, wall_ms=WALL_START_MS)
    for effect in effects:
        shown.apply(effect)
    return receiver, shown


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.one_of(writes, writes, writes, restarts), max_size=30),
    datagram_bytes=st.sampled_from([300, 1200, 8000]),
    skew_ms=st.integers(-3, 3),
    order=st.randoms(use_true_random=False),
)
def test_rumors_in_any_order_grouping_and_number_give_what_was_written(
    steps: list[Write | Restart], datagram_bytes: int, skew_ms: int, order: Random
) -> None:
    table = NaiveTable()
    rumors: list[bytes] = []
    config = ReplicaConfig(repair_interval_s=NEVER_S, datagram_bytes_max=datagram_bytes)
    writers = {name: Writer(name, config, rumors) for name in WRITERS}
    for n, step in enumerate(steps):
        writer = writers[step.writer]
        if isinstance(step, Restart):
            # The clock's high-water mark is persisted by the agent; here time simply goes on.
            writer.flush()
            writer.restart(table.own[step.writer])
            continue
        body = service(step.key, n + 1)
        wall_ms = WALL_START_MS + n + (skew_ms if step.writer == "w1" else 0)
        if step.is_external and not step.is_delete:
            writer.external[step.key] = body
            table.write_external(step.writer, writer.epoch, step.key, body, wall_ms)
            writer.replica.put_external("x", body, now=writer.now, wall_ms=wall_ms)
        elif step.is_external:
            # Deleting what a writer does not know has no effect.
            if writer.external.pop(step.key, None) is not None:
                table.write_external(step.writer, writer.epoch, step.key, None, wall_ms)
            writer.replica.delete_external(
                "x", Kind.SERVICE, step.key, now=writer.now, wall_ms=wall_ms
            )
        elif step.is_delete:
            table.own[step.writer].pop(step.key, None)
            writer.replica.delete_own(Kind.SERVICE, step.key, now=writer.now)
        else:
            table.own[step.writer][step.key] = body
            writer.replica.put_own(body, now=writer.now)
        if step.then_flush:
            writer.flush()
    for writer in writers.values():
        writer.flush()

    shuffled = rumors + order.choices(rumors, k=len(rumors))
    order.shuffle(shuffled)
    reference, shown_in_order = receive(rumors)
    receiver, shown = receive(shuffled)
    assert shown_in_order.rows() == table.rows()
    assert shown.rows() == table.rows()
    assert receiver.fingerprint == reference.fingerprint
