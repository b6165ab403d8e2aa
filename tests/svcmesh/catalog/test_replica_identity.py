"""Who is a node: names and ids have one holder, and everybody else is told and hidden."""

from svcmesh.catalog.changes import IdentityContested, IdentityRestored
from svcmesh.catalog.records import Kind
from tests.svcmesh.catalog.convergence_checker import assert_converged, converge
from tests.svcmesh.catalog.replicas import Agent, Cluster, service


def contests(agent: Agent) -> list[IdentityContested]:
    return [fact for fact in agent.facts if isinstance(fact, IdentityContested)]


def restorations(agent: Agent) -> int:
    return sum(isinstance(fact, IdentityRestored) for fact in agent.facts)


def two_agents(*, seed: int = 1) -> tuple[Cluster, Agent, Agent]:
    cluster = Cluster(seed)
    first, second = cluster.start("n0", service("a")), cluster.start("n1", service("b"))
    converge(cluster, limit_s=5.0)
    return cluster, first, second


def test_a_second_agent_of_one_name_is_told_once_and_is_not_shown() -> None:
    cluster, holder, witness = two_agents()
    loser = cluster.start("n0", service("impostor"))
    cluster.run(20.0)
    assert [c.what for c in contests(loser)] == ["name"]
    assert contests(loser)[0].holder == holder.node_id
    assert witness.shown.services("n0") == {"a": 1}
    assert holder.shown.services("n0") == {"a": 1}
    assert not contests(holder)
    assert_converged(cluster, [holder, witness])


def test_the_loser_of_a_name_publishes_again_once_the_holder_has_left() -> None:
    cluster, holder, witness = two_agents()
    loser = cluster.start("n0", service("second"))
    cluster.run(5.0)
    cluster.leave(holder)
    cluster.run(cluster.config.contest_s + 10.0)
    assert restorations(loser) == 1
    assert witness.shown.services("n0") == {"second": 1}
    assert_converged(cluster)


def test_names_that_differ_in_case_only_are_one_name() -> None:
    cluster, holder, witness = two_agents()
    loser = cluster.start("N0", service("impostor"))
    cluster.run(10.0)
    assert contests(loser)
    assert not contests(holder)
    assert witness.shown.services("N0") == {}
    assert witness.shown.services("n0") == {"a": 1}


def test_a_second_agent_with_a_cloned_node_id_is_told_and_does_no_damage() -> None:
    cluster, holder, witness = two_agents()
    clone = cluster.start("clone", service("x"), node_id=holder.node_id)
    for version in range(2, 12):
        cluster.put(holder, service("a", version))
        cluster.put(clone, service("x", version))
        cluster.run(1.0)
    assert [c.what for c in contests(clone)] == ["id"]
    assert contests(clone)[0].holder == "n0"
    assert not contests(holder)
    assert witness.shown.services("n0") == {"a": 11}
    assert witness.shown.services("clone") == {}
    assert_converged(cluster, [holder, witness])


def test_a_clone_takes_the_id_over_when_its_holder_has_left() -> None:
    cluster, holder, witness = two_agents()
    clone = cluster.start("clone", service("x"), node_id=holder.node_id)
    cluster.run(3.0)
    cluster.leave(holder)
    cluster.run(cluster.config.contest_s + 10.0)
    assert restorations(clone) == 1
    assert witness.shown.services("clone") == {"x": 1}
    assert witness.shown.services("n0") == {}
    assert_converged(cluster)


def test_a_restart_with_a_new_id_replaces_the_old_rows() -> None:
    cluster, first, witness = two_agents()
    again = cluster.restart(first, with_id=False, records=[service("c")])
    assert again.node_id != first.node_id
    converge(cluster, limit_s=5.0)
    assert witness.shown.services("n0") == {"c": 1}
    assert first.node_id not in witness.shown.names


def test_late_messages_of_a_replaced_id_bring_nothing_back() -> None:
    cluster, first, witness = two_agents()
    cluster.put(first, service("late"))
    cluster.restart(first, with_id=False)
    converge(cluster, limit_s=5.0)
    cluster.run(5.0)
    assert witness.shown.services("n0") == {"a": 1, "late": 1}
    cluster.delete(cluster.running[-1], Kind.SERVICE, "late")
    cluster.run(90.0)
    assert witness.shown.services("n0") == {"a": 1}
    assert_converged(cluster)


def test_a_member_that_left_takes_its_rows_along_and_a_failed_one_does_not() -> None:
    cluster, first, witness = two_agents()
    cluster.crash(first)
    cluster.run(1.0)
    assert witness.shown.services("n0") == {"a": 1}
    assert witness.shown.alive[first.node_id] is False
    cluster.reap(first)
    cluster.run(1.0)
    assert witness.shown.services("n0") == {}
    assert first.node_id not in witness.shown.names


def test_records_of_a_node_that_is_no_member_are_neither_shown_nor_passed_on() -> None:
    cluster, first, witness = two_agents()
    cluster.leave(first)
    cluster.run(1.0)
    joiner = cluster.start("n2")
    converge(cluster, limit_s=5.0)
    cluster.run(5.0)
    assert first.node_id not in {*witness.replica.node_ids(), *joiner.replica.node_ids()}
    assert joiner.shown.services("n0") == {}
