"""What replication costs, in bytes that are counted on the simulated network."""

import pytest

from svcmesh.catalog.bodies import encode_body
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.errors import RecordTooLargeError
from svcmesh.catalog.records import HealthStatus, Kind
from svcmesh.simulate import Link
from tests.svcmesh.catalog.convergence_checker import assert_converged, converge
from tests.svcmesh.catalog.replicas import Cluster, check, service

IDLE_BYTES_PER_S_MAX = 150


def idle_bytes_per_s(cluster: Cluster, *, duration_s: float) -> float:
    """Sent by one agent, on average."""
    before = cluster.bytes_sent
    cluster.run(duration_s)
    return (cluster.bytes_sent - before) / duration_s / len(cluster.running)


def test_two_agents_with_ten_thousand_records_idle_at_a_hundred_bytes_a_second() -> None:
    cluster = Cluster(1)
    for n in range(2):
        cluster.start(f"n{n}", *(service(f"s{m}") for m in range(5000)))
    converge(cluster, limit_s=30.0)
    cluster.run(10.0)
    assert idle_bytes_per_s(cluster, duration_s=60.0) <= IDLE_BYTES_PER_S_MAX


def test_idle_traffic_of_an_agent_does_not_grow_with_the_cluster() -> None:
    cluster = Cluster(1)
    cluster.start_many(25, service("web"))
    converge(cluster, limit_s=20.0)
    cluster.run(10.0)
    assert idle_bytes_per_s(cluster, duration_s=30.0) <= IDLE_BYTES_PER_S_MAX


def test_a_joiner_after_a_failure_leaves_agreement_and_idle_traffic_as_they_were() -> None:
    cluster = Cluster(1)
    *_, failing = cluster.start_many(4, service("web"))
    converge(cluster, limit_s=5.0)
    cluster.crash(failing)
    cluster.run(10.0)
    cluster.start("late", service("web"))
    converge(cluster, limit_s=10.0)
    cluster.run(20.0)
    # Each comparison names the fingerprint that is settled.
    assert idle_bytes_per_s(cluster, duration_s=60.0) <= IDLE_BYTES_PER_S_MAX + 16
    assert all(agent.replica.agrees for agent in cluster.running)


def test_forgotten_deletes_leave_no_traffic_behind() -> None:
    cluster = Cluster(1, config=ReplicaConfig(tombstone_s=5.0))
    one, other, _ = cluster.start_many(3, *(service(f"s{n}") for n in range(50)))
    cluster.put_external(one, "db", *(service(f"e{n}") for n in range(50)))
    converge(cluster, limit_s=10.0)
    for n in range(50):
        cluster.delete(one, Kind.SERVICE, f"s{n}")
        cluster.delete_external(other, "db", Kind.SERVICE, f"e{n}")
    cluster.run(60.0)
    assert_converged(cluster)
    assert idle_bytes_per_s(cluster, duration_s=30.0) <= IDLE_BYTES_PER_S_MAX


def test_a_joiner_fetches_a_large_peer_in_pages_under_the_byte_budget() -> None:
    cluster = Cluster(1)
    records = [service(f"service-{n}", n % 60000) for n in range(5000)]
    peer = cluster.start("n0", *records)
    cluster.run(5.0)
    cluster.start("n1")
    took_s = converge(cluster, limit_s=10.0)
    content_bytes = sum(len(encode_body(record)) for record in records)
    # A page is cut by an estimate of its records' sizes; keys and numbers come on top.
    assert peer.largest_bytes <= cluster.config.page_bytes * 1.1
    assert peer.streams_sent > 5
    assert cluster.bytes_sent <= 2.5 * content_bytes
    assert took_s < 3.0


def test_a_writer_in_a_hot_loop_sends_batches() -> None:
    cluster = Cluster(1)
    writer, *others = cluster.start_many(3, service("hot"))
    converge(cluster, limit_s=5.0)
    messages = writer.messages_sent
    for version in range(5000):
        cluster.put(writer, service("hot", version + 2))
        cluster.run(0.0002)
    cluster.run(0.05)
    # 5,000 writes in 1.05 s: one message to each of two peers every 3 ms at most, and repairs.
    assert writer.messages_sent - messages <= 2 * (1050 / 3 + 15)
    assert all(other.shown.services("n0")["hot"] == 5001 for other in others)


def test_a_writer_beyond_its_budget_is_held_to_it_and_all_arrives_in_the_end() -> None:
    # Without repair, which fetches what the budget holds back.
    config = ReplicaConfig(publish_rate_per_s=100.0, publish_burst=200, repair_interval_s=1000.0)
    cluster = Cluster(1, config=config)
    keys = 50
    writer, other = cluster.start_many(2, *(service(f"s{n}") for n in range(keys)))
    converge(cluster, limit_s=5.0)
    cluster.run(5.0)
    received = other.replica.metrics["records_received"]
    version = 1
    for _ in range(1000):
        version += 1
        cluster.put(writer, *(service(f"s{n}", version) for n in range(keys)))
        cluster.run(0.01)
    sent = other.replica.metrics["records_received"] - received
    # 10 s at 100/s, the burst, and the batch that overdraws the budget.
    assert sent <= 10 * 100 + 200 + keys
    converge(cluster, limit_s=5.0)


def test_a_record_larger_than_a_datagram_arrives_at_once_by_stream() -> None:
    cluster = Cluster(1)
    writer, *others = cluster.start_many(3)
    converge(cluster, limit_s=5.0)
    cluster.run(2.0)
    large = check("c", HealthStatus.PASSING, "x" * 20_000)
    cluster.put(writer, service("before"), large, service("after"))
    cluster.run(0.1)
    assert_converged(cluster)
    assert writer.streams_sent >= len(others)


def test_the_largest_record_arrives_and_a_larger_one_is_refused_unchanged() -> None:
    cluster = Cluster(1)
    writer, other = cluster.start_many(2)
    converge(cluster, limit_s=5.0)
    room_bytes = cluster.config.record_bytes_max - len(
        encode_body(check("c", HealthStatus.PASSING))
    )
    # The length of a long text takes up to four bytes more than that of an empty one.
    cluster.put(writer, check("c", HealthStatus.PASSING, "x" * (room_bytes - 4)))
    cluster.run(1.0)
    assert_converged(cluster)
    shown = other.shown.rows()
    with pytest.raises(RecordTooLargeError):
        writer.replica.put_own(
            check("c", HealthStatus.PASSING, "x" * (room_bytes + 1)), now=cluster.clock.now
        )
    cluster.run(2.0)
    assert other.shown.rows() == shown


def test_one_lost_change_among_ten_thousand_records_costs_a_few_kilobytes() -> None:
    cluster = Cluster(1)
    one, _ = (cluster.start(f"n{n}", *(service(f"s{m}") for m in range(5000))) for n in range(2))
    converge(cluster, limit_s=30.0)
    cluster.run(5.0)
    cluster.network.link = Link(loss=1.0)
    cluster.put(one, service("s17", 2))
    cluster.run(0.05)
    cluster.network.link = Link()
    before = cluster.bytes_sent
    converge(cluster, limit_s=5.0)
    assert cluster.bytes_sent - before <= 4096


def test_a_write_that_changes_nothing_sends_nothing() -> None:
    cluster = Cluster(1)
    writer, _ = cluster.start_many(2, service("web", 5))
    converge(cluster, limit_s=5.0)
    cluster.run(5.0)
    quiet = idle_bytes_per_s(cluster, duration_s=20.0)
    deadline_at = writer.replica.next_deadline_at
    cluster.put(writer, service("web", 5))
    assert writer.replica.next_deadline_at == deadline_at
    assert idle_bytes_per_s(cluster, duration_s=20.0) <= quiet * 1.2
