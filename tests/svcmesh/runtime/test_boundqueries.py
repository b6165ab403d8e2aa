"""Queries bound to sessions: who removes them, when, and when not."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from svcmesh.catalog.records import NodeId
from svcmesh.catalog.view import CatalogView
from svcmesh.consensus.service import NoLeaderError, QueryAnswer
from svcmesh.consensus.store import CommandKind, Session, Store, encode_command
from svcmesh.runtime import boundqueries
from svcmesh.runtime.boundqueries import BoundQueries
from tests.svcmesh.api.fakes import FakeRecords
from tests.svcmesh.queries.records import query_record

SESSION = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


@dataclass
class FakeConsensus:
    is_leader: bool = True


@dataclass
class FakeService:
    """A server's: `knows` are sessions that the cluster has and the state here not yet."""

    store: Store = field(default_factory=Store)
    consensus: FakeConsensus = field(default_factory=FakeConsensus)
    knows: set[str] = field(default_factory=set)
    failure: Exception | None = None

    async def query(self, name: str, session_id: str) -> QueryAnswer:
        assert name == "session.get"
        if self.failure is not None:
            raise self.failure
        has = session_id in self.knows or self.store.sessions.get(session_id) is not None
        return QueryAnswer(1, [session_id] if has else None)

    def apply(self, kind: CommandKind, body: list[Any]) -> None:
        index = self.store.index + 1
        verdict, value = self.store.apply(index, encode_command(kind, body, wall_ms=index))
        assert verdict != "error", value

    def begin_session(self) -> None:
        session = Session(SESSION, "", "n1", (), (), 0, "release", "")
        self.apply(CommandKind.SESSION_CREATE, session.pack())

    def end_session(self) -> None:
        self.apply(CommandKind.SESSION_DESTROY, [SESSION, True])


def run(work: Callable[[FakeService, FakeRecords], Awaitable[None]]) -> None:
    async def scenario() -> None:
        view = CatalogView(local_node_id=NodeId("a"), datacenter="dc1", index_start=1)
        service, records = FakeService(), FakeRecords(view)
        task = asyncio.create_task(BoundQueries(view, records, cast(Any, service)).run())
        await asyncio.sleep(0)
        try:
            await work(service, records)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundqueries, "LOOK_S", 0.0)


async def looks(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def names(records: FakeRecords) -> list[str]:
    return [row.record.name for row in records.view.queries]


def test_a_query_goes_with_its_session_in_the_same_turn_and_others_stay() -> None:
    async def work(service: FakeService, records: FakeRecords) -> None:
        service.begin_session()
        records.put_external("", query_record("bound", number=1, session=SESSION))
        records.put_external("", query_record("free", number=2))
        service.end_session()
        assert names(records) == ["free"]

    run(work)


def test_who_does_not_lead_removes_nothing_and_its_successor_does() -> None:
    async def work(service: FakeService, records: FakeRecords) -> None:
        service.consensus.is_leader = False
        service.begin_session()
        records.put_external("", query_record("bound", session=SESSION))
        service.end_session()
        await looks()
        assert names(records) == ["bound"]
        service.consensus.is_leader = True
        await looks()
        assert names(records) == []

    run(work)


def test_a_session_that_the_state_has_not_yet_is_asked_for_and_its_query_stays() -> None:
    async def work(service: FakeService, records: FakeRecords) -> None:
        service.knows.add(SESSION)
        records.put_external("", query_record("bound", session=SESSION))
        await looks()
        assert names(records) == ["bound"]
        service.knows.clear()
        await looks()
        assert names(records) == []

    run(work)


def test_without_a_quorum_queries_stay() -> None:
    async def work(service: FakeService, records: FakeRecords) -> None:
        service.failure = NoLeaderError()
        records.put_external("", query_record("bound", session=SESSION))
        await looks()
        assert names(records) == ["bound"]
        service.failure = None
        await looks()
        assert names(records) == []

    run(work)
