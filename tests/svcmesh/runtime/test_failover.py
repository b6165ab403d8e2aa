"""Prepared queries that fail over: whom is asked, in which order, and what comes of the answers."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import CheckRecord, NodeRecord, ServiceRecord
from svcmesh.datacenters import NoPathError, UnreachableError
from svcmesh.queries.execution import QueryNotFoundError
from svcmesh.queries.failover import Outcome
from svcmesh.rpc import RpcError
from svcmesh.runtime import failover
from svcmesh.runtime.failover import QueryFailover, QueryMethods
from tests.svcmesh.api.fakes import FakeAgent
from tests.svcmesh.queries.records import query_record

QUERY = query_record("q", nearest_n=1, datacenters=("dc3", "dc9", "DC2", "dc4"), near="_agent")


def add(agent: FakeAgent, name: str, service: str = "web") -> None:
    owner = ExternalNode(name)
    agent.change(owner, NodeRecord(name, "10.0.0.1", "dc2", meta={"k": "v"}))
    agent.change(owner, ServiceRecord(id=service, name=service, port=80, tags=("a",)))
    agent.change(owner, CheckRecord("c", "c", "passing", service_id=service))


class Datacenters:
    """Other data centers, each an agent's; how long they take and what fails is up to the test."""

    def __init__(self) -> None:
        self.agents: dict[str, FakeAgent] = {}
        self.failures: dict[str, Exception] = {}
        self.delays_s: dict[str, float] = {}
        self.order = ["dc1", "dc2", "dc3", "dc4"]
        self.calls: list[str] = []
        self.asked_for_order = 0

    def with_instance(self, name: str, node: str) -> None:
        self.agents[name] = agent = FakeAgent()
        add(agent, node)

    async def datacenters(self) -> list[str]:
        self.asked_for_order += 1
        return self.order

    async def call(
        self,
        datacenter: str,
        method: str,
        body: object,
        *,
        timeout_s: float,
        is_write: bool = False,
        waits_s: float = 0.0,
    ) -> Any:  # noqa: ANN401  # what msgpack carries
        assert not is_write
        self.calls.append(datacenter)
        await asyncio.sleep(self.delays_s.get(datacenter, 0.0))
        if datacenter in self.failures:
            raise self.failures[datacenter]
        agent = self.agents.get(datacenter) or FakeAgent()
        methods: Mapping[str, Callable[[Any, float], Awaitable[Any]]] = QueryMethods(
            agent.queries
        ).methods
        return await methods[method](body, timeout_s)


def found(outcome: Outcome | None) -> tuple[str, int, list[str]]:
    assert outcome is not None
    return outcome.datacenter, outcome.failovers, [row.node.name for row in outcome.rows]


def in_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def scenario() -> None:
        await work()

    asyncio.run(scenario())


def test_the_nearest_are_asked_first_then_those_that_are_named_and_known() -> None:
    async def work() -> None:
        world = Datacenters()
        world.with_instance("dc4", "far")
        subject = QueryFailover(lambda: world, world.datacenters)
        assert found(await subject.execute(QUERY, limit=0)) == ("dc4", 3, ["far"])
        assert world.calls == ["dc2", "dc3", "dc4"]

    in_loop(work)


def test_an_instance_comes_with_all_that_is_known_of_it() -> None:
    async def work() -> None:
        world = Datacenters()
        world.with_instance("dc2", "Near")
        subject = QueryFailover(lambda: world, world.datacenters)
        outcome = await subject.execute(QUERY, limit=0)
        assert outcome is not None
        assert outcome.query == QUERY
        (row,) = outcome.rows
        (original,) = world.agents["dc2"].view.service("web")
        assert (row.record, row.node.body) == (original.record, original.node.body)
        assert [check.record for check in row.checks] == [c.record for c in original.checks]
        assert row.modify_index == original.modify_index

    in_loop(work)


def test_one_that_fails_is_passed_over_and_counted() -> None:
    async def work() -> None:
        world = Datacenters()
        world.failures = {"dc2": UnreachableError(), "dc3": NoPathError()}
        world.with_instance("dc4", "far")
        subject = QueryFailover(lambda: world, world.datacenters)
        assert found(await subject.execute(QUERY, limit=0)) == ("dc4", 3, ["far"])

    in_loop(work)


def test_without_instances_anywhere_the_last_that_answers_is_named() -> None:
    async def work() -> None:
        world = Datacenters()
        world.failures = {"dc4": UnreachableError()}
        subject = QueryFailover(lambda: world, world.datacenters)
        assert found(await subject.execute(QUERY, limit=0)) == ("dc3", 3, [])
        world.failures = dict.fromkeys(world.order, UnreachableError())
        assert await subject.execute(QUERY, limit=0) is None

    in_loop(work)


def test_a_silent_one_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "PATIENCE_S", 0.01)

    async def work() -> None:
        world = Datacenters()
        world.delays_s["dc2"] = 3600.0
        world.with_instance("dc2", "never")
        world.with_instance("dc3", "next")
        subject = QueryFailover(lambda: world, world.datacenters)
        async with asyncio.timeout(60):
            assert found(await subject.execute(QUERY, limit=0)) == ("dc3", 2, ["next"])
        await subject.close()

    in_loop(work)


def test_many_that_ask_at_once_share_one_call_and_its_answer_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        world = Datacenters()
        world.with_instance("dc2", "near")
        subject = QueryFailover(lambda: world, world.datacenters)
        await asyncio.gather(*(subject.execute(QUERY, limit=0) for _ in range(100)))
        await subject.execute(QUERY, limit=0)
        assert world.calls == ["dc2"]
        await subject.execute(QUERY, limit=1)
        assert world.calls == ["dc2", "dc2"]
        monkeypatch.setattr(failover, "KEEP_S", -1.0)
        await subject.execute(QUERY, limit=0)
        assert Counter(world.calls) == {"dc2": 3}
        assert world.asked_for_order == 1

    in_loop(work)


def test_answers_are_not_kept_beyond_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "KEEP_S", 0.01)

    async def work() -> None:
        world = Datacenters()
        world.with_instance("dc2", "near")
        subject = QueryFailover(lambda: world, world.datacenters)
        of_others = outcomes()
        await subject.execute(QUERY, limit=0)
        async with asyncio.timeout(60):
            while len(outcomes()) > len(of_others):  # noqa: ASYNC110  # garbage has no event
                await asyncio.sleep(0.01)

    def outcomes() -> list[Outcome]:
        gc.collect()
        return [one for one in gc.get_objects() if isinstance(one, Outcome)]

    in_loop(work)


def test_that_nobody_is_there_is_not_remembered() -> None:
    async def work() -> None:
        world = Datacenters()
        subject = QueryFailover(lambda: world, world.datacenters)
        query = query_record("q", datacenters=("dc2",))
        assert found(await subject.execute(query, limit=0)) == ("dc2", 1, [])
        world.with_instance("dc2", "back")
        assert found(await subject.execute(query, limit=0)) == ("dc2", 1, ["back"])

    in_loop(work)


def test_a_client_that_hangs_up_does_not_end_it_for_the_others() -> None:
    async def work() -> None:
        world = Datacenters()
        world.with_instance("dc2", "near")
        world.delays_s["dc2"] = 0.05
        subject = QueryFailover(lambda: world, world.datacenters)
        first = asyncio.create_task(subject.execute(QUERY, limit=0))
        await asyncio.sleep(0)
        second = asyncio.create_task(subject.execute(QUERY, limit=0))
        await asyncio.sleep(0)
        first.cancel()
        assert found(await second) == ("dc2", 1, ["near"])

    in_loop(work)


def test_what_is_executed_elsewhere_does_not_fail_over_from_there() -> None:
    async def work() -> None:
        bodies: list[Any] = []

        class Recording(Datacenters):
            async def call(self, datacenter: str, method: str, body: Any, **_: Any) -> Any:  # noqa: ANN401
                bodies.append(failover.unpack_query_untrusted(body[0]))
                return []

        world = Recording()
        await QueryFailover(lambda: world, world.datacenters).execute(QUERY, limit=0)
        assert {(q.nearest_n, q.datacenters, q.near) for q in bodies} == {(0, None, "")}

    in_loop(work)


def test_a_query_of_another_data_center_is_executed_there() -> None:
    async def work() -> None:
        world = Datacenters()
        world.with_instance("dc2", "near")
        await world.agents["dc2"].queries.create(
            {"Name": "theirs", "Service": {"Service": "web"}, "DNS": {"TTL": "4s"}}
        )
        subject = QueryFailover(lambda: world, world.datacenters)
        outcome = await subject.execute_named("dc2", "theirs", client="10.0.0.1")
        assert [row.node.name for row in outcome.rows] == ["near"]
        assert (outcome.query.dns_ttl, outcome.failovers) == ("4s", 0)
        with pytest.raises(QueryNotFoundError):
            await subject.execute_named("dc2", "nope", client="10.0.0.1")

    in_loop(work)


@pytest.mark.parametrize("body", [None, [], ["x"], [["id", b"x"], 1], [1, 2, 3], ["q", 7, 0]])
def test_a_malformed_call_is_refused(body: object) -> None:
    async def work() -> None:
        for handle in QueryMethods(FakeAgent().queries).methods.values():
            with pytest.raises(RpcError) as caught:
                await handle(body, 1.0)
            assert caught.value.code == "refused"

    in_loop(work)


@pytest.mark.parametrize(
    "answer", [None, 7, [1], [[]], [["n", None, b"", [1, 2], "s", b"", [1, 2], []]]]
)
def test_an_answer_that_is_none_counts_as_none(answer: object) -> None:
    async def work() -> None:
        class Odd(Datacenters):
            async def call(self, datacenter: str, method: str, body: Any, **_: Any) -> Any:  # noqa: ANN401
                return answer

        world = Odd()
        assert await QueryFailover(lambda: world, world.datacenters).execute(QUERY, limit=0) is None

    in_loop(work)
