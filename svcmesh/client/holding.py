"""How long a session, and the locks that hang on it, can be relied on. No I/O.

The servers end a session `ttl_s` after they have last renewed it, at the earliest. They renewed it
after we sent the request, so by a clock that starts at the sending ours is over first:

| what happened                     | relied on until                   | next renewal           |
|-----------------------------------|-----------------------------------|------------------------|
| made or renewed, request of `t`   | `t + ttl_s * (1 - CLOCK_DRIFT)`   | a third of the TTL on  |
| no answer to a renewal            | as before                         | a pause that doubles   |
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from svcmesh.client.watching import retry_pause_s

CLOCK_DRIFT: Final = 0.05
"""How much slower than the servers' our clock may run."""

TTL_S_MIN, TTL_S_MAX = 10.0, 86_400.0
"""The servers' limits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockConfig:
    """How a lock is held."""

    ttl_s: float = 15.0
    """How long a holder keeps the lock that is heard of no more."""
    lock_delay_s: float = 15.0
    """For how long nobody gets a lock that was lost rather than released: time for what the last
    holder has set in motion to come to rest."""
    name: str = ""
    """Of the session, for whoever looks at it."""
    monitor_retries: int | None = None
    """Give the lock up as lost after this many more failures to look at it; None: go on until the
    TTL is over."""
    removes_key: bool = False
    """Delete the key after the release, unless somebody else has it."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not TTL_S_MIN <= self.ttl_s <= TTL_S_MAX:
            raise ValueError(f"ttl_s must be between {TTL_S_MIN:g} and {TTL_S_MAX:g}")
        if not 0 <= self.lock_delay_s <= 60:
            raise ValueError("lock_delay_s must be between 0 and 60")


class HoldState:
    """One session's time, on a clock of ours. `sent_at` is when a request was sent."""

    def __init__(self, ttl_s: float, *, sent_at: float, rng: Random) -> None:
        self._ttl_s, self._rng = ttl_s, rng
        self._failures = 0
        self.reliable_until = self.renew_at = sent_at
        self.handle_renewed(sent_at=sent_at)

    def handle_renewed(self, *, sent_at: float) -> None:
        """The servers have given the session its whole time again."""
        self._failures = 0
        self.reliable_until = max(self.reliable_until, sent_at + self._ttl_s * (1 - CLOCK_DRIFT))
        self.renew_at = sent_at + self._ttl_s / 3

    def handle_failure(self, *, now: float) -> None:
        """Nobody knows whether it was renewed."""
        self._failures += 1
        self.renew_at = now + retry_pause_s(
            self._failures, least_s=self._ttl_s / 60, most_s=self._ttl_s / 6, rng=self._rng
        )
