"""Reports of replicas in the simulator."""

import pytest

from svcmesh.catalog.records import NodeId
from svcmesh.catalog.view import CatalogView
from svcmesh.consistency import CatalogConsistency
from svcmesh.simulate import Link
from tests.svcmesh.catalog.convergence_checker import converge
from tests.svcmesh.catalog.replicas import Agent, Cluster, service


def consistency(cluster: Cluster, agent: Agent) -> CatalogConsistency:
    view = CatalogView(local_node_id=NodeId(agent.node_id), datacenter="dc1", index_start=0)
    return CatalogConsistency(agent.replica, view, clock=lambda: cluster.clock.now)


def test_an_agent_alone_agrees_with_everybody_there_is() -> None:
    cluster = Cluster(1)
    alone = consistency(cluster, cluster.start("n0"))
    cluster.run(3.0)
    report = alone.report()
    assert (report.agrees, report.peers, report.since_s, report.lag_s) == (True, (), 3.0, 0.0)


def test_peers_are_listed_by_name_with_how_long_they_have_agreed() -> None:
    cluster = Cluster(1)
    one, *_ = cluster.start_many(3, service("web"))
    converge(cluster, limit_s=5.0)
    # Quiet peers compare every few seconds, each time with another one.
    cluster.run(30.0)
    before = consistency(cluster, one).report()
    cluster.run(30.0)
    report = consistency(cluster, one).report()
    assert report.agrees
    assert [(peer.name, peer.agrees) for peer in report.peers] == [("n1", True), ("n2", True)]
    assert report.since_s == pytest.approx(before.since_s + 30.0)
    assert max(peer.compared_s for peer in report.peers) < 30.0
    assert report.fingerprint == one.replica.fingerprint


def test_a_peer_that_cannot_be_repaired_is_shown_with_what_differs() -> None:
    cluster = Cluster(1)
    one, other = cluster.start_many(2, service("web"))
    converge(cluster, limit_s=5.0)
    cluster.run(3.0)
    subject = consistency(cluster, one)
    cluster.network.link = Link(loss=1.0)
    for version in range(2, 5):
        cluster.put(other, service("web", version))
        cluster.run(0.1)
    cluster.network.link = Link()
    while subject.report().agrees:
        cluster.run(0.001)
    (peer,) = subject.report().peers
    cluster.run_until(lambda: bool(subject.report().peers[0].differences), limit_s=1.0)
    (peer,) = subject.report().peers
    (difference,) = peer.differences
    assert difference.node == other.node_id
    assert difference.theirs.sequence > difference.ours.sequence
    assert difference.we_lack
    assert subject.lag_s == difference.age_s
    cluster.run(3.0)
    assert subject.report().agrees
