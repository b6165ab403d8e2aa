"""Calls without a task on either side: the same answers, the same errors."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from svcmesh.errors import SvcmeshError
from svcmesh.rpc import Methods, RpcClosedError, RpcError, RpcPool, RpcServer, RpcTimeoutError
from svcmesh.rpc.serving import Reply, ServedCalls

Address = tuple[str, int]


class Callee:
    """Replies directly to what it is told to, and by a task to the rest."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.by_task: list[object] = []

    @property
    def methods(self) -> Methods:
        return Methods({"do": self.do}, {}, direct={"do": self.begin})

    def begin(self, body: Any, reply: Reply) -> bool:  # noqa: ANN401 -- what msgpack carries
        match body:
            case "now":
                reply("done")
            case "later":
                self.replies.append(reply)
            case "break":
                raise LookupError("a bug")
            case _:
                return False
        return True

    async def do(self, body: object, _: float) -> object:
        self.by_task.append(body)
        if body == "refuse":
            raise RpcError("no-leader", "nobody")
        return body


class Caller:
    """Calls, and collects what came of it."""

    def __init__(self, pool: RpcPool, to: Address) -> None:
        self.pool, self.to = pool, to
        self.ended: list[tuple[object, SvcmeshError | None]] = []
        self._changed = asyncio.Event()

    def begin(self, body: object, *, timeout_s: float = 5.0) -> bool:
        return self.pool.begin_call(self.to, "do", body, self._note, timeout_s=timeout_s)

    def _note(self, body: object, error: SvcmeshError | None) -> None:
        self.ended.append((body, error))
        self._changed.set()

    async def next(self) -> tuple[object, SvcmeshError | None]:
        while not self.ended:
            self._changed.clear()
            await self._changed.wait()
        return self.ended.pop(0)


def run(scenario: Callable[[Callee, Caller, RpcServer], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        callee = Callee()
        server = RpcServer(callee.methods)
        to = await server.start("127.0.0.1", 0)
        pool = RpcPool()
        try:
            async with asyncio.timeout(60):
                caller = Caller(pool, to)
                assert not caller.begin("now"), "there is no connection yet"
                await pool.call(to, "do", "now", timeout_s=5)
                await scenario(callee, caller, server)
        finally:
            await pool.close()
            await server.close()

    asyncio.run(main())


def test_a_direct_method_answers_now_or_later_or_leaves_it_to_a_task() -> None:
    async def scenario(callee: Callee, caller: Caller, _: RpcServer) -> None:
        for body in ("now", "later", "task"):
            assert caller.begin(body)
        assert [await caller.next(), await caller.next()] == [("done", None), ("task", None)]
        callee.replies[0]("at last")
        assert await caller.next() == ("at last", None)
        assert callee.by_task == ["task"]

    run(scenario)


@pytest.mark.parametrize(("body", "code"), [("refuse", "no-leader"), ("break", "internal")])
def test_errors_come_back_with_their_code(body: str, code: str) -> None:
    async def scenario(_: Callee, caller: Caller, __: RpcServer) -> None:
        caller.begin(body)
        _, error = await caller.next()
        assert isinstance(error, RpcError)
        assert error.code == code
        caller.begin("now")
        assert await caller.next() == ("done", None)

    run(scenario)


def test_without_an_answer_the_call_ends_with_its_time_or_its_connection() -> None:
    async def scenario(callee: Callee, caller: Caller, server: RpcServer) -> None:
        caller.begin("later", timeout_s=0.02)
        assert isinstance((await caller.next())[1], RpcTimeoutError)
        caller.begin("later")
        caller.begin("later")
        await caller.pool.call(caller.to, "do", "now", timeout_s=5)
        await server.close()
        for _ in range(2):
            assert isinstance((await caller.next())[1], RpcClosedError)
        for reply in callee.replies:
            reply("too late")
        assert not caller.ended

    run(scenario)


def test_a_peer_that_gives_many_calls_one_id_has_no_more_of_them_for_that() -> None:
    async def main() -> None:
        callee, counters, said = Callee(), Counter[str](), list[list[Any]]()

        def answer(frame: list[Any], *, at_once: bool = False) -> None:
            said.append(frame)

        served = ServedCalls(
            callee.methods, 2, counters=counters, answer=answer, on_ended=lambda: None
        )
        for _ in range(5):
            served.serve(1, "do", "later", 5.0)
        assert (len(served), len(callee.replies)) == (2, 2)
        assert [frame[2] for frame in said] == ["overloaded"] * 3
        assert counters == {"dropped.overloaded": 3}
        callee.replies[0]("done")
        assert len(served) == 1

    asyncio.run(main())


def test_a_method_that_fails_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(_: Callee, caller: Caller, server: RpcServer) -> None:
        caller.begin("break")
        await caller.next()
        assert server.counters["failed.call"] == 1

    run(scenario)
    assert "a call failed" in caplog.text
