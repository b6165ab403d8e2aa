"""Reads of the consistent store share their way to freshness.

What asks in one turn of the loop waits for one round with the other servers; what comes while that
is under way waits for the next, because an answer proves nothing about what was written later.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from svcmesh.consensus.service import NoLeaderError

LEADER_TIMEOUT_S: Final = 10.0
FOLLOWER_TIMEOUT_S: Final = 0.5
"""A follower that takes longer lags: then the leader is asked for the answer itself."""


class ReadRounds:
    """One kind of round. `begin` starts one; its future says that reads may be answered now."""

    def __init__(
        self, begin: Callable[[], "asyncio.Future[None]"], is_leader: Callable[[], bool]
    ) -> None:
        self._begin, self._is_leader = begin, is_leader
        self._loop = asyncio.get_running_loop()
        self._running: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    def join(self) -> "asyncio.Future[None]":
        """Done when what is applied includes everything acknowledged before the call.

        Others wait for the same future: whoever may be cancelled shields it. It fails with
        `NoLeaderError`.
        """
        if self._next is None:
            self._next = self._loop.create_future()
            if self._running is None:
                self._loop.call_soon(self._start)
        return self._next

    def _start(self) -> None:
        joined, self._next = self._next, None
        if joined is None:
            return
        self._running = joined
        try:
            confirmed = self._begin()
        except NoLeaderError as error:
            self._finish(joined, error)
            return
        timeout_s = LEADER_TIMEOUT_S if self._is_leader() else FOLLOWER_TIMEOUT_S
        timer = self._loop.call_later(timeout_s, _give_up, confirmed)

        def finish(confirmed: "asyncio.Future[None]") -> None:
            timer.cancel()
            self._finish(joined, confirmed.exception())

        confirmed.add_done_callback(finish)

    def _finish(self, joined: "asyncio.Future[None]", error: BaseException | None) -> None:
        self._running = None
        if not joined.done():
            if error is None:
                joined.set_result(None)
            else:
                joined.set_exception(error)
                # Nobody may be left to look at it.
                joined.exception()
        if self._next is not None:
            self._start()


def _give_up(confirmed: "asyncio.Future[None]") -> None:
    if not confirmed.done():
        confirmed.set_exception(NoLeaderError())
