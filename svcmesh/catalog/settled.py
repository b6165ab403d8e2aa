"""Differences that no exchange can end, so that they are not gone over once a second.

Who joins after a member failed never hears of that member, and so neither takes nor shows its
records, which the others keep until it is reaped. Two fingerprints whose comparison led to nothing
twice running are settled for a while: were anything missing, one of them would have changed.
"""

from dataclasses import dataclass
from typing import Final

SETTLED_S: Final = 300.0
"""Afterwards it is looked into again: a question may have been lost twice."""

PAIRS_MAX: Final = 64
SHOWN_MAX: Final = 4
"""Fingerprints named in one comparison."""


@dataclass(slots=True)
class _Pair:
    times: int
    noted_at: float


class SettledDifferences:
    """Pairs of fingerprints, ours and a peer's, that were compared in vain; the latest ones."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[int, int], _Pair] = {}

    def note(self, ours: int, theirs: int, *, now: float) -> None:
        """Take in that a comparison of these two found nothing that we lack."""
        old = self._pairs.pop((ours, theirs), None)
        times = 1 if old is None or now - old.noted_at >= SETTLED_S else old.times + 1
        self._pairs[ours, theirs] = _Pair(times, now)
        if len(self._pairs) > PAIRS_MAX:
            del self._pairs[next(iter(self._pairs))]

    def with_ours(self, ours: int, *, now: float) -> tuple[int, ...]:
        """Fingerprints that are settled against ours, the latest ones."""
        found = [
            theirs
            for (mine, theirs), pair in self._pairs.items()
            if mine == ours and pair.times > 1 and now - pair.noted_at < SETTLED_S
        ]
        return tuple(found[-SHOWN_MAX:])
