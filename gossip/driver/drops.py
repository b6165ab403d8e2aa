"""Counting everything, and telling about drops without letting a flood write the log."""

import logging
from collections import Counter
from typing import Final

LOG_INTERVAL_S: Final = 10.0
"""At most one line about drops in this time, whatever arrives."""
_DETAIL_CHARACTERS_MAX: Final = 120

logger = logging.getLogger("gossip")


class DropLog:
    """Counts drops by reason and sums them up in a line now and then.

    The reasons are a fixed set, so the counters do not grow with what strangers send.
    """

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._since_line: Counter[str] = Counter()
        self._line_due_at = 0.0

    def record(self, reason: str, *, now: float, source: object, detail: str = "") -> None:
        """Count one drop; the line that may come of it describes this one as an example."""
        self._counters[f"dropped.{reason}"] += 1
        self._since_line[reason] += 1
        if now < self._line_due_at:
            return
        self._line_due_at = now + LOG_INTERVAL_S
        counts = ", ".join(f"{name}: {count}" for name, count in self._since_line.items())
        self._since_line.clear()
        # ascii(): names and texts are a stranger's bytes, not to be printed as they are.
        example = ascii(detail[:_DETAIL_CHARACTERS_MAX]) if detail else "no detail"
        logger.warning("dropped: %s (the last from %s, %s)", counts, source, example)
