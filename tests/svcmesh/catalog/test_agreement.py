"""Who has what, since when: from summaries by hand, and from agents in the simulator."""

from svcmesh.catalog.agreement import Agreements, Difference, Version
from svcmesh.catalog.digest import Item
from svcmesh.catalog.external import CONTENT
from svcmesh.catalog.log import Origin
from svcmesh.catalog.messages import Summary
from svcmesh.catalog.records import NodeId
from svcmesh.simulate import Link
from tests.svcmesh.catalog.convergence_checker import converge
from tests.svcmesh.catalog.replicas import Cluster, service

N1 = Item(False, "n1", 0)


def have(through: int, *, epoch: int = 1, hash: int = 0) -> Summary:
    return Summary(False, Origin(NodeId("n1"), epoch), through, 0, hash or through, 0)


def compared(subject: Agreements, ours: Summary | None, theirs: Summary | None, now: float) -> None:
    subject.note_different("peer", 1, now=now)
    mine, other = ([one] if one is not None else [] for one in (ours, theirs))
    subject.note_versions("peer", mine, other, now=now)


def difference(subject: Agreements) -> Difference:
    (found,) = subject.peers["peer"].differences.values()
    return found


def always(_: Item, __: Version) -> bool:
    return True


def test_a_peer_that_agrees_has_no_differences() -> None:
    subject = Agreements()
    compared(subject, have(1), have(2), 5.0)
    subject.note_same("peer", now=6.0)
    assert subject.peers["peer"].differences == {}
    assert subject.peers["peer"].since_at == 6.0
    subject.note_same("peer", now=9.0)
    assert (subject.peers["peer"].since_at, subject.peers["peer"].compared_at) == (6.0, 9.0)


def test_who_has_less_is_behind() -> None:
    subject = Agreements()
    compared(subject, have(1), have(2), 5.0)
    assert difference(subject).we_lack
    compared(subject, have(9, epoch=2), have(30, epoch=1), 6.0)
    assert not difference(subject).we_lack
    compared(subject, None, have(1), 7.0)
    assert difference(subject) == Difference(N1, Version(0, 0), Version(1, 1), Version(1, 1), 7.0)


def test_what_is_missing_ages_until_it_has_arrived_and_not_with_every_new_write() -> None:
    subject = Agreements()
    compared(subject, have(1), have(5), 10.0)
    compared(subject, have(3), have(8), 11.0)
    assert (difference(subject).since_at, subject.lag_s(always, now=12.0)) == (10.0, 2.0)
    # Sequence 5 has arrived; 9 is missing, and only since now.
    compared(subject, have(5), have(9), 13.0)
    assert (difference(subject).since_at, subject.lag_s(always, now=14.0)) == (13.0, 1.0)


def test_a_peer_that_is_behind_for_long_is_so_since_the_first_time() -> None:
    subject = Agreements()
    compared(subject, have(5), have(1), 10.0)
    compared(subject, have(8), have(4), 11.0)
    assert difference(subject).since_at == 10.0
    compared(subject, have(9), have(6), 12.0)
    assert difference(subject).since_at == 12.0


def test_our_lag_counts_only_what_we_still_lack() -> None:
    subject = Agreements()
    compared(subject, have(1), have(5), 10.0)
    assert subject.lag_s(lambda item, wanted: item == N1 and wanted == (1, 5), now=12.0) == 2.0
    assert subject.lag_s(lambda *_: False, now=12.0) == 0.0
    compared(subject, have(5), have(1), 13.0)
    assert subject.lag_s(always, now=20.0) == 0.0


def test_equal_versions_of_other_content_are_a_difference() -> None:
    subject = Agreements()
    compared(subject, have(5, hash=1), have(5, hash=2), 10.0)
    assert subject.lag_s(lambda *_: False, now=12.0) == 2.0
    compared(subject, have(5, hash=2), have(5, hash=2), 13.0)
    assert subject.peers["peer"].differences == {}


def test_the_external_records_as_a_whole_are_compared_by_content() -> None:
    subject = Agreements()
    ours, theirs = (Summary(True, CONTENT, version, 0, content, 0) for version, content in
                    ((7, 1), (9, 2)))  # fmt: skip
    compared(subject, ours, theirs, 10.0)
    assert (difference(subject).ours, difference(subject).theirs) == ((0, 0), (0, 0))
    compared(subject, ours, ours, 11.0)
    assert subject.peers["peer"].differences == {}


def test_what_is_remembered_of_a_peer_is_bounded() -> None:
    subject = Agreements()
    subject.note_different("peer", 1, now=1.0)
    theirs = [Summary(False, Origin(NodeId(f"n{n}"), 1), 1, 0, 1, 0) for n in range(1000)]
    subject.note_versions("peer", [], theirs, now=1.0)
    assert len(subject.peers["peer"].differences) == 64


def test_agents_see_how_long_they_lack_what_a_lost_rumor_brought() -> None:
    cluster = Cluster(1)
    one, other = cluster.start_many(2, service("web"))
    converge(cluster, limit_s=5.0)
    cluster.run(3.0)
    assert [agent.replica.agrees for agent in cluster.agents] == [True, True]
    cluster.network.link = Link(loss=1.0)
    cluster.put(other, service("web", 2))
    cluster.run(0.1)
    cluster.network.link = Link()
    lags_s = set()
    for _ in range(4000):
        cluster.run(0.001)
        lags_s.add(one.replica.lag_s(now=cluster.clock.now))
    # Repair begins within a second or so, and takes round trips after that.
    assert 0.0 in lags_s
    assert 0.0 < max(lags_s) < 0.5
    assert one.replica.lag_s(now=cluster.clock.now) == 0.0
    assert [agent.replica.agrees for agent in cluster.agents] == [True, True]


def test_a_peer_that_was_behind_is_compared_again_soon() -> None:
    cluster = Cluster(3)
    cluster.start_many(12, service("web"))
    converge(cluster, limit_s=5.0)
    cluster.run(30.0)
    writer = cluster.agents[0]
    cluster.network.link = Link(loss=1.0)
    cluster.put(writer, service("web", 2))
    cluster.run(0.1)
    cluster.network.link = Link()
    # With random peers alone, twelve agents would take most of a minute to meet again.
    cluster.run_until(lambda: all(agent.replica.agrees for agent in cluster.agents), limit_s=25.0)


def test_peers_that_have_not_been_compared_are_listed_too() -> None:
    cluster = Cluster(1)
    one, other = cluster.start_many(2)
    assert one.replica.peers in ({}, {other.name: None})
    cluster.run(5.0)
    assert set(one.replica.peers) == {other.name}
    cluster.leave(other)
    cluster.run(2.0)
    assert one.replica.peers == {}
    assert one.replica.agrees is True
