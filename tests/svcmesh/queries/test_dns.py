"""What the directory tells DNS of prepared queries."""

import asyncio
from random import Random
from typing import Any

import pytest

from dnsserver.directory import AskOthers, QueryAnswer, Unanswerable
from gossip.wire.messages import Coordinate
from svcmesh.catalog.changes import ExternalNode, RecordChanged
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    Kind,
    NodeId,
    NodeRecord,
    QueryRecord,
    ServiceRecord,
)
from svcmesh.catalog.view import CatalogView
from svcmesh.coordinates import NodeCoordinates
from svcmesh.datacenters import NoPathError, UnreachableError
from svcmesh.directory import SELECTIONS_MAX, SLICE_ROWS, CatalogDirectory
from svcmesh.queries.dns import INSTANCES_MAX, SLICE_NODES
from svcmesh.queries.execution import QueryEngine, QueryNotFoundError
from svcmesh.queries.failover import Outcome
from tests.svcmesh.queries.records import query_record


class FakeElsewhere:
    """Answers with what a test has put there."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.failure: Exception | None = None
        self.asked: list[object] = []

    async def execute(self, query: QueryRecord, *, limit: int) -> Outcome | None:
        self.asked.append(query)
        return self.outcome

    async def execute_named(self, datacenter: str, name: str, *, client: str) -> Outcome:
        self.asked.append((datacenter, name, client))
        if self.failure is not None:
            raise self.failure
        assert self.outcome is not None
        return self.outcome


class World:
    """A view with external nodes, and the directory over it."""

    def __init__(self) -> None:
        self.view = CatalogView(local_node_id=NodeId("a"), datacenter="DC1", index_start=1)
        self.elsewhere = FakeElsewhere()
        engine = QueryEngine(
            self.view, NodeCoordinates(self.view, agents=dict), node_name="node1", rng=Random(1)
        )
        self.directory = CatalogDirectory(
            self.view, is_ready=lambda: True, rng=Random(1), queries=engine,
            elsewhere=self.elsewhere,
        )  # fmt: skip

    def put(self, node: str, kind: Kind, record_id: str, body: Body | None) -> None:
        self.view.apply(RecordChanged(ExternalNode(node), kind, record_id, None, body))

    def add(self, number: int, status: str = "passing", *, at: float | None = None) -> None:
        """`web-N` on `nodeN` at 10.0.0.N, `at` seconds from the origin."""
        node = f"node{number}"
        where = None if at is None else Coordinate((at, *[0.0] * 7), 0.1, 0.0, 0.0)
        address = f"10.0.{number >> 8}.{number & 255}"
        self.put(node, Kind.NODE, "", NodeRecord(node, address, "dc1", coordinate=where))
        service = ServiceRecord(
            id="web", name="web", port=number, weight_passing=7, weight_warning=3,
            tags=(f"t{number}",),
        )  # fmt: skip
        self.put(node, Kind.SERVICE, "web", service)
        self.set_status(number, status)

    def set_status(self, number: int, status: str) -> None:
        check = CheckRecord("c", "c", status, service_id="web")
        self.put(f"node{number}", Kind.CHECK, "c", check)

    def query(self, name: str = "q", **fields: Any) -> None:  # noqa: ANN401
        record = query_record(name, **fields)
        self.put("", Kind.QUERY, record.id, record)

    def look_up(self, name: str = "q", client: str = "192.0.2.1") -> QueryAnswer:
        found = self.directory.prepared_query(name, None, client)
        assert isinstance(found, QueryAnswer)
        return found

    def ports(self, name: str = "q", client: str = "192.0.2.1") -> list[int]:
        return [instance.port for instance in self.look_up(name, client).pool.instances()]


def test_unknown_known_and_unanswerable() -> None:
    world = World()
    world.query("t-", number=2, template_type="name_prefix_match", service="${name.suffix}")
    world.query("q", dns_ttl="1500ms")
    world.add(1)
    assert world.directory.prepared_query("no", None, "") is None
    template_id = query_record(number=2).id
    assert world.directory.prepared_query(template_id, None, "") == Unanswerable()
    assert world.ports("t-web") == [1]
    found = world.look_up("Q")
    assert (found.service, found.ttl_s, found.datacenter) == ("web", 1, "dc1")
    assert world.look_up("t-web").ttl_s is None


def test_the_pool_follows_the_catalog_and_its_answers_end() -> None:
    world = World()
    world.query()
    world.add(1)
    world.add(2, "warning")
    first = world.look_up()
    assert sorted((i.port, i.weight) for i in first.pool.instances()) == [(1, 7), (2, 3)]
    stamp = first.pool.stamp
    world.set_status(1, "critical")
    assert not stamp.is_current
    assert world.ports() == [2]
    world.add(3)
    assert sorted(world.ports()) == [2, 3]


def test_a_check_that_is_ignored_leaves_the_weight_of_a_critical_instance_zero() -> None:
    world = World()
    world.query(ignored_checks=("c",))
    world.add(1, "critical")
    assert [i.weight for i in world.look_up().pool.instances()] == [0]


def test_another_definition_ends_the_answers_although_the_instances_stay() -> None:
    world = World()
    world.query()
    world.query("other", number=2)
    world.add(1)
    stamps = [world.look_up(name).pool.stamp for name in ("q", "other")]
    world.query("q", dns_ttl="9s")
    assert [stamp.is_current for stamp in stamps] == [False, False]
    assert world.look_up("other").pool.stamp.is_current


def test_an_answer_of_nobody_ends_with_its_definition_too() -> None:
    world = World()
    world.query()
    stamp = world.look_up().pool.stamp
    world.query(dns_ttl="9s")
    assert not stamp.is_current


def test_a_duration_that_a_peer_made_up_is_none() -> None:
    world = World()
    world.query(dns_ttl="soon")
    world.query("minus", number=2, dns_ttl="-5s")
    assert (world.look_up().ttl_s, world.look_up("minus").ttl_s) == (None, 0)


def test_an_answer_of_nobody_ends_when_the_service_comes() -> None:
    world = World()
    world.query()
    found = world.look_up()
    assert (len(found.pool), found.is_kept) == (0, True)
    stamp = found.pool.stamp
    world.add(1)
    assert not stamp.is_current
    assert world.ports() == [1]


def test_a_large_service_is_taken_up_in_slices() -> None:
    world = World()
    world.query()
    for number in range(1, 2 * SLICE_ROWS + 10):
        world.add(number)
    pool = world.look_up().pool
    assert (len(pool), pool.is_complete) == (SLICE_ROWS, False)
    for _ in range(2):
        pool = world.look_up().pool
    assert (len(pool), pool.is_complete) == (2 * SLICE_ROWS + 9, True)


def test_a_template_with_any_number_of_tags_keeps_a_bounded_number_of_pools() -> None:
    world = World()
    world.query("t-", template_type="name_prefix_match", service="web", tags=("t${name.suffix}",))
    world.add(1)
    stamp = world.look_up("t-1").pool.stamp
    for number in range(2, SELECTIONS_MAX + 2):
        world.look_up(f"t-{number}")
    assert not stamp.is_current
    assert world.ports("t-1") == [1]


def test_near_a_node_the_nearest_come_first_and_change_with_where_they_are() -> None:
    world = World()
    world.query(near="node2")
    for number, at in ((1, 0.1), (2, 0.2), (3, 0.25), (4, 0.9)):
        world.add(number, at=at)
    assert world.ports() == [2, 3, 1, 4]
    assert not world.look_up().is_kept
    assert world.look_up().pool.is_ordered
    world.add(4, at=0.21)
    assert world.ports() == [2, 4, 3, 1]


def test_near_the_agent_and_near_the_client() -> None:
    world = World()
    world.query(near="_agent")
    world.query("ip", number=2, near="_ip")
    for number in (1, 2, 3):
        world.add(number)
    assert {world.ports()[0] for _ in range(20)} == {1}
    assert {world.ports("ip", client="10.0.0.3")[0] for _ in range(20)} == {3}
    # Nobody knows where this client is: in random order, as always.
    assert not world.look_up("ip", client="10.9.9.9").pool.is_ordered


def test_places_that_nobody_knows_are_in_random_order_behind_the_node_itself() -> None:
    world = World()
    world.query(near="node1")
    for number in (1, 2, 3):
        world.add(number)
    orders = {tuple(world.ports()) for _ in range(60)}
    assert orders == {(1, 2, 3), (1, 3, 2)}


def test_of_very_many_instances_the_nearest_are_found_query_by_query() -> None:
    world = World()
    world.query(near="node700")
    for number in range(1, 1001):
        world.add(number, at=number / 1000)
    for _ in range(1000 // SLICE_ROWS + 1000 // SLICE_NODES + 2):
        ports = world.ports()
    assert ports[0] == 700
    assert sorted(ports[1:5]) == [698, 699, 701, 702]
    assert len(ports) == INSTANCES_MAX
    world.set_status(699, "critical")
    assert sorted(world.ports()[1:4]) == [698, 701, 702]


def test_very_many_instances_near_to_nobody_knows_where_are_all_answered_first_in_turn() -> None:
    world = World()
    world.query(near="nowhere")
    for number in range(1, INSTANCES_MAX + 100):
        world.add(number)
    for _ in range(INSTANCES_MAX // SLICE_ROWS + 2):
        world.ports()
    assert len({world.ports()[0] for _ in range(200)}) > 100


def test_with_nobody_here_others_are_asked() -> None:
    async def work() -> None:
        world = World()
        world.query(nearest_n=1, dns_ttl="5s")
        world.add(1, "critical")
        found = world.directory.prepared_query("q", None, "")
        assert isinstance(found, AskOthers)
        nobody = await found.ask()
        assert nobody is not None
        assert (len(nobody.pool), nobody.is_kept) == (0, False)
        there = World()
        there.add(9)
        rows = there.view.service("web")
        world.elsewhere.outcome = Outcome(query_record(), "DC2", rows, 1)
        answer = await found.ask()
        assert answer is not None
        assert (answer.datacenter, answer.ttl_s, answer.is_kept) == ("dc2", 5, False)
        assert [i.port for i in answer.pool.instances()] == [9]
        world.set_status(1, "passing")
        assert world.ports() == [1]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("failure", "is_nobody"),
    [(QueryNotFoundError(), True), (NoPathError(), True), (UnreachableError(), False)],
)
def test_a_query_of_another_data_center_that_is_not_there_or_not_reached(
    failure: Exception, is_nobody: bool
) -> None:
    async def work() -> None:
        world = World()
        world.elsewhere.failure = failure
        found = world.directory.prepared_query("q", "dc2", "192.0.2.9")
        assert isinstance(found, AskOthers)
        answer = await found.ask()
        assert world.elsewhere.asked == [("dc2", "q", "192.0.2.9")]
        assert (answer is not None) is is_nobody

    asyncio.run(work())


def test_our_own_data_center_may_be_named() -> None:
    world = World()
    world.query()
    world.add(1)
    assert isinstance(world.directory.prepared_query("q", "dc1", ""), QueryAnswer)
