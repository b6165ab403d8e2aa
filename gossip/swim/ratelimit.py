"""A token bucket: how many answers may go to addresses that no member has (14.3).

A forged source address makes us send to a stranger; the bucket bounds what we can be used for.
"""


class TokenBucket:
    """Grants `rate_per_s` on average and `burst` at once. `now` is monotonic seconds."""

    __slots__ = ("_at", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, *, rate_per_s: float, burst: float, now: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._tokens, self._at = burst, now

    def take(self, *, now: float) -> bool:
        """Use one token; False when none is left."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_per_s)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
