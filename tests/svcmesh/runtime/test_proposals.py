"""Whoever proposes is answered once: with the result, or with what is known of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from svcmesh.consensus.raft import Entry, EntryKind, LogIndex, ServerId, Term
from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError
from svcmesh.runtime import proposals as module
from svcmesh.runtime.proposals import Outcome, Proposals

LEADER = ServerId("leader")


def run(scenario: Callable[[Proposals], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        proposals = Proposals()
        await scenario(proposals)
        proposals.close("the test is over")

    asyncio.run(main())


def entry(index: int, term: int) -> Entry:
    return Entry(LogIndex(index), Term(term), EntryKind.COMMAND, b"")


def logged(proposals: Proposals, *commands: bytes) -> list[Outcome]:
    """Commands that stand in the log from 10 on, of term 3."""
    for command in commands:
        proposals.add(command)
    taken, outcomes = proposals.take_new()
    assert taken == list(commands)
    proposals.note_logged(outcomes, first=LogIndex(10), term=Term(3))
    return outcomes


def test_only_the_first_of_a_turn_has_to_see_to_the_log() -> None:
    async def scenario(proposals: Proposals) -> None:
        assert [proposals.add(b"a")[1], proposals.add(b"b")[1]] == [True, False]
        assert proposals.take_new()[0] == [b"a", b"b"]
        assert proposals.take_new()[0] == []
        assert proposals.add(b"c")[1]

    run(scenario)


def test_the_result_is_of_the_own_entry() -> None:
    async def scenario(proposals: Proposals) -> None:
        one, other = logged(proposals, b"a", b"b")
        proposals.note_applied(entry(11, 3), "of b", leader=LEADER)
        assert (one.done(), other.result()) == (False, "of b")

    run(scenario)


def test_a_place_that_another_leader_has_taken_is_no_result() -> None:
    async def scenario(proposals: Proposals) -> None:
        (outcome,) = logged(proposals, b"a")
        proposals.note_applied(entry(10, 4), "of another", leader=LEADER)
        with pytest.raises(NoLeaderError):
            outcome.result()

    run(scenario)


def test_somebody_who_has_given_up_is_no_trouble() -> None:
    async def scenario(proposals: Proposals) -> None:
        one, other = logged(proposals, b"a", b"b")
        one.cancel()
        proposals.note_applied(entry(10, 3), None, leader=LEADER)
        other.cancel()
        proposals.fail_logged("lost")

    run(scenario)


def test_when_it_is_over_who_was_not_logged_knows_that_nothing_happened() -> None:
    async def scenario(proposals: Proposals) -> None:
        (unknown,) = logged(proposals, b"a")
        refused, _ = proposals.add(b"b")
        proposals.close("stopped")
        with pytest.raises(OutcomeUnknownError, match="stopped"):
            unknown.result()
        with pytest.raises(NoLeaderError):
            refused.result()

    run(scenario)


def test_one_that_waits_too_long_is_answered_and_later_ones_in_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PROPOSAL_TIMEOUT_S", 0.01)

    async def scenario(proposals: Proposals) -> None:
        for command in (b"a", b"b"):
            (outcome,) = logged(proposals, command)
            async with asyncio.timeout(60):
                with pytest.raises(OutcomeUnknownError, match="no majority"):
                    await outcome

    run(scenario)
