"""Replication as a whole: what one agent writes, all agents show, whatever the network does."""

from random import Random

import pytest

from svcmesh.catalog.changes import SendCatalog
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.records import HealthStatus, Kind, NodeId
from svcmesh.catalog.replica import Replica
from svcmesh.simulate import Link
from tests.svcmesh.catalog.convergence_checker import assert_converged, converge, has_converged
from tests.svcmesh.catalog.equality_checker import EqualityChecker
from tests.svcmesh.catalog.replicas import Agent, Cluster, check, node_record, scenario, service
from tests.svcmesh.catalog.resurrection_checker import ResurrectionChecker

SEEDS = range(4)
LOSSY = Link(latency_s_min=0.0005, latency_s_max=0.02, loss=0.1, duplicate=0.05)


def converged_cluster(seed: int, count: int, *, config: ReplicaConfig | None = None) -> Cluster:
    cluster = Cluster(seed, config=config)
    cluster.start_many(count, service("web"))
    converge(cluster, limit_s=10.0)
    return cluster


@pytest.mark.parametrize("seed", SEEDS)
def test_agents_that_start_together_show_each_others_records(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        cluster.start_many(6, service("a"), service("b"), check("c", HealthStatus.PASSING))
        converge(cluster, limit_s=5.0)
        assert len(cluster.agents[0].shown.rows()) == 6 * 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_write_is_shown_everywhere_within_milliseconds(seed: int) -> None:
    with scenario(seed):
        cluster = converged_cluster(seed, 5)
        writer = cluster.agents[2]
        cluster.put(writer, service("web", 2), service("new"))
        cluster.run(0.02)
        assert_converged(cluster)
        cluster.delete(writer, Kind.SERVICE, "new")
        cluster.run(0.02)
        assert_converged(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_rumors_lose_repair_brings(seed: int) -> None:
    with scenario(seed):
        cluster = converged_cluster(seed, 5)
        cluster.network.link = Link(loss=1.0)
        for n in range(20):
            cluster.put(cluster.agents[n % 5], service(f"s{n}"))
            cluster.run(0.05)
        cluster.network.link = Link()
        assert not has_converged(cluster)
        converge(cluster, limit_s=8.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_agents_that_cannot_talk_learn_of_each_other_through_a_third(seed: int) -> None:
    with scenario(seed):
        cluster = converged_cluster(seed, 3)
        one, other, _ = cluster.agents
        cluster.cut(one, other)
        cluster.cut(other, one)
        cluster.put(one, service("web", 2))
        cluster.put(other, service("web", 3))
        converge(cluster, limit_s=12.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_agent_that_cannot_send_is_up_to_date_once_it_can(seed: int) -> None:
    with scenario(seed):
        cluster = converged_cluster(seed, 4)
        mute, *others = cluster.agents
        for other in others:
            cluster.cut(mute, other)
        cluster.put(mute, service("web", 2))
        cluster.put(others[0], service("web", 3))
        cluster.run(5.0)
        # Rumors come in all the same; nothing goes out.
        assert mute.shown.services("n1") == {"web": 3}
        assert others[0].shown.services("n0") == {"web": 1}
        cluster.heal()
        converge(cluster, limit_s=8.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_islands_agree_within_themselves_and_all_agree_after_healing(seed: int) -> None:
    with scenario(seed):
        cluster = converged_cluster(seed, 6)
        left, right = cluster.agents[:3], cluster.agents[3:]
        cluster.partition(left, right)
        cluster.run(1.0)
        cluster.put(left[0], service("web", 2))
        cluster.put(right[0], service("web", 3))
        cluster.delete(right[1], Kind.SERVICE, "web")
        converge(cluster, limit_s=8.0, among=left)
        converge(cluster, limit_s=8.0, among=right)
        assert left[1].shown.services("n3") == {"web": 1}
        cluster.heal()
        converge(cluster, limit_s=8.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_in_a_cluster_too_large_for_broadcast_receivers_pass_rumors_on(seed: int) -> None:
    with scenario(seed):
        config = ReplicaConfig(broadcast_peers_max=4)
        cluster = converged_cluster(seed, 14, config=config)
        messages = sum(agent.messages_sent for agent in cluster.agents)
        cluster.put(cluster.agents[0], service("web", 2))
        cluster.run(0.05)
        informed = [a for a in cluster.agents if a.shown.services("n0") == {"web": 2}]
        assert len(informed) >= 12
        # Each agent sends it at most once, to ln(14) + 3 others; the odd comparison comes on top.
        assert sum(agent.messages_sent for agent in cluster.agents) - messages <= 14 * 6 + 20


def test_plain_members_are_sent_nothing() -> None:
    now = 0.0
    replica = Replica(
        ReplicaConfig(),
        name="n0",
        node_id=NodeId("a" * 8),
        epoch=1,
        expects_peers=True,
        now=now,
        rng=Random(1),
    )
    effects = replica.member_alive("n0", NodeId("a" * 8), is_peer=True, now=now)
    effects += replica.member_alive("plain", NodeId("b" * 8), is_peer=False, now=now)
    effects += replica.put_own(node_record("n0"), now=now)
    while now < 10.0:
        now = replica.next_deadline_at
        effects += replica.handle_timer(now=now, wall_ms=0)
    assert not [effect for effect in effects if isinstance(effect, SendCatalog)]


def test_an_agent_without_peers_is_ready_at_once() -> None:
    cluster = Cluster(1)
    agent = cluster.start("n0")
    cluster.run(0.01)
    assert agent.is_ready


def test_a_joiner_is_ready_once_it_has_what_its_peer_has() -> None:
    cluster = Cluster(1)
    cluster.start("n0", *(service(f"s{n}") for n in range(300)))
    cluster.run(3.0)
    joiner = cluster.start("n1")
    cluster.run_until(lambda: joiner.is_ready, limit_s=2.0)
    assert len(joiner.shown.services("n0")) == 300


def test_a_joiner_whose_peers_do_not_answer_is_ready_after_five_seconds() -> None:
    cluster = Cluster(1)
    first = cluster.start("n0")
    joiner = cluster.start("n1")
    cluster.cut(first, joiner)
    cluster.run(4.9)
    assert not joiner.is_ready
    cluster.run(0.2)
    assert joiner.is_ready


def since_at(agent: Agent) -> float:
    """When the comparisons of an agent began to come out as the latest did."""
    return max(peer.since_at for peer in agent.replica.peers.values() if peer is not None)


def test_disagreement_is_visible_until_repair_has_ended_it() -> None:
    cluster = converged_cluster(3, 2)
    one, other = cluster.agents
    cluster.run(3.0)
    assert one.replica.agrees
    agreed_since_at = max(since_at(agent) for agent in (one, other))
    cluster.network.link = Link(loss=1.0)
    cluster.put(other, service("web", 2))
    cluster.run(0.1)
    cluster.network.link = Link()
    seen: set[bool | None] = set()
    for _ in range(4000):
        cluster.run(0.001)
        seen |= {one.replica.agrees, other.replica.agrees}
    assert seen == {True, False}
    assert one.replica.agrees
    assert other.replica.agrees
    assert max(since_at(agent) for agent in (one, other)) > agreed_since_at


FAULTS = ("partition", "unnoticed", "cut", "restart", "fresh", "leave", "crash", "die")
FAULTS_AND_AMNESIA = (*FAULTS, "amnesia")


def churn(
    seed: int,
    *,
    agents: int,
    steps: int,
    config: ReplicaConfig | None = None,
    waits_s: tuple[float, ...] = (0.0, 0.01, 0.5, 2.0),
    faults: tuple[str, ...] = FAULTS,
) -> None:
    """Random writes and faults of every sort; then the network heals, and all must agree."""
    with scenario(seed):
        cluster = Cluster(seed, config=config, link=LOSSY)
        equality = EqualityChecker(cluster)
        if "amnesia" not in faults:
            # Who forgets its epoch is below its own past until it has heard of it.
            ResurrectionChecker(cluster)
        rng = Random(f"{seed} churn")
        for n in range(agents):
            offset_s = rng.choice([0.0, 0.5, -3600.0, 3600.0])
            cluster.start(f"n{n}", service("web", 1), wall_offset_s=offset_s)
        version = 1
        for _ in range(steps):
            version += 1
            agent = rng.choice(cluster.running)
            match rng.choice(["put", "put", "put", "delete", "external", "fault", "heal", "wait"]):
                case "put":
                    # Some take several pages, some more than a datagram.
                    padding_bytes = rng.choice([0, 0, 300, 2000])
                    body = service(rng.choice("abcdef"), version, padding_bytes=padding_bytes)
                    cluster.put(agent, body)
                case "delete":
                    cluster.delete(agent, Kind.SERVICE, rng.choice("abcdef"))
                case "external":
                    if rng.random() < 0.3:
                        cluster.delete_external(agent, rng.choice("xy"), Kind.SERVICE, "e")
                    else:
                        cluster.put_external(agent, rng.choice("xy"), service("e", version))
                case "fault":
                    _fault(cluster, rng, agent, rng.choice(faults))
                case "heal":
                    cluster.heal()
                case other:
                    assert other == "wait"
            cluster.run(rng.choice(waits_s))
        cluster.heal()
        cluster.network.link = Link()
        converge(cluster, limit_s=60.0)
        # Repair goes on until the versions agree too, and then says so.
        cluster.run(10.0)
        assert_converged(cluster)
        if len({frozenset(agent.shown.names) for agent in cluster.running}) == 1:
            assert len({agent.replica.fingerprint for agent in cluster.running}) == 1
            assert all(agent.replica.agrees for agent in cluster.running)
        assert equality.equal_pairs_seen


def _fault(cluster: Cluster, rng: Random, agent: Agent, fault: str) -> None:
    running = cluster.running
    match fault:
        case "partition" | "unnoticed":
            split = rng.randrange(1, len(running))
            cluster.partition(running[:split], running[split:], is_noticed=fault == "partition")
        case "cut":
            cluster.cut(agent, rng.choice(running))
        case "restart":
            cluster.restart(agent)
        case "fresh":
            cluster.restart(agent, with_epoch=False, with_id=False)
        case "leave":
            cluster.leave(agent)
            cluster.run(rng.choice([0.0, 1.0]))
            cluster.restart(agent)
        case "crash":
            cluster.crash(agent)
            cluster.run(rng.choice([0.1, 2.0]))
            cluster.restart(agent)
        case "amnesia":
            # Its node id is all that it knows of its past, and its clock went back.
            cluster.restart(agent, epoch=agent.epoch - rng.randrange(100_000))
        case other:
            assert other == "die"
            if len(running) > 3:
                cluster.crash(agent)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_faults_everybody_agrees_and_nothing_old_came_back(seed: int) -> None:
    churn(seed, agents=6, steps=250)


@pytest.mark.parametrize("seed", SEEDS)
def test_agents_that_forget_their_epochs_are_shown_as_they_are_last(seed: int) -> None:
    churn(seed, agents=6, steps=150, faults=FAULTS_AND_AMNESIA)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300, 340))
def test_agents_that_forget_their_epochs_often_are_shown_as_they_are_last(seed: int) -> None:
    churn(seed, agents=7, steps=500, faults=FAULTS_AND_AMNESIA)


FORGETFUL = ReplicaConfig(tombstone_s=5.0, page_bytes=1024)
LONG_WAITS_S = (0.0, 0.1, 2.0, 15.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_forgotten_deletes_under_any_faults_bring_nothing_back(seed: int) -> None:
    churn(seed, agents=6, steps=150, config=FORGETFUL, waits_s=LONG_WAITS_S)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 260))
def test_forgotten_deletes_under_many_more_faults_bring_nothing_back(seed: int) -> None:
    churn(seed, agents=7, steps=300, config=FORGETFUL, waits_s=LONG_WAITS_S)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_after_many_more_faults_everybody_agrees_and_nothing_old_came_back(seed: int) -> None:
    churn(seed, agents=8, steps=800)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_large_cluster_survives_faults_too(seed: int) -> None:
    churn(seed, agents=45, steps=100)
