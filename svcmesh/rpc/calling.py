"""Our calls on one connection: those without an answer, and what becomes of them.

How a call is sent is `connection.py`'s.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple

from svcmesh.errors import SvcmeshError
from svcmesh.rpc.errors import RpcClosedError, RpcRefusedError, RpcTimeoutError
from svcmesh.rpc.frames import Body

OVERDUE_S_MIN: Final = 0.01
"""Between two looks at whose deadline has passed; a call may be told so much later."""

Ended = Callable[[Body, SvcmeshError | None], None]
"""Takes the answer to a call of ours, or what `Connection.call` would have raised."""


class Callback:
    """In the place of a future: what comes of a call is told at once, and not in a later turn."""

    __slots__ = ("_ended", "_is_done")

    def __init__(self, ended: Ended) -> None:
        self._ended, self._is_done = ended, False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, body: Body) -> None:
        self._is_done = True
        self._ended(body, None)

    def set_exception(self, error: SvcmeshError) -> None:
        self._is_done = True
        self._ended(None, error)


Outcome = asyncio.Future[Body] | Callback


class _Waiting(NamedTuple):
    """A call without an answer yet."""

    outcome: Outcome
    ends_at: float
    method: str


class WaitingCalls:
    """At most `count_max` calls that wait; each is answered, fails or passes its deadline."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._loop = asyncio.get_running_loop()
        self._last_id = 0
        self._waiting: dict[int, _Waiting] = {}
        self._overdue: asyncio.TimerHandle | None = None
        """At the earliest deadline, or before it. One timer for all: nearly all are answered in
        time, and a timer each would cost a fifth of a call."""

    def __len__(self) -> int:
        return len(self._waiting)

    def new_id(self) -> int:
        """Number the next call.

        Raises:
            RpcRefusedError: Too many wait already.
        """
        if len(self._waiting) >= self._count_max:
            raise RpcRefusedError("too many calls wait for answers")
        self._last_id += 1
        return self._last_id

    def add(self, call_id: int, outcome: Outcome, method: str, timeout_s: float) -> None:
        """Wait for the answer to a call that has been sent, until `remove`."""
        ends_at = self._loop.time() + timeout_s
        self._waiting[call_id] = _Waiting(outcome, ends_at, method)
        if self._overdue is None or ends_at < self._overdue.when():
            self._look_for_overdue_at(ends_at)

    def remove(self, call_id: int) -> None:
        """Wait no longer, whatever became of it."""
        del self._waiting[call_id]

    def resolve(self, call_id: int, body: Body, error: SvcmeshError | None) -> bool:
        """Tell whoever made the call; False when it came after the deadline."""
        waiting = self._waiting.get(call_id)
        if waiting is None or waiting.outcome.done():
            return False
        if error is not None:
            waiting.outcome.set_exception(error)
        else:
            waiting.outcome.set_result(body)
        return True

    def close(self) -> None:
        """Tell everybody who still waits that the connection has ended."""
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        for waiting in list(self._waiting.values()):
            if not waiting.outcome.done():
                error = RpcClosedError("the connection ended before the answer")
                waiting.outcome.set_exception(error)

    def _look_for_overdue_at(self, at: float) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = self._loop.call_at(at, self._give_up_overdue)

    def _give_up_overdue(self) -> None:
        self._overdue = None
        now, next_at = self._loop.time(), inf
        for waiting in list(self._waiting.values()):
            if waiting.outcome.done():
                continue
            if waiting.ends_at <= now:
                text = f"{waiting.method}: no answer in time"
                waiting.outcome.set_exception(RpcTimeoutError(text))
            else:
                next_at = min(next_at, waiting.ends_at)
        if next_at < inf:
            self._look_for_overdue_at(max(next_at, now + OVERDUE_S_MIN))
