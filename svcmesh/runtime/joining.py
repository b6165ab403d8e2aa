"""Joining a gossip pool: once, or in the background until somebody answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from gossip import Gossip
from svcmesh.errors import JoinError
from svcmesh.runtime.tasks import BackgroundTasks

logger = logging.getLogger("agent.join")

Join = Callable[[Sequence[str]], Awaitable[int]]
"""Joins by any of these addresses: the number of members reached, 0 for none."""


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
        what: str = "the cluster",
    ) -> None:
        """`replays`: joining by ourselves, we want the events that were missed meanwhile."""
        self._gossip, self._tasks, self._replays = gossip, tasks, replays
        self._what = what
        self._retrying: asyncio.Task[None] | None = None

    async def join(self, addresses: Sequence[str], *, is_start: bool = False) -> int:
        """Join by any of these addresses; the number of members reached.

        `is_start`: that belongs to starting, and nobody has asked for it since.

        Raises:
            JoinError: None was reached.
        """
        result = await self._gossip().join(addresses, replay=is_start and self._replays)
        if not result.contacted:
            # The form that Go's multierror gives them, and Consul's clients know.
            count = len(result.errors)
            lines = [f"{count} error{'s' if count > 1 else ''} occurred:"]
            lines += [f"\t* Failed to join {target}: {why}" for target, why in result.errors]
            raise JoinError("\n".join([*lines, "", ""]))
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
                self._try_join, addresses, interval_s=interval_s, attempts_max=attempts_max
            )
        except RetriesExhaustedError:
            on_exhausted()

    async def _try_join(self, addresses: Sequence[str]) -> int:
        try:
            return await self.join(addresses, is_start=True)
        except JoinError as error:
            logger.warning("%s", on_one_line(error))
            return 0


async def retry_join(
    join: Join, addresses: Sequence[str], *, interval_s: float, attempts_max: int
) -> None:
    """Try until somebody answers; `attempts_max` 0 means for ever.

    Within the first interval it is tried more often (`first_pauses_s`); that does not count.

    Raises:
        RetriesExhaustedError: Nobody answered in `attempts_max` attempts.
    """
    attempt, pauses_s = 1, first_pauses_s(interval_s)
    while not await join(addresses):
        if not pauses_s:
            attempt, pauses_s = attempt + 1, [interval_s]
        if attempts_max and attempt >= attempts_max:
            raise RetriesExhaustedError
        pause_s = pauses_s.pop(0)
        logger.warning("Join failed, will retry: in=%gs", pause_s)
        await asyncio.sleep(pause_s)
    logger.info("Join completed: attempt=%d", attempt + (not pauses_s))


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


def on_one_line(error: JoinError) -> str:
    """The reasons of a failed join, for the log."""
    return " ".join(str(error).split())
