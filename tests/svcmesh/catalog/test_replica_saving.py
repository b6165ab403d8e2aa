"""External records on disk: what survives the end of all agents, and what a crash leaves behind.

The disk is a list of writes in the order in which they are handed out; a crash keeps the first so
many of them.
"""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.records import Kind, QueryRecord
from svcmesh.catalog.saving import unpack_untrusted
from tests.svcmesh.catalog.convergence_checker import converge
from tests.svcmesh.catalog.replicas import Agent, Cluster, node_record, scenario, service
from tests.svcmesh.queries.records import query_record

SEEDS = range(6)
EXTERNAL = "external:db"
FORGETFUL = ReplicaConfig(tombstone_s=20.0)


class Disk:
    """What one agent has written."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, bytes | None]] = []

    def pull(self, agent: Agent, *, values_max: int = 1000) -> None:
        """Write everything that is to be saved."""
        while changes := agent.replica.take_unsaved(values_max):
            self.writes += changes.items()
        assert not agent.replica.has_unsaved

    def content(self, count: int | None = None) -> dict[str, bytes]:
        """What is there after the first `count` writes."""
        values: dict[str, bytes] = {}
        for name, value in self.writes[:count]:
            values.pop(name, None)
            if value is not None:
                values[name] = value
        return values


def externals(agent: Agent) -> dict[str, int]:
    return agent.shown.services(EXTERNAL)


def test_records_and_queries_outlive_all_agents() -> None:
    cluster, disk = Cluster(1), Disk()
    agent = cluster.start("n0", saved={})
    record = query_record("web")
    cluster.put_external(agent, "db", node_record("db"), service("sql", 5), service("old", 6))
    cluster.put_external(agent, "", record)
    cluster.delete_external(agent, "db", Kind.SERVICE, "old")
    disk.pull(agent)
    again = cluster.restart(agent, saved=disk.content())
    assert externals(again) == {"sql": 5}
    assert [b for b in again.replica.external_records().values() if isinstance(b, QueryRecord)] == [
        record
    ]
    # Who reads it has nothing new to write.
    assert not again.replica.has_unsaved
    cluster.put_external(again, "db", service("sql", 7))
    disk.pull(again)
    assert externals(cluster.restart(again, saved=disk.content())) == {"sql": 7}


def test_without_a_disk_nothing_is_kept_track_of() -> None:
    cluster = Cluster(1)
    agent = cluster.start("n0")
    cluster.put_external(agent, "db", service("sql", 5))
    assert not agent.replica.has_unsaved
    assert agent.replica.take_unsaved(10) == {}


def churn(cluster: Cluster, agents: list[Agent], rng: Random, steps: int) -> None:
    for number in range(steps):
        writer = rng.choice([agent for agent in agents if agent.is_running])
        name = f"s{rng.randrange(5)}"
        if rng.random() < 0.4:
            cluster.delete_external(writer, "db", Kind.SERVICE, name)
        else:
            cluster.put_external(writer, "db", service(name, number))
        cluster.run(rng.choice([0.0, 0.01, 0.5]))


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_a_crash_leaves_is_repaired_and_nothing_deleted_returns(seed: int) -> None:
    with scenario(seed):
        rng = Random(seed)
        cluster, disk = Cluster(seed, config=FORGETFUL), Disk()
        one = cluster.start("n0", saved={})
        others = [cluster.start(f"n{n}") for n in (1, 2)]
        converge(cluster, limit_s=10.0)
        for _ in range(4):
            for _ in range(4):
                churn(cluster, [one, *others], rng, 8)
                disk.pull(one, values_max=rng.choice([1, 3, 1000]))
            cut = rng.randrange(len(disk.writes) + 1)
            # What only it knows is no part of this.
            converge(cluster, limit_s=10.0)
            cluster.crash(one)
            # Long enough, now and then, for the others to forget deletes.
            churn(cluster, others, rng, 8)
            cluster.run(rng.choice([1.0, 40.0]))
            converge(cluster, limit_s=10.0)
            expected = externals(others[0])
            kept = disk.content(cut)
            del disk.writes[cut:]
            one = cluster.restart(one, saved=kept)
            converge(cluster, limit_s=30.0)
            assert all(externals(agent) == expected for agent in (one, *others))


@pytest.mark.parametrize("seed", SEEDS)
def test_all_agents_end_at_once_and_what_their_disks_have_is_merged(seed: int) -> None:
    with scenario(seed):
        rng = Random(seed)
        cluster = Cluster(seed)
        agents = [cluster.start(f"n{n}", saved={}) for n in range(3)]
        disks = [Disk() for _ in agents]
        converge(cluster, limit_s=10.0)
        churn(cluster, agents, rng, 30)
        converge(cluster, limit_s=10.0)
        expected = externals(agents[0])
        for agent, disk in zip(agents, disks, strict=True):
            disk.pull(agent)
            cluster.crash(agent)
        agents = [
            cluster.restart(agent, saved=disk.content())
            for agent, disk in zip(agents, disks, strict=True)
        ]
        converge(cluster, limit_s=20.0)
        assert all(externals(agent) == expected for agent in agents)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_disk_that_is_a_day_old_brings_nothing_back(seed: int) -> None:
    with scenario(seed):
        cluster, disk = Cluster(seed, config=FORGETFUL), Disk()
        one = cluster.start("n0", saved={})
        other = cluster.start("n1")
        converge(cluster, limit_s=10.0)
        cluster.put_external(other, "db", service("gone", 1), service("stays", 2))
        cluster.run(1.0)
        disk.pull(one)
        cluster.crash(one)
        cluster.delete_external(other, "db", Kind.SERVICE, "gone")
        cluster.run(100.0)
        one = cluster.restart(one, saved=disk.content())
        assert externals(one) == {"gone": 1, "stays": 2}
        converge(cluster, limit_s=20.0)
        assert externals(one) == externals(other) == {"stays": 2}


@given(st.lists(st.tuples(st.sampled_from(["r1", "v1"]), st.binary(max_size=60))))
def test_any_bytes_on_disk_are_read_or_counted(values: list[tuple[str, bytes]]) -> None:
    records, versions, broken = unpack_untrusted(values)
    assert len(records) + len(versions) + broken == len(values)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_write_cut_short_anywhere_loses_no_record_that_the_peers_have(forgets: bool) -> None:
    cluster, disk = Cluster(3, config=FORGETFUL), Disk()
    one = cluster.start("n0", saved={})
    other = cluster.start("n1")
    converge(cluster, limit_s=10.0)
    cluster.put_external(one, "db", service("a", 1), service("b", 2), service("gone", 3))
    cluster.put_external(other, "db", service("c", 4), service("a", 5))
    cluster.run(1.0)
    disk.pull(one)
    first = len(disk.writes)
    cluster.delete_external(other, "db", Kind.SERVICE, "gone")
    cluster.put_external(one, "db", service("d", 6), service("b", 7))
    cluster.run(100.0 if forgets else 1.0)
    disk.pull(one)
    expected = {"a": 5, "b": 7, "c": 4, "d": 6}
    assert externals(other) == expected
    for count in range(0 if not forgets else first, len(disk.writes) + 1):
        one = cluster.restart(one, saved=disk.content(count))
        # The peer must not have to tell what is deleted by comparing everything.
        rebuilds = one.replica.metrics["external_rebuilds"]
        converge(cluster, limit_s=20.0)
        assert externals(one) == externals(other) == expected, f"after {count} writes"
        if not forgets:
            assert one.replica.metrics["external_rebuilds"] == rebuilds == 0
            assert other.replica.metrics["external_rebuilds"] == 0
