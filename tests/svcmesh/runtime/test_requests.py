"""Writes by request id: once, whoever asks and however often."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from svcmesh.rpc import RpcError
from svcmesh.runtime import requests
from svcmesh.runtime.requests import FORGOTTEN, VOID, RequestMemory

LONG_AGO_S = requests.TRANSIT_S + 1.0


class Clock:
    """The loop's clock, set forward by the tests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, patch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        real = loop.time
        patch.setattr(loop, "time", lambda: real() + self.ahead_s)


Scenario = Callable[[RequestMemory, Clock], Coroutine[None, None, None]]


def run(scenario: Scenario, patch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        clock = Clock(asyncio.get_running_loop(), patch)
        memory = RequestMemory()
        clock.ahead_s += LONG_AGO_S + 1.0
        await scenario(memory, clock)
        await memory.close()

    asyncio.run(main())


class Work:
    """Something that must happen once."""

    def __init__(self) -> None:
        self.times = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> object:
        self.times += 1
        await self.may_end.wait()
        return ["done", self.times]


def test_a_request_that_comes_twice_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(memory: RequestMemory, _: Clock) -> None:
        work = Work()
        first = await memory.run(b"id", work)
        assert await memory.run(b"id", work) == first == ["done", 1]

    run(scenario, monkeypatch)


def test_what_is_under_way_is_waited_for_and_goes_on_when_its_caller_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(memory: RequestMemory, _: Clock) -> None:
        work = Work()
        work.may_end.clear()
        caller = asyncio.create_task(memory.run(b"id", work))
        await asyncio.sleep(0)
        caller.cancel()
        settling = asyncio.create_task(memory.settle(b"id", age_s=0.0))
        await asyncio.sleep(0)
        work.may_end.set()
        assert await settling == ["done", 1]
        assert work.times == 1

    run(scenario, monkeypatch)


def test_settling_a_request_that_never_came_keeps_it_from_being_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(memory: RequestMemory, _: Clock) -> None:
        work = Work()
        with pytest.raises(RpcError) as settled:
            await memory.settle(b"id", age_s=0.1)
        with pytest.raises(RpcError) as late:
            await memory.run(b"id", work)
        assert (settled.value.code, late.value.code, work.times) == (VOID, VOID, 0)

    run(scenario, monkeypatch)


def test_an_error_is_an_outcome_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(memory: RequestMemory, _: Clock) -> None:
        async def refuse() -> object:
            raise RpcError("refused", "no")

        for ask in (memory.run(b"id", refuse), memory.settle(b"id", age_s=0.0)):
            with pytest.raises(RpcError) as refused:
                await ask
            assert refused.value.code == "refused"

    run(scenario, monkeypatch)


def test_a_server_that_has_just_started_cannot_say_what_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(memory: RequestMemory, _: Clock) -> None:
        with pytest.raises(RpcError) as settled:
            await RequestMemory().settle(b"id", age_s=0.0)
        assert settled.value.code == FORGOTTEN

    run(scenario, monkeypatch)


def test_outcomes_are_forgotten_after_a_minute_and_nothing_is_said_of_that_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(memory: RequestMemory, clock: Clock) -> None:
        work = Work()
        await memory.run(b"id", work)
        clock.ahead_s += requests.REMEMBER_S - 1.0
        assert await memory.settle(b"id", age_s=59.0) == ["done", 1]
        clock.ahead_s += 2.0
        with pytest.raises(RpcError) as settled:
            await memory.settle(b"id", age_s=61.0)
        assert settled.value.code == FORGOTTEN
        with pytest.raises(RpcError) as recent:
            await memory.settle(b"other", age_s=1.0)
        assert recent.value.code == VOID

    run(scenario, monkeypatch)


def test_what_is_remembered_is_bounded_in_number_and_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(memory: RequestMemory, clock: Clock) -> None:
        monkeypatch.setattr(requests, "REQUESTS_MAX", 4)
        monkeypatch.setattr(requests, "ANSWER_BYTES_MAX", 250)

        async def hundred_bytes() -> object:
            return b"x" * 100

        for number in range(3):
            await memory.run(b"large %d" % number, hundred_bytes)
        await memory.run(b"next", hundred_bytes)
        with pytest.raises(RpcError) as forgotten:
            await memory.settle(b"large 0", age_s=0.0)
        assert forgotten.value.code == FORGOTTEN
        for number in range(20):
            await memory.run(b"%d" % number, Work())
        with pytest.raises(RpcError):
            await memory.settle(b"1", age_s=0.0)

    run(scenario, monkeypatch)
