"""Times in which this process did not run: the operator is told, now and then."""

import logging
from typing import Final

logger = logging.getLogger("agent")

STALL_LOG_S: Final = 10.0
"""At most one line in this time; `svcmesh info` counts all of them."""


class StallLog:
    """The stalls of this process, as one pool notices them: the others notice the same."""

    def __init__(self) -> None:
        self._logged_at = -STALL_LOG_S

    def note(self, stalled_s: float, *, health_score: int, now: float) -> None:
        """Log a stall, unless one was logged just now."""
        if now - self._logged_at < STALL_LOG_S:
            return
        self._logged_at = now
        logger.warning(
            "this process did not run for %.2f s: nobody is accused for it (health score %d)",
            stalled_s,
            health_score,
        )
