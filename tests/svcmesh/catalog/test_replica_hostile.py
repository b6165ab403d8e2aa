"""Bytes from the network never raise, are counted when dropped, and cost bounded memory."""

import tracemalloc
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmesh.catalog.bodies import encode_body
from svcmesh.catalog.changes import CatalogDropped, CatalogEffect, SendCatalog
from svcmesh.catalog.codec import encode_envelope
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.log import Entry, Origin, RecordKey
from svcmesh.catalog.messages import Envelope, Page, Pages, Summaries, Summary
from svcmesh.catalog.records import Kind, NodeId
from svcmesh.catalog.replica import Replica
from svcmesh.simulate import Link
from tests.svcmesh.catalog.convergence_checker import assert_converged, converge
from tests.svcmesh.catalog.replicas import (
    WALL_START_MS,
    Agent,
    Cluster,
    Shown,
    scenario,
    service,
)

VICTIM, PEER = ("victim", NodeId("a" * 8)), ("peer", NodeId("b" * 8))
SMALL = ReplicaConfig(
    unbound_max=8,
    records_per_origin_max=50,
    external_records_max=50,
    external_origins_max=8,
    tombstones_max=20,
)


class Victim:
    """A replica with one peer, which does not behave."""

    def __init__(self, config: ReplicaConfig | None = None) -> None:
        self.now = 0.0
        self.shown = Shown()
        self.replica = Replica(
            config or ReplicaConfig(),
            name=VICTIM[0],
            node_id=VICTIM[1],
            epoch=5,
            expects_peers=True,
            now=0.0,
            rng=Random(1),
        )
        effects = [
            *self.replica.member_alive(*VICTIM, is_peer=True, now=0.0),
            *self.replica.member_alive(*PEER, is_peer=True, now=0.0),
            *self.replica.put_own(service("own"), now=0.0),
        ]
        self._take(effects)

    def receive(self, payload: bytes) -> list[CatalogEffect]:
        return self._take(
            self.replica.handle_message_untrusted(payload, now=self.now, wall_ms=WALL_START_MS)
        )

    def tick(self, duration_s: float = 1.0) -> list[CatalogEffect]:
        self.now += duration_s
        return self._take(self.replica.handle_timer(now=self.now, wall_ms=WALL_START_MS))

    def _take(self, effects: list[CatalogEffect]) -> list[CatalogEffect]:
        for effect in effects:
            self.shown.apply(effect)
        return effects


def drops(effects: Sequence[CatalogEffect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, CatalogDropped)]


def pages(*parts: Page) -> bytes:
    message = Pages(parts, is_answer=False, pass_on=False)
    return encode_envelope(Envelope(*PEER, WALL_START_MS, message))


def page(
    origin: Origin, entries: Sequence[Entry], *, is_external: bool = False, after: int = 0
) -> Page:
    return Page(
        is_external=is_external,
        origin=origin,
        base=0,
        floor=0,
        after=after,
        through=max((entry.seq for entry in entries), default=after),
        is_full=False,
        entries=tuple(entries),
    )


def entry(id: str, seq: int, *, node: str = "", clock: int = 0, is_delete: bool = False) -> Entry:
    body = None if is_delete else service(id, seq % 60_000)
    raw = None if body is None else encode_body(body)
    return Entry(RecordKey(node, Kind.SERVICE, id), seq, raw, body, clock)


@cache
def recorded_messages() -> tuple[tuple[str, bytes], ...]:
    """What agents say to each other in an eventful minute, by receiver."""
    cluster = Cluster(
        7, config=ReplicaConfig(tombstone_s=5.0, page_bytes=1024), link=Link(loss=0.2)
    )
    messages: dict[tuple[str, bytes], None] = {}

    def record(_: Agent, effect: CatalogEffect) -> None:
        if isinstance(effect, SendCatalog):
            messages[effect.to, effect.payload] = None

    cluster.watchers.append(record)
    agents = cluster.start_many(4, *(service(f"s{n}") for n in range(20)))
    for n in range(30):
        agent = agents[n % 4]
        cluster.put(agent, service(f"s{n % 7}", n, padding_bytes=400 * (n % 5)))
        cluster.delete(agent, Kind.SERVICE, f"s{n % 11}")
        cluster.put_external(agent, "db", service(f"e{n % 5}", n))
        cluster.delete_external(agent, "db", Kind.SERVICE, f"e{n % 3}")
        if n == 10:
            cluster.partition(agents[:2], agents[2:], is_noticed=False)
        cluster.run(1.0)
    cluster.heal()
    cluster.start("n0")
    cluster.run(20.0)
    return tuple(messages)


def test_the_recorded_messages_are_of_every_type() -> None:
    numbers = {msgpack.unpackb(payload[1:])[4] for _, payload in recorded_messages()}
    assert numbers >= {1, 2, 3, 4, 5, 6, 7, 8}


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=200), is_marked=st.booleans())
def test_arbitrary_bytes_are_dropped_and_counted(payload: bytes, is_marked: bool) -> None:
    victim = Victim()
    before = victim.replica.fingerprint
    effects = victim.receive(b"\x80" + payload if is_marked else payload)
    assert len(drops(effects)) == 1
    assert len(effects) == 1
    assert victim.replica.metrics[f"dropped.{drops(effects)[0]}"] == 1
    assert victim.replica.fingerprint == before


def mutated(payload: bytes, rng: Random) -> bytes:
    """One to four flips, cuts, repetitions or numbers at random places."""
    data = bytearray(payload)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(1, max(2, len(data)))
        match rng.randrange(4):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randint(1, 16)]
            case 2:
                data[at:at] = data[at : at + rng.randint(1, 64)]
            case _:
                data[at : at + 1] = rng.choice(
                    [b"\xcf" + b"\xff" * 8, b"\xdd\x7f\xff\xff\xff", b"\xc0", b"\x00", b"\x90"]
                )
    return bytes(data)


EDGES: list[object] = [
    0, 1, 2, 127, 128, 2**31, 2**60, 2**60 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1,
    None, True, False, "", "n", "s", "c", "n0", "\0", "x" * 2000, b"", b"\x00" * 16, [], [[]], {},
]  # fmt: skip


def distorted(payload: bytes, rng: Random) -> bytes:
    """Well-formed msgpack with values replaced, repeated, swapped or left out anywhere in it."""
    message = msgpack.unpackb(payload[1:])
    for _ in range(rng.randint(1, 3)):
        parent = message
        while (lists := [v for v in parent if isinstance(v, list) and v]) and rng.random() < 0.8:
            parent = rng.choice(lists)
        at = rng.randrange(len(parent))
        if parent is message and at < 5:
            # The envelope stays as it is, so that what is in it gets read.
            continue
        match rng.randrange(5):
            case 0:
                del parent[at]
                if not parent:
                    parent.append(0)
            case 1:
                parent.insert(at, deepcopy(parent[rng.randrange(len(parent))]))
            case 2 if type(parent[at]) is int:
                parent[at] = min(max(0, parent[at] + rng.choice([-1, 1, 2, 1000])), 2**64 - 1)
            case 3:
                other = rng.randrange(len(parent))
                parent[at], parent[other] = parent[other], parent[at]
            case _:
                parent[at] = deepcopy(rng.choice(EDGES))
    packed: bytes = msgpack.packb(message)
    return b"\x80" + packed


def bombard(seed: int, *, messages: int) -> None:
    """Mix mutated messages into the traffic of a cluster; nobody may raise or stop working."""
    with scenario(seed):
        rng = Random(f"{seed} hostile")
        cluster = Cluster(seed, config=ReplicaConfig(tombstone_s=5.0, page_bytes=1024))
        agents = cluster.start_many(4, *(service(f"s{n}") for n in range(20)))
        cluster.put_external(agents[0], "db", service("e0"))
        converge(cluster, limit_s=10.0)
        corpus: list[tuple[str, bytes]] = []

        def record(_: Agent, effect: CatalogEffect) -> None:
            if isinstance(effect, SendCatalog):
                corpus.append((effect.to, effect.payload))

        cluster.watchers.append(record)
        cluster.run(2.0)
        # Ids of this very cluster, so that the lies are about nodes that are bound.
        for n in range(messages):
            if n % 10 == 0:
                agent = rng.choice(agents)
                cluster.put(agent, service(f"s{rng.randrange(25)}", n))
                cluster.delete(agent, Kind.SERVICE, f"s{rng.randrange(25)}")
                cluster.put_external(agent, "db", service(f"e{rng.randrange(3)}", n))
                cluster.run(rng.choice([0.01, 0.01, 0.3]))
            to, payload = rng.choice(corpus[-400:])
            victim = next(agent for agent in agents if agent.name == to)
            change = rng.choice([mutated, distorted, distorted])
            cluster.deliver_untrusted(victim, change(payload, rng), source="mallory")
        cluster.run(60.0)
        assert sum(sum(agent.dropped.values()) for agent in agents) > 0
        for agent in agents:
            # Whatever lies were told about others: of itself everybody is sure.
            assert {
                row[1:]: b for row, b in agent.shown.rows().items() if row[0] == agent.name
            } == (agent.own)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_messages_of_members_never_raise(seed: int) -> None:
    bombard(seed, messages=400)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_very_many_mutated_messages_never_raise(seed: int) -> None:
    bombard(seed, messages=4000)


def test_a_stranger_is_not_listened_to() -> None:
    victim = Victim()
    before = victim.replica.fingerprint
    message = Pages((page(Origin(PEER[1], 1), [entry("x", 1)]),), is_answer=False, pass_on=False)
    payload = encode_envelope(Envelope("stranger", NodeId("e" * 8), WALL_START_MS, message))
    assert drops(victim.receive(payload)) == ["catalog-unknown-sender"]
    assert victim.replica.fingerprint == before


def test_records_of_unknown_nodes_are_kept_for_a_minute_and_up_to_a_bound() -> None:
    victim = Victim(SMALL)
    effects: list[CatalogEffect] = []
    for n in range(50):
        effects += victim.receive(pages(page(Origin(NodeId(f"node-{n}"), 1), [entry("x", 1)])))
    assert len(drops(effects)) == 50 - SMALL.unbound_max
    for n in range(50):
        victim.shown.names.pop(NodeId(f"node-{n}"), None)
    assert victim.replica.node_ids() == [VICTIM[1]]
    for _ in range(8):
        victim.tick(10.0)
    assert not any(victim.replica.records(NodeId(f"node-{n}")) for n in range(50))


def test_one_nodes_records_are_bounded() -> None:
    victim = Victim(SMALL)
    entries = [entry(f"x{n}", n + 1) for n in range(200)]
    effects = victim.receive(pages(page(Origin(PEER[1], 1), entries)))
    assert "catalog-too-many-records" in drops(effects)
    assert len(victim.replica.records(PEER[1])) == SMALL.records_per_origin_max


def test_external_records_and_writers_are_bounded() -> None:
    victim = Victim(SMALL)
    effects: list[CatalogEffect] = []
    for writer in range(20):
        entries = [entry(f"w{writer}-{n}", n + 1, node="db", clock=n + 1) for n in range(20)]
        origin = Origin(NodeId(f"node-{writer}"), 1)
        effects += victim.receive(pages(page(origin, entries, is_external=True)))
    assert {"catalog-too-many-external-records", "catalog-too-many-external-writers"} & {
        *drops(effects)
    }
    assert len(victim.replica.external_records()) <= SMALL.external_records_max


def flood(victim: Victim, rng: Random, messages: int) -> None:
    """Valid messages with ever new ids, keys, numbers and gaps."""
    for _ in range(messages):
        seqs = sorted(rng.sample(range(1, 2**40), 5))
        is_external = rng.random() < 0.4
        entries = [
            entry(
                f"x{rng.random()}", seq, node="db" if is_external else "", clock=seq,
                is_delete=rng.random() < 0.5,
            )
            for seq in seqs
        ]  # fmt: skip
        owner = rng.choice([PEER[1], NodeId(f"node-{rng.random()}"), VICTIM[1]])
        origin = Origin(owner, rng.choice([1, 2, rng.randrange(2**40)]))
        after = rng.choice([0, seqs[0] - 1])
        victim.receive(pages(page(origin, entries, is_external=is_external, after=after)))
        summary = Summary(is_external, origin, seqs[-1], seqs[0], rng.getrandbits(64), 0)
        announcement = Summaries((), (summary,), is_answer=False)
        victim.receive(encode_envelope(Envelope(*PEER, WALL_START_MS, announcement)))
        victim.tick(0.02)


def test_memory_under_a_flood_of_valid_messages_stops_growing() -> None:
    victim, rng = Victim(SMALL), Random(3)
    flood(victim, rng, 1500)
    tracemalloc.start()
    try:
        flood(victim, rng, 300)
        before, _ = tracemalloc.get_traced_memory()
        flood(victim, rng, 1500)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 400_000


@pytest.mark.parametrize(
    ("size", "peak_bytes_max"), [(1400, 4_000_000), (65_000, 70_000_000), (1_000_000, 70_000_000)]
)
def test_what_nested_headers_that_lie_about_their_lengths_cost_is_bounded(
    size: int, peak_bytes_max: int
) -> None:
    victim = Victim()
    claimed = min(size - 1, 8192)
    header = b"\xdd" + claimed.to_bytes(4, "big")
    payload = (b"\x80" + header * 1000 + b"\xc0" * size)[:size]
    tracemalloc.start()
    try:
        effects = victim.receive(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert drops(effects) == ["catalog-malformed"]
    assert peak < peak_bytes_max


def test_a_message_over_the_limit_is_dropped_unread() -> None:
    victim = Victim()
    payload = b"\x80" + b"\x90" * ReplicaConfig().message_bytes_max
    assert drops(victim.receive(payload)) == ["catalog-too-large"]


def test_lies_about_a_bystander_end_when_the_bystander_writes_again() -> None:
    cluster = Cluster(1)
    liar, bystander, witness = cluster.start_many(3, service("web"))
    converge(cluster, limit_s=5.0)
    origin = Origin(bystander.node_id, bystander.epoch)
    message = Pages((page(origin, [entry("fake", 9)], after=2),), is_answer=False, pass_on=False)
    payload = encode_envelope(Envelope(liar.name, liar.node_id, WALL_START_MS, message))
    cluster.deliver_untrusted(witness, payload, source=liar.address)
    # The bystander sees more of itself than it wrote, and outranks it.
    converge(cluster, limit_s=15.0)
    cluster.run(15.0)
    assert_converged(cluster)
