"""Hybrid logical clock: physical milliseconds with a counter for what the clock cannot order.

Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots" (2014). A reading is one
integer, milliseconds << 16 | counter, so readings compare as they are.
"""

COUNTER_BITS = 16
READING_MAX = 2**63 - 1


class HybridClock:
    """Readings rise strictly, and above every reading witnessed."""

    def __init__(self) -> None:
        self._last = 0

    def tick(self, *, wall_ms: int) -> int:
        """A reading for a new write."""
        self._last = min(max(wall_ms << COUNTER_BITS, self._last + 1), READING_MAX)
        return self._last

    def witness(self, reading: int) -> None:
        """Stay above a reading of somebody else's; never refused, however far ahead it is."""
        self._last = min(max(self._last, reading), READING_MAX - 1)
