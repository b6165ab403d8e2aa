"""Repair ends: in agreement where there is anything to agree on, and in silence everywhere."""

from uuid import UUID

import pytest

from svcmesh.catalog.bodies import encode_body
from svcmesh.catalog.changes import CatalogEffect, IdentityContested, RecordChanged, SendCatalog
from svcmesh.catalog.codec import encode_envelope
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.fields import EPOCH_MAX
from svcmesh.catalog.log import Entry, Origin, RecordKey
from svcmesh.catalog.messages import CatalogMessage, Envelope, Page, Pages, Summaries, Summary
from svcmesh.catalog.records import Kind, NodeId
from svcmesh.simulate import Link
from tests.svcmesh.catalog.convergence_checker import assert_converged, converge
from tests.svcmesh.catalog.replicas import Agent, Cluster, node_record, scenario, service

SEEDS = range(4)
FORGETFUL = ReplicaConfig(tombstone_s=5.0)
FORGOTTEN_S = 30.0
IDLE_MESSAGES_PER_S = 8


def removals(cluster: Cluster) -> list[RecordChanged]:
    """What any agent stops showing from now on."""
    found: list[RecordChanged] = []

    def watch(_: Agent, effect: CatalogEffect) -> None:
        if isinstance(effect, RecordChanged) and effect.new is None:
            found.append(effect)

    cluster.watchers.append(watch)
    return found


def assert_in_silent_agreement(cluster: Cluster) -> None:
    """Fingerprints are equal, and two agents spend no more than their comparisons."""
    assert len({agent.replica.fingerprint for agent in cluster.running}) == 1
    before = sum(agent.messages_sent for agent in cluster.running)
    cluster.run(10.0)
    sent = sum(agent.messages_sent for agent in cluster.running) - before
    assert sent <= 10 * IDLE_MESSAGES_PER_S


def test_records_of_members_are_kept_for_longer_than_those_of_strangers() -> None:
    cluster = Cluster(1)
    cluster.start_many(3, service("a"))
    converge(cluster, limit_s=5.0)
    gone = removals(cluster)
    cluster.run(3 * cluster.config.unbound_s)
    assert gone == []


def test_more_members_than_strangers_are_allowed_are_all_shown() -> None:
    cluster = Cluster(1, config=ReplicaConfig(unbound_max=2))
    cluster.start_many(6, service("a"))
    converge(cluster, limit_s=8.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_survivors_agree_on_what_came_after_a_write_that_died_with_its_owner(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        owner, informed, other = cluster.start_many(3, service("a", 1), service("b", 1))
        converge(cluster, limit_s=5.0)
        cluster.network.link = Link(loss=1.0)
        cluster.put(owner, service("b", 2))
        cluster.run(0.01)
        cluster.network.link = Link()
        cluster.cut(owner, other)
        cluster.put(owner, service("a", 2), service("c", 2))
        cluster.delete(owner, Kind.SERVICE, "b")
        cluster.run(0.01)
        cluster.crash(owner)
        cluster.run(20.0)
        assert informed.shown.services("n0") == other.shown.services("n0") == {"a": 2, "c": 2}
        assert_in_silent_agreement(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_survivors_agree_on_external_writes_that_their_writer_left_incomplete(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        writer, informed, other = cluster.start_many(3)
        converge(cluster, limit_s=5.0)
        cluster.network.link = Link(loss=1.0)
        cluster.put_external(writer, "db", service("lost", 1))
        cluster.run(0.01)
        cluster.network.link = Link()
        cluster.cut(writer, other)
        cluster.put_external(writer, "db", service("kept", 1))
        cluster.run(0.01)
        cluster.crash(writer)
        cluster.run(20.0)
        rows = [a.shown.services("external:db") for a in (informed, other)]
        assert rows == [{"kept": 1}] * 2
        assert_in_silent_agreement(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restarted_writer_gets_its_external_records_back_though_deletes_are_forgotten(
    seed: int,
) -> None:
    with scenario(seed):
        cluster = Cluster(seed, config=FORGETFUL)
        writer, *_ = cluster.start_many(3)
        cluster.put_external(writer, "db", service("gone", 1), service("kept", 1))
        cluster.run(1.0)
        cluster.delete_external(writer, "db", Kind.SERVICE, "gone")
        cluster.put_external(writer, "db", service("later", 1))
        cluster.run(FORGOTTEN_S)
        again = cluster.restart(writer)
        converge(cluster, limit_s=10.0)
        assert again.shown.services("external:db") == {"kept": 1, "later": 1}
        cluster.run(5.0)
        assert_in_silent_agreement(cluster)


@pytest.mark.parametrize("is_external", [False, True])
def test_a_late_duplicate_of_a_rumor_does_not_bring_back_what_was_deleted_and_forgotten(
    is_external: bool,
) -> None:
    cluster = Cluster(1, config=FORGETFUL)
    owner, other = cluster.start_many(2)
    converge(cluster, limit_s=5.0)
    late: list[bytes] = []

    def record(agent: Agent, effect: CatalogEffect) -> None:
        if agent is owner and isinstance(effect, SendCatalog):
            late.append(effect.payload)

    cluster.watchers.append(record)
    if is_external:
        cluster.put_external(owner, "db", service("a"))
        cluster.run(0.1)
        cluster.delete_external(owner, "db", Kind.SERVICE, "a")
    else:
        cluster.put(owner, service("a"))
        cluster.run(0.1)
        cluster.delete(owner, Kind.SERVICE, "a")
    cluster.run(FORGOTTEN_S)
    before = other.shown.rows()
    for payload in late:
        cluster.deliver_untrusted(other, payload, source=owner.address)
    assert other.shown.rows() == before


@pytest.mark.parametrize("seed", SEEDS)
def test_an_agent_may_delete_any_number_of_records_over_time(seed: int) -> None:
    with scenario(seed):
        config = ReplicaConfig(records_per_origin_max=20, tombstones_max=20)
        cluster = Cluster(seed, config=config)
        owner, *_ = cluster.start_many(3)
        for n in range(200):
            cluster.put(owner, service(f"job-{n}"))
            cluster.run(0.05)
            if n >= 10:
                cluster.delete(owner, Kind.SERVICE, f"job-{n - 10}")
        converge(cluster, limit_s=10.0)
        cluster.run(15.0)
        assert_converged(cluster)
        assert_in_silent_agreement(cluster)


@pytest.mark.parametrize("seed", range(8))
def test_a_restart_under_a_new_id_contests_nothing(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed, detection_s=1.5)
        agents = cluster.start_many(8, service("a"))
        converge(cluster, limit_s=10.0)
        again = cluster.restart(agents[3], with_id=False)
        converge(cluster, limit_s=10.0)
        cluster.run(5.0)
        assert not [fact for fact in again.facts if isinstance(fact, IdentityContested)]


def test_a_burst_of_writes_goes_out_in_steps() -> None:
    cluster = Cluster(1)
    owner, *_ = cluster.start_many(5)
    converge(cluster, limit_s=5.0)
    for n in range(3000):
        cluster.put(owner, service(f"s{n}"))
    sent: dict[float, int] = {}

    def watch(agent: Agent, effect: CatalogEffect) -> None:
        if agent is owner and isinstance(effect, SendCatalog):
            sent[cluster.clock.now] = sent.get(cluster.clock.now, 0) + 1

    cluster.watchers.append(watch)
    converge(cluster, limit_s=10.0)
    assert max(sent.values()) < 4 * 40


def test_no_message_grows_with_the_number_of_nodes() -> None:
    cluster = Cluster(1, config=ReplicaConfig(page_bytes=4096))
    knowing, joiner = cluster.start_many(2)
    converge(cluster, limit_s=5.0)
    for n in range(1500):
        owner = Origin(NodeId(str(UUID(int=n))), 1)
        body = node_record(f"m{n}")
        entry = Entry(RecordKey("", Kind.NODE, ""), 1, encode_body(body), body)
        page = Page(False, owner, 1, 0, 0, 1, False, (entry,))
        for agent in (knowing, joiner):
            agent.replica.member_alive(f"m{n}", owner.node_id, is_peer=False, now=5.0)
        tell(cluster, knowing, joiner, Pages((page,), is_answer=False, pass_on=False))
    cluster.run(20.0)
    assert len(joiner.replica.node_ids()) == 1502
    assert max(agent.largest_bytes for agent in cluster.agents) < 3 * 4096


def test_two_keys_at_one_number_are_survived_and_sorted_out() -> None:
    cluster = Cluster(1)
    owner, receiver = cluster.start_many(2, service("a"))
    converge(cluster, limit_s=5.0)
    origin = Origin(owner.node_id, owner.epoch)
    for seq, ids in ((3, "bc"), (4, "b"), (5, "c")):
        for id in ids:
            body = service(id, seq)
            entry = Entry(RecordKey("", Kind.SERVICE, id), seq, encode_body(body), body)
            page = Page(False, origin, 2, 0, seq - 1, seq, False, (entry,))
            tell(cluster, receiver, owner, Pages((page,), is_answer=False, pass_on=False))
    converge(cluster, limit_s=30.0)
    assert receiver.shown.services("n0") == {"a": 1}


def test_an_epoch_out_of_range_is_not_outranked() -> None:
    cluster = Cluster(1)
    agent, other = cluster.start_many(2, service("a"))
    converge(cluster, limit_s=5.0)
    for epoch in (EPOCH_MAX, EPOCH_MAX + 1):
        summary = Summary(False, Origin(agent.node_id, epoch), 1, 0, 0, 0)
        tell(cluster, agent, other, Summaries((), (summary,), is_answer=False))
    cluster.put(agent, service("b"))
    cluster.run(1.0)
    assert other.shown.services("n0") == {"a": 1, "b": 1}
    assert agent.dropped == {"catalog-malformed": 1}


def tell(cluster: Cluster, agent: Agent, sender: Agent, message: CatalogMessage) -> None:
    """Hand an agent a message that its peer never sent."""
    payload = encode_envelope(Envelope(sender.name, sender.node_id, 0, message))
    cluster.deliver_untrusted(agent, payload, source=sender.address)


def comparisons(cluster: Cluster) -> list[int]:
    return [agent.replica.metrics["comparisons"] for agent in cluster.running]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_quiet_cluster_compares_a_third_as_often(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        cluster.start_many(5, service("a"))
        converge(cluster, limit_s=5.0)
        cluster.run(10.0)
        before = comparisons(cluster)
        cluster.run(60.0)
        made = [now - then for now, then in zip(comparisons(cluster), before, strict=True)]
        # Every 3 s, give or take a fifth.
        assert all(60 / 3.6 - 1 <= count <= 60 / 2.4 + 1 for count in made)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_change_all_who_heard_of_it_compare_within_a_second_or_so(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        agents = cluster.start_many(5, service("a"))
        converge(cluster, limit_s=5.0)
        cluster.run(10.0)
        before = comparisons(cluster)
        cluster.put(agents[0], service("b"))
        cluster.run(1.3)
        assert all(now > then for now, then in zip(comparisons(cluster), before, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_who_missed_the_news_after_a_long_quiet_has_them_within_three_seconds(seed: int) -> None:
    with scenario(seed):
        cluster = Cluster(seed)
        agents = cluster.start_many(5, service("a"))
        converge(cluster, limit_s=5.0)
        cluster.run(10.0)
        cluster.cut(agents[0], agents[1])
        cluster.put(agents[0], service("b"))
        cluster.run(0.01)
        cluster.heal()
        assert "b" not in agents[1].shown.services(agents[0].name)
        assert converge(cluster, limit_s=5.0) <= 3.0
