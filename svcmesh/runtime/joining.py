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

    Raises:
        RetriesExhaustedError: Nobody answered in `attempts_max` attempts.
    """
    attempt = 0
    while True:
        attempt += 1
        if await join(addresses):
            logger.info("Join completed: attempt=%d", attempt)
            return
        if attempts_max and attempt >= attempts_max:
            raise RetriesExhaustedError
        logger.warning("Join failed, will retry: retry_interval=%gs", interval_s)
        await asyncio.sleep(interval_s)


def on_one_line(error: JoinError) -> str:
    """The reasons of a failed join, for the log."""
    return " ".join(str(error).split())
