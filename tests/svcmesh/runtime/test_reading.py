"""Reads share rounds, and none trusts a round that began before it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from svcmesh.consensus.service import NoLeaderError
from svcmesh.runtime import reading
from svcmesh.runtime.reading import ReadRounds


class Rounds:
    """Rounds that end when the test says so."""

    def __init__(self, *, is_leader: bool = True) -> None:
        self.begun: list[asyncio.Future[None]] = []
        self.has_leader = True
        self.reads = ReadRounds(self._begin, lambda: is_leader)

    def _begin(self) -> "asyncio.Future[None]":
        if not self.has_leader:
            raise NoLeaderError
        self.begun.append(asyncio.get_running_loop().create_future())
        return self.begun[-1]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_reads_of_one_turn_share_a_round() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        waiting = [rounds.reads.join() for _ in range(3)]
        await turns()
        assert len(rounds.begun) == 1
        rounds.begun[0].set_result(None)
        await asyncio.gather(*waiting)

    run(scenario)


def test_a_read_that_comes_during_a_round_waits_for_the_next() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        first = rounds.reads.join()
        await turns()
        second = rounds.reads.join()
        await turns()
        assert len(rounds.begun) == 1
        rounds.begun[0].set_result(None)
        await turns()
        assert first.done()
        assert not second.done()
        rounds.begun[1].set_result(None)
        await second

    run(scenario)


def test_a_round_that_fails_fails_its_reads_and_not_the_next_ones() -> None:
    async def scenario() -> None:
        rounds = Rounds()
        first = rounds.reads.join()
        await turns()
        second = rounds.reads.join()
        rounds.begun[0].set_exception(NoLeaderError())
        await turns()
        assert isinstance(first.exception(), NoLeaderError)
        rounds.begun[1].set_result(None)
        await second
        rounds.has_leader = False
        third = rounds.reads.join()
        await turns()
        assert isinstance(third.exception(), NoLeaderError)

    run(scenario)


def test_a_follower_does_not_wait_long(monkeypatch: Any) -> None:  # noqa: ANN401 -- pytest's
    monkeypatch.setattr(reading, "FOLLOWER_TIMEOUT_S", 0.01)

    async def scenario() -> None:
        rounds = Rounds(is_leader=False)
        waiting = rounds.reads.join()
        await asyncio.wait([waiting], timeout=5)
        assert isinstance(waiting.exception(), NoLeaderError)

    run(scenario)
