"""Joining a gossip pool: once, or in the background until somebody answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from gossip import Gossip
from svcmesh.errors import JoinError, NobodyAnsweredError
from svcmesh.runtime.tasks import BackgroundTasks

logger = logging.getLogger("agent.join")

CLUSTER: Final = "the cluster"

Join = Callable[[Sequence[str]], Awaitable[object]]
"""Joins by any of these addresses, or raises `JoinError`."""


class RetriesExhaustedError(Exception):
    """`retry_max` attempts have failed."""


class Joiner:
    """Joins one pool: `gossip` gives its running member."""

    def __init__(
        self,
        gossip: Callable[[], Gossip],
        tasks: BackgroundTasks,
        *,
        replays: bool,
        what: str = CLUSTER,
    ) -> None:
        """`replays`: joining by ourselves, we want the events that were missed meanwhile."""
        self._gossip, self._tasks, self._replays = gossip, tasks, replays
        self._what = what
        self._retrying: asyncio.Task[None] | None = None

    async def join(self, addresses: Sequence[str], *, is_start: bool = False) -> int:
        """Join by any of these addresses; the number of members reached.

        `is_start`: that belongs to starting, and nobody has asked for it since.

        Raises:
            NobodyAnsweredError: None was reached.
        """
        result = await self._gossip().join(addresses, replay=is_start and self._replays)
        if not result.contacted:
            raise NobodyAnsweredError(result.errors)
        logger.info("joined %s: contacted=%d", self._what, result.contacted)
        return result.contacted

    def keep_trying(
        self,
        addresses: Sequence[str],
        *,
        interval_s: float,
        attempts_max: int,
        on_exhausted: Callable[[], None],
    ) -> None:
        """Join by these addresses in the background, in place of what was tried so far."""
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None
        if addresses:
            work = self._keep_trying(addresses, interval_s, attempts_max, on_exhausted)
            self._retrying = self._tasks.spawn(work)

    async def _keep_trying(
        self,
        addresses: Sequence[str],
        interval_s: float,
        attempts_max: int,
        on_exhausted: Callable[[], None],
    ) -> None:
        try:
            await retry_join(
                partial(self.join, is_start=True),
                addresses,
                what=self._what,
                interval_s=interval_s,
                attempts_max=attempts_max,
            )
        except RetriesExhaustedError:
            on_exhausted()


async def retry_join(
    join: Join,
    addresses: Sequence[str],
    *,
    what: str = CLUSTER,
    interval_s: float,
    attempts_max: int,
) -> None:
    """Try until somebody answers; `attempts_max` 0 means for ever.

    Within the first interval it is tried more often (`first_pauses_s`); that does not count.

    Raises:
        RetriesExhaustedError: Nobody answered in `attempts_max` attempts.
    """
    attempt, pauses_s = 1, first_pauses_s(interval_s)
    while True:
        try:
            await join(addresses)
            return
        except JoinError as error:
            why = error
        if not pauses_s:
            attempt, pauses_s = attempt + 1, [interval_s]
        if attempts_max and attempt >= attempts_max:
            logger.error("joining %s failed for the last time: %s", what, why)
            raise RetriesExhaustedError
        pause_s = pauses_s.pop(0)
        logger.warning("joining %s failed, next attempt in %gs: %s", what, pause_s, why)
        await asyncio.sleep(pause_s)


def first_pauses_s(interval_s: float) -> list[float]:
    """How the first interval is divided: 1, 2, 4 s and so on, then what is left of it.

    Differs from Consul, which waits for all of it: agents that are started together find nobody
    with their first attempt, and somebody a second later.
    """
    pauses_s: list[float] = []
    left_s, pause_s = interval_s, 1.0
    while left_s > 2 * pause_s:
        pauses_s.append(pause_s)
        left_s, pause_s = left_s - pause_s, 2 * pause_s
    return [*pauses_s, left_s]
