"""Queries that wait for one change: answered in slices, each once, with what is ready."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import pairwise

import pytest

from svcmesh.api import parking
from svcmesh.api.parking import WAKE_BATCH, Outcome, Parking, Question, Ready
from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import NodeRecord, ServiceRecord
from svcmesh.catalog.topics import Topic, service_topic
from svcmesh.catalog.view import CatalogView
from tests.svcmesh.api.fakes import FakeAgent
from tests.svcmesh.api.test_hot import Wire, head_lines, run

WEB = ("/v1/health/service/web", False)


class Client:
    """A connection that can be written to, or not."""

    def __init__(self, *, reads: bool = True) -> None:
        self.got: list[bytes] = []
        self._reads = reads

    def answer(self, response: bytes) -> bool:
        if self._reads:
            self.got.append(response)
        return self._reads


class Lot:
    """A parking lot in front of a real view; what is ready is set by the test."""

    def __init__(self) -> None:
        self.agent = FakeAgent()
        self.agent.change(ExternalNode("e"), NodeRecord(name="e", address="a", datacenter="dc1"))
        self.ready: Ready | None = None
        self.builds = False
        """Whether whoever goes on builds the answer."""
        self.parking = Parking(self._ready_for)

    def _ready_for(self, _: CatalogView, question: Question) -> Ready | None:
        return self.ready if question == WEB else None

    def change(self, service: str = "web") -> int:
        self.agent.change(ExternalNode("e"), ServiceRecord(id=service, name=service, port=1))
        return self.agent.view.index

    async def arrive(
        self, line: Client | None, *, question: Question = WEB, service: str = "web"
    ) -> "asyncio.Task[Outcome]":
        task = asyncio.create_task(self._wait(line, question, service))
        await asyncio.sleep(0)
        return task

    async def _wait(self, line: Client | None, question: Question, service: str) -> Outcome:
        outcome = await self.parking.wait(
            self.agent.view,
            (service_topic(service),),
            question,
            index=self.agent.view.index,
            line=line,
            deadline_at=asyncio.get_running_loop().time() + 30,
        )
        if outcome is Outcome.CHANGED and self.builds:
            self.ready = Ready(self.agent.view.index, b"news")
        return outcome


def with_lot(scenario: Callable[[Lot], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario(Lot())

    asyncio.run(main())


def test_one_builds_the_answer_and_all_others_get_its_bytes() -> None:
    async def scenario(lot: Lot) -> None:
        lot.builds = True
        clients = [Client() for _ in range(300)]
        first, *others = [await lot.arrive(client) for client in clients]
        lot.change()
        assert await first is Outcome.CHANGED
        assert set(await asyncio.gather(*others)) == {Outcome.ANSWERED}
        assert [client.got for client in clients] == [[], *[[b"news"]] * 299]

    with_lot(scenario)


def test_who_asked_for_something_else_waits_on() -> None:
    async def scenario(lot: Lot) -> None:
        web, db = Client(), Client()
        waits = await lot.arrive(web)
        waits_on = await lot.arrive(db, question=("/v1/health/service/db", False), service="db")
        lot.change("web")
        assert await waits is Outcome.CHANGED
        done, _ = await asyncio.wait([waits_on], timeout=0.02)
        assert not done
        waits_on.cancel()

    with_lot(scenario)


def test_an_answer_that_is_not_news_is_not_given() -> None:
    async def scenario(lot: Lot) -> None:
        client = Client()
        waiting = await lot.arrive(client)
        lot.ready = Ready(lot.agent.view.index, b"known")
        lot.change()
        assert await waiting is Outcome.CHANGED
        assert client.got == []

    with_lot(scenario)


def test_whose_connection_cannot_be_written_to_goes_on_by_itself() -> None:
    async def scenario(lot: Lot) -> None:
        waiting = [await lot.arrive(line) for line in (Client(reads=False), None, Client())]
        lot.ready = Ready(lot.change(), b"news")
        assert await asyncio.gather(*waiting) == [
            Outcome.CHANGED, Outcome.CHANGED, Outcome.ANSWERED,
        ]  # fmt: skip

    with_lot(scenario)


def test_without_an_answer_all_go_on() -> None:
    async def scenario(lot: Lot) -> None:
        waiting = [await lot.arrive(Client()) for _ in range(3)]
        lot.change()
        assert set(await asyncio.gather(*waiting)) == {Outcome.CHANGED}

    with_lot(scenario)


def test_who_hangs_up_first_leaves_the_answer_to_others() -> None:
    async def scenario(lot: Lot) -> None:
        gone, other = await lot.arrive(Client()), await lot.arrive(Client())
        lot.change()
        gone.cancel()
        assert await other is Outcome.CHANGED

    with_lot(scenario)


def test_whoever_was_answered_is_not_answered_again_when_its_time_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nobody's task goes on after an answer, until its time is over.
    monkeypatch.setattr(Parking, "_let_go", lambda _: None)

    async def scenario(lot: Lot) -> None:
        client = Client()
        waiting = asyncio.create_task(
            lot.parking.wait(
                lot.agent.view,
                (service_topic("web"),),
                WEB,
                index=lot.agent.view.index,
                line=client,
                deadline_at=asyncio.get_running_loop().time() + 0.05,
            )
        )
        await asyncio.sleep(0)
        lot.ready = Ready(lot.change(), b"news")
        assert await waiting is Outcome.ANSWERED
        assert client.got == [b"news"]

    with_lot(scenario)


def test_many_answers_are_written_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock on which each look takes a millisecond.
    readings = iter(number / 1000 for number in range(10**6))
    monkeypatch.setattr(parking, "perf_counter", readings.__next__)

    async def scenario(lot: Lot) -> None:
        clients = [Client() for _ in range(100)]
        waiting = [await lot.arrive(client) for client in clients]
        lot.ready = Ready(lot.change(), b"news")
        answered_by_turn = [0]
        while answered_by_turn[-1] < len(clients):
            await asyncio.sleep(0)
            answered_by_turn.append(sum(bool(client.got) for client in clients))
            # Nobody's task goes on before everybody has the answer.
            assert not any(task.done() for task in waiting)
        steps = [later - now for now, later in pairwise(answered_by_turn)]
        assert max(steps) <= 1 + parking.SLICE_S * 1000
        await asyncio.gather(*waiting)

    with_lot(scenario)


def test_tasks_go_on_in_batches() -> None:
    async def scenario(lot: Lot) -> None:
        topics: tuple[Topic, ...] = (service_topic("web"),)

        def watch(on_change: Callable[[], None]) -> Callable[[], object]:
            view = lot.agent.view
            return partial(view.cancel_watch, view.watch(topics, on_change))

        deadline_at = asyncio.get_running_loop().time() + 30
        waiting = [
            asyncio.create_task(lot.parking.next_call(watch, deadline_at))
            for _ in range(4 * WAKE_BATCH)
        ]
        await asyncio.sleep(0)
        lot.change()
        woken_by_turn = [0]
        while woken_by_turn[-1] < len(waiting):
            await asyncio.sleep(0)
            woken_by_turn.append(sum(task.done() for task in waiting))
        assert max(later - now for now, later in pairwise(woken_by_turn)) == WAKE_BATCH
        assert all(task.result() for task in waiting)

    with_lot(scenario)


def test_closing_lets_everybody_go() -> None:
    async def scenario(lot: Lot) -> None:
        waiting = [await lot.arrive(Client()) for _ in range(3)]
        lot.parking.close()
        assert set(await asyncio.gather(*waiting)) == {Outcome.CHANGED}

    with_lot(scenario)


def blocking(index: bytes) -> bytes:
    return b"GET /v1/catalog/service/web?index=%s&wait=30s HTTP/1.1\r\nHost: a\r\n\r\n" % index


def index_of(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    return next(line[16:] for line in lines if line.startswith(b"X-Consul-Index: "))


def test_a_connection_that_was_answered_while_it_waited_serves_on() -> None:
    async def scenario(wire: Wire) -> None:
        plain = b"GET /v1/catalog/service/web HTTP/1.1\r\nHost: a\r\n\r\n"
        head, _ = await wire.ask(plain)
        builder = await wire.second()
        for number in range(5):
            for each in (builder, wire):
                each.writer.write(blocking(index_of(head)))
                await each.other_connection_has_been_served()
            wire.register(f"more{number}")
            (built_head, built), (head, body) = await builder.read(), await wire.read()
            assert head_lines(head) == head_lines(built_head)
            assert body == built
            assert b"more%d" % number in body
        # What comes next is served, whether aiohttp has seen to the last request or not.
        assert (await wire.ask(plain))[1] == body
        assert (await wire.ask(b"GET /v1/status/peers HTTP/1.1\r\nHost: a\r\n\r\n"))[1] == b"[]"
        builder.writer.close()

    run(scenario)
