"""What becomes of questions when the leader is lost."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from svcmesh.consensus.service import NoLeaderError, QueryAnswer, StoreError
from svcmesh.consensus.store import CommandKind
from svcmesh.rpc import RpcError, RpcPool
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


def test_of_a_batch_with_a_write_that_cannot_be_read_nothing_is_done() -> None:
    async def main() -> None:
        proposed: list[bytes] = []
        leader = SimpleNamespace(is_leader=True, is_closed=False, propose_soon=proposed.append)
        service = StoreService(RpcPool(), list, rng=Random(1))
        service.consensus = leader  # type: ignore[assignment]  # as much of one as is asked
        good = msgpack.packb([CommandKind.SET.value, ["k", b"v", 0]])
        unknown = msgpack.packb(["kind of a later release", []])
        with pytest.raises(RpcError):
            await service.handle_writes([[good, unknown], 0], 1.0)
        assert proposed == []

    asyncio.run(main())


def test_an_answer_of_no_form_is_refused_in_words() -> None:
    async def main() -> None:
        service = StoreService(RpcPool(), list, rng=Random(1))

        async def answer(*_: object, **__: object) -> object:
            return ["not", "an answer"]

        service.passing.call = answer  # type: ignore[method-assign, assignment]  # instead of a server
        with pytest.raises(StoreError):
            await service.query("kv.get", "k")

    asyncio.run(main())
