"""Log lines that strangers can provoke: each once in a while, a bounded number of them."""

import logging
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("rpc")

REPEAT_S: Final = 60.0
KEYS_MAX: Final = 256
"""Remembered; beyond it all are forgotten, so a line may come early, and never memory late."""


LINES_MAX: Final = 60
"""In `REPEAT_S`, whatever they are about: addresses are cheap. The others are counted."""


class Remarks:
    """Warnings by what they are about; one is written again after a minute, with a count.

    `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}
        self._began_at = -REPEAT_S
        self._lines = self._left_out = 0
        """Since then."""

    def warn(self, who: str, reason: str, text: str) -> None:
        """Say `text`, unless that was said about `who` for the same reason just now."""
        now, key = self._clock(), (who, reason)
        if now - self._said.get(key, -REPEAT_S) < REPEAT_S:
            self._unsaid[key] = self._unsaid.get(key, 0) + 1
            return
        if now - self._began_at >= REPEAT_S:
            if self._left_out:
                logger.warning("%d more warnings like these were left out", self._left_out)
            self._began_at, self._lines, self._left_out = now, 0, 0
        if self._lines >= LINES_MAX:
            self._left_out += 1
            return
        self._lines += 1
        if len(self._said) >= KEYS_MAX:
            self._said.clear()
            self._unsaid.clear()
        self._said[key] = now
        more = self._unsaid.pop(key, 0)
        logger.warning("%s%s", text, f" ({more} more times since)" if more else "")
