"""Joining: from the targets an operator gives to the outcome of each exchange (8.7)."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from gossip.driver.sockets import AddressFamily
from gossip.driver.targets import TargetError, resolve_target
from gossip.swim.effects import PushPullFinished
from gossip.types import Address

STAGGER_S: Final = 0.5
"""An address is dialled when the one before it is done, or has been silent for this long."""
ERROR_CHARACTERS_MAX: Final = 512
T = TypeVar("T")
_ABORTED: Final = "this member was closed"

Failure = tuple[str, str]
"""The IP that was dialled, or the target if it gave none, and why."""


@dataclass(frozen=True, slots=True)
class JoinResult:
    """What came of one `join`."""

    contacted: int
    """Addresses whose member exchanged its state with us."""
    errors: tuple[Failure, ...]


class Joins:
    """The joins under way. `open_stream` has the machine ask for one exchange, and gives its id.

    Invariant: `_pending` has exactly the exchanges that somebody waits for.
    """

    def __init__(
        self,
        open_stream: Callable[[Address, bool], int],
        family: AddressFamily,
        *,
        default_port: int,
        lookup_timeout_s: float,
    ) -> None:
        self._open_stream, self._family = open_stream, family
        self._default_port, self._lookup_timeout_s = default_port, lookup_timeout_s
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, asyncio.Future[str | None]] = {}
        self._details: dict[int, str] = {}
        self._is_aborted = False

    async def join(self, targets: Sequence[str], *, replay: bool) -> JoinResult:
        """Exchange state with every address of every target.

        In order, because what one member told is passed on to the next; members that were joined
        at the same moment would learn of each other only by rumors or the next periodic exchange.

        Raises:
            StateError: As `open_stream` does.
        """
        results = await _staggered([self._join_target(target, replay=replay) for target in targets])
        errors = tuple(failure for _, failures in results for failure in failures)
        return JoinResult(sum(contacted for contacted, _ in results), errors)

    def note_failure(self, stream_id: int, text: str) -> None:
        """Keep an operator's words for a failure that the machine will report in its own."""
        if stream_id in self._pending:
            self._details[stream_id] = text

    def finish(self, outcome: PushPullFinished) -> None:
        """The machine is done with an exchange, perhaps one of ours."""
        detail = self._details.pop(outcome.stream_id, outcome.error)
        waiting = self._pending.get(outcome.stream_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(None if detail is None else _printable(detail))

    def abort(self) -> None:
        """No exchange will be begun or finished any more."""
        self._is_aborted = True
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_result(_ABORTED)

    async def _join_target(self, target: str, *, replay: bool) -> tuple[int, list[Failure]]:
        try:
            addresses = await resolve_target(
                target,
                default_port=self._default_port,
                family=self._family,
                timeout_s=self._lookup_timeout_s,
            )
        except TargetError as error:
            return 0, [(target, str(error))]
        outcomes = await _staggered([self._join_address(to, replay=replay) for to in addresses])
        failures = [
            (to.host, why) for to, why in zip(addresses, outcomes, strict=True) if why is not None
        ]
        return len(addresses) - len(failures), failures

    async def _join_address(self, to: Address, *, replay: bool) -> str | None:
        """Exchange state with one address; None, or why that failed."""
        if self._is_aborted:
            return _ABORTED
        stream_id = self._open_stream(to, replay)
        waiting: asyncio.Future[str | None] = self._loop.create_future()
        self._pending[stream_id] = waiting
        try:
            return await waiting
        finally:
            del self._pending[stream_id]


def _printable(text: str) -> str:
    """An error's text, parts of which may be a stranger's, fit for logs and terminals."""
    return "".join(c if c.isprintable() else "?" for c in text[:ERROR_CHARACTERS_MAX])


async def _staggered(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run works one after the other, except that a slow one does not hold up the next."""
    tasks: list[asyncio.Task[T]] = []
    try:
        for work in works:
            tasks.append(asyncio.create_task(work))
            await asyncio.wait(tasks[-1:], timeout=STAGGER_S)
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        for work in works[len(tasks) :]:
            work.close()
