"""Proposals and what becomes of them: those of one turn of the loop together, each answered once.

Which entry a proposal stands in is known when the log has taken it; its result when that entry is
applied, if it is still the one that was proposed.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from svcmesh.consensus.raft import Entry, LogIndex, ServerId, Term
from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError
from svcmesh.errors import SvcmeshError

PROPOSAL_TIMEOUT_S: Final = 10.0
"""A proposal that is not applied so long is answered; it may still be."""

Outcome = asyncio.Future[object]


@dataclass(slots=True)
class _Logged:
    """A proposal that is in the log, and who waits for its result."""

    term: Term
    began_at: float
    outcome: Outcome


class Proposals:
    """Whoever waits for the result of a command. Every outcome is set once, or fails."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._new: list[tuple[bytes, Outcome]] = []
        self._logged: dict[LogIndex, _Logged] = {}
        """In the order of their age."""
        self._expiry: asyncio.TimerHandle | None = None

    def add(self, command: bytes) -> tuple[Outcome, bool]:
        """Note a proposal; its outcome, and whether it is the first since `take_new`."""
        outcome: Outcome = self._loop.create_future()
        self._new.append((command, outcome))
        return outcome, len(self._new) == 1

    def take_new(self) -> tuple[list[bytes], list[Outcome]]:
        """The commands that are to go into the log now, and who waits for each."""
        new, self._new = self._new, []
        return [command for command, _ in new], [outcome for _, outcome in new]

    def note_logged(self, outcomes: list[Outcome], *, first: LogIndex, term: Term) -> None:
        """They are in the log now, from `first` on."""
        now = self._loop.time()
        for position, outcome in enumerate(outcomes):
            self._logged[LogIndex(first + position)] = _Logged(term, now, outcome)
        if self._expiry is None:
            self._expiry = self._loop.call_later(PROPOSAL_TIMEOUT_S, self._expire)

    def note_applied(self, entry: Entry, result: object, *, leader: ServerId | None) -> None:
        """An entry is applied; `leader` is for whoever lost its place in the log."""
        proposal = self._logged.pop(entry.index, None)
        if proposal is None or proposal.outcome.done():
            return
        if proposal.term == entry.term:
            proposal.outcome.set_result(result)
        else:
            proposal.outcome.set_exception(NoLeaderError(leader))

    def fail_logged(self, why: str) -> None:
        """Answer those that are in the log: nobody here will learn what becomes of them."""
        for proposal in self._logged.values():
            _fail(proposal.outcome, OutcomeUnknownError(why))
        self._logged.clear()

    def close(self, why: str) -> None:
        """Answer everybody."""
        if self._expiry is not None:
            self._expiry.cancel()
        for _, outcome in self._new:
            _fail(outcome, NoLeaderError())
        self._new.clear()
        self.fail_logged(why)

    def _expire(self) -> None:
        """Answer those that have waited too long."""
        self._expiry = None
        now = self._loop.time()
        for index, proposal in list(self._logged.items()):
            ends_at = proposal.began_at + PROPOSAL_TIMEOUT_S
            if now < ends_at:
                self._expiry = self._loop.call_at(ends_at, self._expire)
                return
            del self._logged[index]
            _fail(
                proposal.outcome,
                OutcomeUnknownError(
                    "no majority of the servers has confirmed the write yet; it may still happen"
                ),
            )


def _fail(outcome: Outcome, error: SvcmeshError) -> None:
    if not outcome.done():
        outcome.set_exception(error)
