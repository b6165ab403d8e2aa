"""External records: any agent writes them, one winner per key, and they outlive their writer."""

from dataclasses import replace

import pytest

from svcmesh.catalog.changes import ClockDrift
from svcmesh.catalog.queries import QueryTable
from svcmesh.catalog.records import Kind, QueryRecord
from tests.svcmesh.catalog.convergence_checker import converge
from tests.svcmesh.catalog.replicas import Agent, Cluster, node_record, scenario, service
from tests.svcmesh.queries.records import query_record

SEEDS = range(4)
EXTERNAL = "external:db"


def started(seed: int, count: int, *, offsets_s: tuple[float, ...] = ()) -> Cluster:
    cluster = Cluster(seed)
    for n in range(count):
        offset_s = offsets_s[n] if n < len(offsets_s) else 0.0
        cluster.start(f"n{n}", service("web"), wall_offset_s=offset_s)
    converge(cluster, limit_s=10.0)
    return cluster


def shown_by_all(cluster: Cluster) -> dict[str, int]:
    """What everybody shows of the external node."""
    first, *others = (agent.shown.services(EXTERNAL) for agent in cluster.running)
    assert all(other == first for other in others)
    return first


@pytest.mark.parametrize("seed", SEEDS)
def test_an_external_node_outlives_its_writer(seed: int) -> None:
    with scenario(seed):
        cluster = started(seed, 4)
        writer = cluster.agents[0]
        cluster.put_external(writer, "DB", node_record("DB"), service("sql", 5))
        cluster.run(0.1)
        assert shown_by_all(cluster) == {"sql": 5}
        cluster.leave(writer)
        cluster.run(5.0)
        joiner = cluster.start("late")
        converge(cluster, limit_s=5.0)
        assert joiner.shown.services(EXTERNAL) == {"sql": 5}
        assert ("external:db", Kind.NODE, "") in joiner.shown.rows()


@pytest.mark.parametrize("seed", SEEDS)
def test_any_agent_may_replace_or_delete_what_another_one_wrote(seed: int) -> None:
    with scenario(seed):
        cluster = started(seed, 4)
        one, two, three, _ = cluster.agents
        cluster.put_external(one, "db", service("sql", 1), service("old", 1))
        cluster.run(0.1)
        cluster.put_external(two, "db", service("sql", 2))
        cluster.delete_external(three, "db", Kind.SERVICE, "old")
        cluster.run(0.1)
        assert shown_by_all(cluster) == {"sql": 2}


@pytest.mark.parametrize("seed", SEEDS)
def test_of_writes_on_two_islands_the_later_by_the_clock_wins_everywhere(seed: int) -> None:
    with scenario(seed):
        cluster = started(seed, 4)
        left, right = cluster.agents[:2], cluster.agents[2:]
        cluster.partition(left, right)
        cluster.put_external(left[0], "db", service("sql", 1), service("gone", 1))
        cluster.run(1.0)
        cluster.put_external(right[0], "db", service("sql", 2))
        cluster.put_external(right[1], "db", service("gone", 3))
        cluster.run(1.0)
        cluster.delete_external(left[1], "db", Kind.SERVICE, "gone")
        cluster.heal()
        converge(cluster, limit_s=10.0)
        assert shown_by_all(cluster) == {"sql": 2}


@pytest.mark.parametrize("seed", SEEDS)
def test_writes_at_the_very_same_instant_have_one_winner(seed: int) -> None:
    with scenario(seed):
        cluster = started(seed, 5)
        for version, agent in enumerate(cluster.agents):
            cluster.put_external(agent, "db", service("sql", version))
        converge(cluster, limit_s=10.0)
        # Ties go to the highest origin: by node id.
        highest = max(range(5), key=lambda n: cluster.agents[n].node_id)
        assert shown_by_all(cluster) == {"sql": highest}


@pytest.mark.parametrize("seed", SEEDS)
def test_who_has_seen_a_record_replaces_it_even_with_a_clock_hours_behind(seed: int) -> None:
    with scenario(seed):
        cluster = started(seed, 3, offsets_s=(3 * 3600.0,))
        ahead, normal, _ = cluster.agents
        cluster.put_external(ahead, "db", service("sql", 1))
        cluster.run(0.1)
        cluster.put_external(normal, "db", service("sql", 2))
        converge(cluster, limit_s=5.0)
        assert shown_by_all(cluster) == {"sql": 2}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clock_hours_ahead_wins_against_those_who_have_not_heard_of_it(seed: int) -> None:
    with scenario(seed):
        cluster = started(seed, 3, offsets_s=(3 * 3600.0,))
        ahead, normal, third = cluster.agents
        cluster.partition([ahead], [normal, third])
        cluster.put_external(ahead, "db", service("sql", 1))
        cluster.run(60.0)
        cluster.put_external(normal, "db", service("sql", 2))
        cluster.heal()
        converge(cluster, limit_s=10.0)
        assert shown_by_all(cluster) == {"sql": 1}


def test_an_agent_whose_clock_is_off_says_so_and_the_others_do_not() -> None:
    cluster = started(1, 5, offsets_s=(30.0,))
    cluster.run(60.0)

    def drifts(agent: Agent) -> list[float]:
        return [fact.drift_s for fact in agent.facts if isinstance(fact, ClockDrift)]

    off, *others = cluster.agents
    assert drifts(off)
    assert all(29.0 < drift_s < 31.0 for drift_s in drifts(off))
    assert not any(drifts(agent) for agent in others)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restarted_writer_goes_on_replacing_its_own_records(seed: int) -> None:
    with scenario(seed):
        cluster = started(seed, 3)
        cluster.put_external(cluster.agents[0], "db", service("sql", 1), service("keep", 1))
        converge(cluster, limit_s=5.0)
        again = cluster.restart(cluster.agents[0])
        converge(cluster, limit_s=10.0)
        assert again.shown.services(EXTERNAL) == {"sql": 1, "keep": 1}
        cluster.put_external(again, "db", service("sql", 2))
        converge(cluster, limit_s=5.0)
        assert shown_by_all(cluster) == {"sql": 2, "keep": 1}


def queries_of(agent: Agent) -> QueryTable:
    table = QueryTable()
    for body in agent.replica.external_records().values():
        if isinstance(body, QueryRecord):
            table.put(body, index=1)
    return table


def name_holders(cluster: Cluster, name: str) -> set[str]:
    rows = [queries_of(agent).holder(name) for agent in cluster.running]
    return {"" if row is None else row.record.id for row in rows}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_query_name_given_away_on_both_sides_of_a_split_is_that_of_who_took_it_first(
    seed: int,
) -> None:
    with scenario(seed):
        cluster = started(seed, 4)
        left, right = cluster.agents[:2], cluster.agents[2:]
        cluster.partition(left, right)
        made = []
        for number, agent in ((2, right[0]), (1, left[0])):
            claim = agent.replica.read_clock(wall_ms=cluster.wall_ms(agent))
            made.append(query_record("web", number=number, claim=claim))
            cluster.put_external(agent, "", made[-1])
            cluster.run(1.0)
        first, second = made
        # A later change does not make a name younger.
        cluster.put_external(right[1], "", replace(first, dns_ttl="5s"))
        cluster.run(1.0)
        assert name_holders(cluster, "web") == {first.id, second.id}
        cluster.heal()
        converge(cluster, limit_s=10.0)
        assert name_holders(cluster, "web") == {first.id}
        assert all(len(queries_of(agent)) == 2 for agent in cluster.running)
        cluster.delete_external(left[1], "", Kind.QUERY, first.id)
        converge(cluster, limit_s=5.0)
        assert name_holders(cluster, "web") == {second.id}


def test_writing_an_external_record_again_unchanged_sends_nothing() -> None:
    cluster = started(1, 3)
    writer, other, _ = cluster.agents
    cluster.put_external(writer, "db", service("sql", 1))
    cluster.run(0.1)
    before = [agent.replica.fingerprint for agent in cluster.agents]
    cluster.put_external(writer, "db", service("sql", 1))
    cluster.put_external(other, "DB", service("sql", 1))
    cluster.delete_external(other, "db", Kind.SERVICE, "unknown")
    cluster.run(0.1)
    assert [agent.replica.fingerprint for agent in cluster.agents] == before
