"""How long a member is doubted before it is declared dead (Lifeguard, "dynamic suspicion"; 8.5).

Every independent confirmation shortens the wait from a generous maximum towards a minimum that
grows with the logarithm of the pool. Who is told about it is decided in `claims.py`.
"""

from math import floor, log, log10

from gossip.types import MemberName


def suspicion_s_min(node_count: int, *, mult: int, probe_interval_s: float) -> float:
    """The wait once enough others have confirmed; `node_count` includes remembered dead ones."""
    scale = max(1.0, log10(max(1, node_count)))
    return mult * floor(scale * 1000) * probe_interval_s / 1000


def suspicion_timeout_s(
    confirmations: int, *, confirmations_wanted: int, s_min: float, s_max: float
) -> float:
    """The whole wait after `confirmations` others, between `s_max` and `s_min`."""
    if confirmations_wanted < 1:
        return s_min
    progress = log(confirmations + 1) / log(confirmations_wanted + 1)
    return max(s_min, floor((s_max - progress * (s_max - s_min)) * 1000) / 1000)


def confirmations_wanted(node_count: int, *, mult: int) -> int:
    """How many confirmations bring the wait to its minimum; 0 where the pool is too small."""
    wanted = mult - 2
    return wanted if wanted > 0 and node_count - 2 >= wanted else 0


class Suspicion:
    """One running doubt about one member. Every doubt is a new object: nothing is reset.

    Invariants: at most `wanted` confirmations are counted, from distinct members, none of them
    the one that raised the doubt; only `grant` moves `deadline_at` later.
    """

    __slots__ = ("_confirmers", "_s_max", "_s_min", "_started_at", "_wanted", "deadline_at")

    def __init__(
        self, accuser: MemberName, *, wanted: int, s_min: float, s_max: float, now: float
    ) -> None:
        self._confirmers = {accuser}
        self._wanted, self._s_min, self._s_max = wanted, s_min, s_max
        self._started_at = now
        self.deadline_at = now + self._timeout_s()

    @property
    def latest_at(self) -> float:
        """The deadline that it has, or had, without confirmations."""
        return self._started_at + (self._s_max if self._wanted else self._s_min)

    def grant(self, lost_s: float, *, now: float) -> None:
        """Give back time in which the suspect could not refute, as far as it was doubted then."""
        lost_s = min(lost_s, now - self._started_at)
        self._started_at += lost_s
        self.deadline_at += lost_s

    def confirm(self, witness: MemberName) -> bool:
        """Count `witness` unless it is known already or enough were heard; True if it counted."""
        if len(self._confirmers) > self._wanted or witness in self._confirmers:
            return False
        self._confirmers.add(witness)
        self.deadline_at = self._started_at + self._timeout_s()
        return True

    def _timeout_s(self) -> float:
        return suspicion_timeout_s(
            len(self._confirmers) - 1,
            confirmations_wanted=self._wanted,
            s_min=self._s_min,
            s_max=self._s_max,
        )
