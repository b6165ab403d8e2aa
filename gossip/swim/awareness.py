"""How healthy this member believes itself to be (Lifeguard, "local health multiplier"; 8.2).

A member that misses acks, misses nacks or has to refute suspects itself of being slow, and gives
the members it probes more time. What counts for how much is decided by the caller.
"""


class Awareness:
    """The health score: 0 is healthy, `score_max` the worst.

    Invariant: 0 <= score <= score_max.
    """

    __slots__ = ("_score_max", "score")

    def __init__(self, score_bound: int) -> None:
        """Start healthy; the score stays below `score_bound`."""
        assert score_bound >= 1
        self.score = 0
        self._score_max = score_bound - 1

    def apply(self, delta: int) -> None:
        """Move the score by `delta` within its range."""
        if delta < 0 and not self.score:
            return  # the common case: a healthy member's probe succeeded
        self.score = min(max(self.score + delta, 0), self._score_max)

    def scaled_s(self, interval_s: float) -> float:
        """The time an unhealthy prober waits where a healthy one waits `interval_s`."""
        return interval_s * (self.score + 1)


def stall_delta(stalled_s: float, *, probe_interval_s: float) -> int:
    """By how much a stall of our own process worsens the score."""
    return 1 + int(stalled_s / probe_interval_s)


def failed_probe_delta(*, nacks_expected: int, nacks_received: int) -> int:
    """By how much a failed probe worsens the score (8.2).

    Relays that answered nack prove that our own network works, so only missing ones count.
    """
    if nacks_expected == 0:
        return 1
    return max(nacks_expected - nacks_received, 0)
