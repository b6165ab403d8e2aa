"""Hybrid logical clock: physical milliseconds with a counter for what the clock cannot order.

Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots" (2014). A reading is one
integer, milliseconds << 16 | counter, so readings compare as they are.
"""

from statistics import median

COUNTER_BITS = 16
READING_MAX = 2**63 - 1
PEERS_MAX = 64


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


class PeerClocks:
    """How far our wall clock is off those of the peers heard of lately, one sample each."""

    def __init__(self) -> None:
        self._drift_ms: dict[str, int] = {}

    def note(self, peer: str, *, theirs_ms: int, ours_ms: int) -> None:
        """Take in what a peer's clock showed."""
        self._drift_ms.pop(peer, None)
        if len(self._drift_ms) == PEERS_MAX:
            del self._drift_ms[next(iter(self._drift_ms))]
        self._drift_ms[peer] = ours_ms - theirs_ms

    @property
    def drift_s(self) -> float:
        """Ours against the median of the peers'; positive: ours is ahead."""
        return median(self._drift_ms.values()) / 1000 if self._drift_ms else 0.0
