"""What becomes of questions when the leader is lost."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from svcmesh.consensus.service import NoLeaderError, QueryAnswer
from svcmesh.rpc import RpcPool
from svcmesh.runtime import store as module
from svcmesh.runtime.store import StoreService


def run(scenario: Callable[[StoreService, list[float]], Coroutine[Any, Any, None]]) -> None:
    """With a service whose first two attempts find nobody; it notes the times left."""

    async def main() -> None:
        service = StoreService(RpcPool(), list, rng=Random(1))
        waits: list[float] = []

        async def serve(*_: object, wait_s: float, **__: object) -> QueryAnswer:
            waits.append(wait_s)
            if len(waits) <= 2:
                raise NoLeaderError
            return QueryAnswer(7, None)

        service.serve_query = serve  # type: ignore[method-assign, assignment]
        async with asyncio.timeout(60):
            await scenario(service, waits)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.0)


def test_a_question_that_has_waited_is_asked_again_of_the_next_leader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITED_S", 0.0)

    async def scenario(service: StoreService, waits: list[float]) -> None:
        answer = await service.query("kv.get", "k", index=5, wait_s=60.0)
        assert answer.index == 7
        assert len(waits) == 3
        # It waits no longer for all that.
        assert 60.0 >= waits[0] > waits[1] > waits[2]

    run(scenario)


def test_without_a_leader_from_the_start_that_is_said_at_once() -> None:
    async def scenario(service: StoreService, waits: list[float]) -> None:
        with pytest.raises(NoLeaderError):
            await service.query("kv.get", "k", index=5, wait_s=60.0)
        assert len(waits) == 1

    run(scenario)


@pytest.mark.parametrize(("index", "election_s"), [(0, 5.0), (5, 0.0)])
def test_a_plain_question_is_not_asked_again_and_no_question_for_ever(
    monkeypatch: pytest.MonkeyPatch, index: int, election_s: float
) -> None:
    monkeypatch.setattr(module, "WAITED_S", 0.0)
    monkeypatch.setattr(module, "ELECTION_S_MAX", election_s)

    async def scenario(service: StoreService, waits: list[float]) -> None:
        with pytest.raises(NoLeaderError):
            await service.query("kv.get", "k", index=index, wait_s=60.0)
        assert len(waits) == 1

    run(scenario)
