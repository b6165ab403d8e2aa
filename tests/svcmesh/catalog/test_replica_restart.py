"""A restarted agent: what it wrote stays shown, what it no longer has goes in one step."""

import pytest

from svcmesh.catalog.changes import CatalogEffect, EpochRaised, OwnNode, RecordChanged, SendCatalog
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.simulate import Link
from tests.svcmesh.catalog.convergence_checker import assert_converged, converge
from tests.svcmesh.catalog.replicas import Agent, Cluster, scenario, service
from tests.svcmesh.catalog.resurrection_checker import ResurrectionChecker

SEEDS = range(4)


def raised_epochs(agent: Agent) -> list[int]:
    return [fact.epoch for fact in agent.facts if isinstance(fact, EpochRaised)]


def recorded_changes(cluster: Cluster, owner: Agent) -> list[tuple[str, RecordChanged]]:
    """What other agents report about this node from now on."""
    changes: list[tuple[str, RecordChanged]] = []

    def watch(agent: Agent, effect: CatalogEffect) -> None:
        if isinstance(effect, RecordChanged) and agent.name != owner.name:
            assert isinstance(effect.owner, OwnNode)
            if effect.owner.node_id == owner.node_id:
                changes.append((agent.name, effect))

    cluster.watchers.append(watch)
    return changes


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_noticed", [True, False])
def test_after_a_restart_with_the_same_records_nobody_sees_a_change(
    seed: int, is_noticed: bool
) -> None:
    with scenario(seed):
        cluster = Cluster(seed, config=ReplicaConfig(page_bytes=1024))
        agents = cluster.start_many(4, *(service(f"s{n}") for n in range(80)))
        converge(cluster, limit_s=10.0)
        changes = recorded_changes(cluster, agents[0])
        if is_noticed:
            cluster.crash(agents[0])
            cluster.run(5.0)
        cluster.restart(agents[0])
        converge(cluster, limit_s=10.0)
        cluster.run(10.0)
        assert changes == []
        assert len({agent.replica.fingerprint for agent in cluster.running}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_records_missing_after_a_restart_go_in_one_step_with_the_changed_ones(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed, config=ReplicaConfig(page_bytes=1024), link=Link(loss=0.2))
        agents = cluster.start_many(3, *(service(f"s{n}") for n in range(80)))
        converge(cluster, limit_s=60.0)
        steps: dict[str, set[float]] = {}

        def watch(agent: Agent, effect: CatalogEffect) -> None:
            is_of_n0 = isinstance(effect, RecordChanged) and effect.owner == OwnNode(
                agents[0].node_id
            )
            if is_of_n0 and agent.name != "n0":
                steps.setdefault(agent.name, set()).add(cluster.clock.now)

        cluster.watchers.append(watch)
        cluster.restart(agents[0], records=[service(f"s{n}", 2) for n in range(40, 100)])
        converge(cluster, limit_s=60.0)
        assert {name: len(instants) for name, instants in steps.items()} == {"n1": 1, "n2": 1}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("records", [1, 40])
def test_an_agent_that_lost_its_epoch_and_whose_clock_is_behind_outranks_itself(
    seed: int, records: int
) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        agents = cluster.start_many(3, *(service(f"s{n}") for n in range(10)))
        converge(cluster, limit_s=10.0)
        old_epoch = agents[0].epoch
        fresh = [service(f"t{n}") for n in range(records)]
        again = cluster.restart(agents[0], epoch=old_epoch - 3_600_000, records=fresh)
        converge(cluster, limit_s=10.0)
        assert len(raised_epochs(again)) == 1
        assert again.epoch > old_epoch
        assert agents[1].shown.services("n0") == {f"t{n}": 1 for n in range(records)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("records", [1, 10, 30])
def test_a_restored_snapshot_with_the_same_epoch_ends_with_what_the_agent_says_now(
    seed: int, records: int
) -> None:
    # The same epoch again, at a lower, the same and a higher sequence than the peers have.
    with scenario(seed):
        cluster = Cluster(seed)
        agents = cluster.start_many(3, *(service(f"s{n}") for n in range(10)))
        converge(cluster, limit_s=10.0)
        fresh = [service(f"t{n}", 7) for n in range(records)]
        again = cluster.restart(agents[0], epoch=agents[0].epoch, records=fresh)
        converge(cluster, limit_s=25.0)
        cluster.run(15.0)
        assert_converged(cluster)
        assert cluster.agents[1].shown.services("n0") == again.shown.services("n0")
        assert len({agent.replica.fingerprint for agent in cluster.running}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_of_a_dead_epoch_are_ignored(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        ResurrectionChecker(cluster)
        agents = cluster.start_many(3, service("a", 1), service("b", 1))
        converge(cluster, limit_s=10.0)
        late: list[bytes] = []

        def record(agent: Agent, effect: CatalogEffect) -> None:
            if agent is agents[0] and isinstance(effect, SendCatalog) and effect.to == "n1":
                late.append(effect.payload)

        cluster.watchers.append(record)
        cluster.put(agents[0], service("a", 2), service("b", 2))
        cluster.run(0.1)
        cluster.restart(agents[0], records=[service("a", 3)])
        converge(cluster, limit_s=10.0)
        assert late
        for payload in late:
            cluster.deliver_untrusted(agents[1], payload, source=agents[0].address)
        assert agents[1].shown.services("n0") == {"a": 3}
        cluster.run(5.0)
        assert_converged(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_agent_that_restarts_over_and_over_is_shown_as_it_is_last(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed, link=Link(loss=0.1))
        agent, *_ = cluster.start_many(4, service("a", 1))
        for version in range(2, 12):
            cluster.run(cluster.rng.choice([0.0, 0.01, 0.3, 1.5]))
            records = [service("a", version), service(f"only-{version}", version)]
            agent = cluster.restart(agent, records=records)
        converge(cluster, limit_s=15.0)
        assert cluster.agents[1].shown.services("n0") == {"a": 11, "only-11": 11}


def test_a_whole_cluster_restarting_at_once_agrees_again() -> None:
    cluster = Cluster(1)
    agents = cluster.start_many(6, *(service(f"s{n}") for n in range(5)))
    converge(cluster, limit_s=10.0)
    for agent in agents:
        cluster.restart(agent)
    converge(cluster, limit_s=10.0)
    assert all(not raised_epochs(agent) for agent in cluster.running)
