"""Log lines that strangers can provoke: each once in a while, a bounded number of them."""

import asyncio
import logging
from typing import Final

logger = logging.getLogger("rpc")

REPEAT_S: Final = 60.0
KEYS_MAX: Final = 256
"""Remembered; beyond it all are forgotten, so a line may come early, and never memory late."""


class Remarks:
    """Warnings by what they are about; one is written again after a minute, with a count."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._said: dict[tuple[str, str], float] = {}
        self._unsaid: dict[tuple[str, str], int] = {}

    def warn(self, who: str, reason: str, text: str) -> None:
        """Say `text`, unless that was said about `who` for the same reason just now."""
        now, key = self._loop.time(), (who, reason)
        if now - self._said.get(key, -REPEAT_S) < REPEAT_S:
            self._unsaid[key] = self._unsaid.get(key, 0) + 1
            return
        if len(self._said) >= KEYS_MAX:
            self._said.clear()
            self._unsaid.clear()
        self._said[key] = now
        more = self._unsaid.pop(key, 0)
        logger.warning("%s%s", text, f" ({more} more times since)" if more else "")
