"""Deleted records stay deleted, also where the delete itself has been forgotten meanwhile.

Deletes are remembered for seconds here, not for a day, so that every stale holder is too late for
them and has to build what it has anew.
"""

import pytest

from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.records import Kind
from tests.svcmesh.catalog.convergence_checker import assert_converged, converge
from tests.svcmesh.catalog.equality_checker import EqualityChecker
from tests.svcmesh.catalog.replicas import Cluster, scenario, service
from tests.svcmesh.catalog.resurrection_checker import ResurrectionChecker

SEEDS = range(4)
TOMBSTONE_S = 5.0
FORGOTTEN_S = 30.0
"""Long enough for the tombstone's age and the housekeeping's interval."""

FORGETFUL = ReplicaConfig(tombstone_s=TOMBSTONE_S)
FORGETFUL_SMALL_PAGES = ReplicaConfig(tombstone_s=TOMBSTONE_S, page_bytes=1024)


def watched_cluster(seed: int, config: ReplicaConfig, *, agents: int, records: int) -> Cluster:
    cluster = Cluster(seed, config=config)
    ResurrectionChecker(cluster)
    EqualityChecker(cluster)
    cluster.start_many(agents, *(service(f"s{n}") for n in range(records)))
    converge(cluster, limit_s=10.0)
    return cluster


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_stale_holder_lets_go_of_what_was_deleted_and_forgotten(
    seed: int, is_noticed: bool
) -> None:
    with scenario(seed):
        cluster = watched_cluster(seed, FORGETFUL, agents=5, records=3)
        owner, stale = cluster.agents[0], cluster.agents[3:]
        cluster.partition(cluster.agents[:3], stale, is_noticed=is_noticed)
        cluster.delete(owner, Kind.SERVICE, "s1")
        cluster.run(FORGOTTEN_S)
        assert "s1" in stale[0].shown.services("n0")
        cluster.heal()
        converge(cluster, limit_s=10.0)
        cluster.run(FORGOTTEN_S)
        assert_converged(cluster)
        assert all("s1" not in agent.shown.services("n0") for agent in cluster.agents)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_deleted_and_written_again_is_shown_with_its_latest_body(seed: int) -> None:
    with scenario(seed):
        cluster = watched_cluster(seed, FORGETFUL, agents=4, records=3)
        owner, stale = cluster.agents[0], cluster.agents[3]
        cluster.partition(cluster.agents[:3], [stale])
        cluster.delete(owner, Kind.SERVICE, "s1")
        cluster.run(FORGOTTEN_S)
        cluster.put(owner, service("s1", 2))
        cluster.run(1.0)
        cluster.heal()
        converge(cluster, limit_s=10.0)
        assert stale.shown.services("n0")["s1"] == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_deletes_go_on_while_a_stale_holder_fetches_page_by_page(seed: int) -> None:
    with scenario(seed):
        cluster = watched_cluster(seed, FORGETFUL_SMALL_PAGES, agents=3, records=300)
        owner, stale = cluster.agents[0], cluster.agents[2]
        cluster.partition(cluster.agents[:2], [stale])
        for n in range(0, 300, 3):
            cluster.delete(owner, Kind.SERVICE, f"s{n}")
        cluster.run(FORGOTTEN_S)
        cluster.heal()
        for n in range(1, 300, 3):
            cluster.delete(owner, Kind.SERVICE, f"s{n}")
            cluster.run(0.1)
        converge(cluster, limit_s=20.0)
        assert len(stale.shown.services("n0")) == 100


@pytest.mark.parametrize("seed", SEEDS)
def test_more_deletes_than_are_remembered_do_no_harm(seed: int) -> None:
    with scenario(seed):
        config = ReplicaConfig(tombstones_max=10)
        cluster = watched_cluster(seed, config, agents=3, records=100)
        owner, stale = cluster.agents[0], cluster.agents[2]
        cluster.partition(cluster.agents[:2], [stale], is_noticed=False)
        for n in range(60):
            cluster.delete(owner, Kind.SERVICE, f"s{n}")
        cluster.run(FORGOTTEN_S)
        cluster.heal()
        converge(cluster, limit_s=10.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stale_holder_that_the_owner_left_behind_does_not_infect_others(seed: int) -> None:
    with scenario(seed):
        cluster = watched_cluster(seed, FORGETFUL, agents=4, records=2)
        owner, stale = cluster.agents[0], cluster.agents[3]
        cluster.partition(cluster.agents[:3], [stale])
        cluster.delete(owner, Kind.SERVICE, "s0")
        cluster.run(FORGOTTEN_S)
        cluster.crash(owner)
        cluster.run(1.0)
        cluster.heal()
        cluster.run(10.0)
        # The owner's node is shown by all, failed, without the service; the stale one learned it.
        for agent in cluster.running:
            assert agent.shown.services("n0") == {"s1": 1}, agent.name


@pytest.mark.parametrize("seed", SEEDS)
def test_an_external_record_deleted_by_another_writer_stays_deleted(seed: int) -> None:
    with scenario(seed):
        cluster = watched_cluster(seed, FORGETFUL, agents=5, records=1)
        writer, deleter, _, stale, _ = cluster.agents
        cluster.put_external(writer, "db", service("sql", 1), service("kept", 2))
        converge(cluster, limit_s=5.0)
        cluster.partition(cluster.agents[:3], cluster.agents[3:])
        cluster.delete_external(deleter, "db", Kind.SERVICE, "sql")
        cluster.put_external(stale, "db", service("beyond", 3))
        cluster.run(FORGOTTEN_S)
        assert "sql" in stale.shown.services("external:db")
        cluster.heal()
        converge(cluster, limit_s=10.0)
        cluster.run(FORGOTTEN_S)
        assert_converged(cluster)
        for agent in cluster.agents:
            assert agent.shown.services("external:db") == {"kept": 2, "beyond": 3}, agent.name


@pytest.mark.parametrize("seed", SEEDS)
def test_an_external_delete_holds_after_its_writer_is_gone(seed: int) -> None:
    with scenario(seed):
        cluster = watched_cluster(seed, FORGETFUL, agents=5, records=1)
        writer, deleter, _, stale, _ = cluster.agents
        cluster.put_external(writer, "db", service("sql", 1))
        converge(cluster, limit_s=5.0)
        cluster.partition(cluster.agents[:3], cluster.agents[3:])
        cluster.delete_external(deleter, "db", Kind.SERVICE, "sql")
        cluster.run(1.0)
        cluster.leave(deleter)
        cluster.leave(writer)
        cluster.run(FORGOTTEN_S)
        cluster.heal()
        converge(cluster, limit_s=10.0)
        assert stale.shown.services("external:db") == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_external_deletes_on_both_sides_of_a_partition_all_hold(seed: int) -> None:
    with scenario(seed):
        cluster = watched_cluster(seed, FORGETFUL_SMALL_PAGES, agents=4, records=1)
        left, right = cluster.agents[:2], cluster.agents[2:]
        cluster.put_external(left[0], "db", *(service(f"s{n}") for n in range(60)))
        converge(cluster, limit_s=5.0)
        cluster.partition(left, right)
        for n in range(20):
            cluster.delete_external(left[1], "db", Kind.SERVICE, f"s{n}")
            cluster.delete_external(right[1], "db", Kind.SERVICE, f"s{n + 20}")
        cluster.run(FORGOTTEN_S)
        cluster.put_external(left[0], "db", service("new-left", 2))
        cluster.put_external(right[0], "db", service("new-right", 3))
        cluster.heal()
        converge(cluster, limit_s=15.0)
        expected = {f"s{n}": 1 for n in range(40, 60)} | {"new-left": 2, "new-right": 3}
        assert left[0].shown.services("external:db") == expected
