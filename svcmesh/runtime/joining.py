"""Joining in the background: the addresses an operator gave, and those of the last run."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

logger = logging.getLogger("agent.join")

Join = Callable[[Sequence[str]], Awaitable[int]]
"""Joins by any of these addresses: the number of members reached, 0 for none."""


class RetriesExhaustedError(Exception):
    """`retry_max` attempts have failed."""


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
