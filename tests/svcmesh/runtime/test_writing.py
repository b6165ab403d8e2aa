"""Writes travel together, and each gets its own answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgpack
import pytest

from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError
from svcmesh.consensus.store import CommandKind
from svcmesh.errors import DecodeError
from svcmesh.runtime import writing
from svcmesh.runtime.writing import PackedWrite, WriteBatches, unpack_write_untrusted, verdict_of


class Leader:
    """Answers every write with its own key, or as told."""

    def __init__(self, answer: Callable[[str], Any] = lambda key: ["ok", key]) -> None:
        self.batches: list[int] = []
        self._answer = answer

    async def take(self, writes: list[PackedWrite]) -> list[Any]:
        self.batches.append(len(writes))
        await asyncio.sleep(0)
        keys = [unpack_write_untrusted(packed)[1][0] for packed in writes]
        return [answer for key in keys if (answer := self._answer(key)) is not None]

    def batches_of(self) -> WriteBatches:
        return WriteBatches(self.take, lambda _, __: False)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def add(batches: WriteBatches, key: str, value: bytes = b"v") -> "asyncio.Future[list[Any]]":
    return batches.add(CommandKind.SET, [key, value, 0])


def test_writes_of_one_turn_go_together_and_get_their_own_answers() -> None:
    async def scenario() -> None:
        leader = Leader()
        batches = leader.batches_of()
        answers = await asyncio.gather(*(add(batches, f"k{n}") for n in range(5)))
        assert answers == [["ok", f"k{n}"] for n in range(5)]
        await add(batches, "later")
        assert leader.batches == [5, 1]

    run(scenario)


def test_a_batch_is_bounded_in_number_and_bytes() -> None:
    async def scenario() -> None:
        leader = Leader()
        batches = leader.batches_of()
        await asyncio.gather(*(add(batches, f"k{n}") for n in range(600)))
        assert leader.batches == [512, 88]
        leader.batches.clear()
        half = bytes(writing.BATCH_BYTES_MAX // 2)
        await asyncio.gather(*(add(batches, f"k{n}", half) for n in range(3)))
        assert leader.batches == [1, 1, 1]

    run(scenario)


def test_each_write_has_its_own_verdict() -> None:
    verdicts: dict[str, Any] = {
        "good": ["ok", True],
        "bad": ["error", "too large"],
        "nobody": ["no-leader", ""],
        "lost": ["outcome-unknown", "leadership was lost"],
        "odd": 5,
    }

    async def scenario() -> None:
        batches = Leader(verdicts.get).batches_of()
        waiting = {key: add(batches, key) for key in [*verdicts, "missing"]}
        await asyncio.wait(waiting.values())
        assert waiting["good"].result() == ["ok", True]
        assert waiting["bad"].result() == ["error", "too large"]
        assert isinstance(waiting["nobody"].exception(), NoLeaderError)
        # What has no verdict may have happened.
        for key in ("lost", "odd", "missing"):
            assert isinstance(waiting[key].exception(), OutcomeUnknownError), key

    run(scenario)


def test_a_batch_that_fails_fails_all_of_its_writes() -> None:
    async def refuse(_: list[PackedWrite]) -> list[Any]:
        raise NoLeaderError

    async def scenario() -> None:
        batches = WriteBatches(refuse, lambda _, __: False)
        waiting = [add(batches, key) for key in "ab"]
        await asyncio.wait(waiting)
        assert all(isinstance(each.exception(), NoLeaderError) for each in waiting)

    run(scenario)


def test_a_write_that_nobody_waits_for_any_more_leaves_the_others_theirs() -> None:
    async def scenario() -> None:
        batches = Leader().batches_of()
        gone, other = add(batches, "a"), add(batches, "b")
        gone.cancel()
        assert await other == ["ok", "b"]

    run(scenario)


def test_a_batch_needs_no_task_where_the_leader_can_be_called_directly() -> None:
    begun: list[Callable[[Any], None]] = []

    def begin(writes: list[PackedWrite], done: Callable[[Any], None]) -> bool:
        begun.append(done)
        return True

    async def scenario() -> None:
        leader = Leader()
        batches = WriteBatches(leader.take, begin)
        answers: list[Any] = []
        for key in "ab":
            batches.begin(CommandKind.SET, [key, b"", 0], answers.append)
        await asyncio.sleep(0)
        assert not answers
        begun[0]([["ok", True], ["no-leader", ""]])
        assert answers[0] == ["ok", True]
        assert isinstance(answers[1], NoLeaderError)
        assert leader.batches == []

    run(scenario)


@pytest.mark.parametrize(
    "packed",
    [
        7,
        b"",
        b"\xc1",
        msgpack.packb(["kv.set"]),
        msgpack.packb(["no.such", []]),
        msgpack.packb(["kv.set", "body"]),
        msgpack.packb([["kv.set"], []]),
    ],
)
def test_what_is_no_write_is_refused(packed: object) -> None:
    with pytest.raises(DecodeError):
        unpack_write_untrusted(packed)


def test_outcomes_travel_as_verdicts() -> None:
    assert verdict_of(["ok", 1]) == ["ok", 1]
    assert verdict_of(NoLeaderError())[0] == "no-leader"
    assert verdict_of(OutcomeUnknownError("lost")) == ["outcome-unknown", "lost"]
    with pytest.raises(ZeroDivisionError):
        verdict_of(ZeroDivisionError())
