"""Whether we hear anybody at all. Who hears nobody cannot hear a refutation either.

Lifeguard lets a member that misses answers doubt itself while it probes. This goes on from there,
for suspicions: what a member that was cut off makes of them is decided in `doubts.py`.
"""

from typing import Final

SILENCE_INTERVALS: Final = 3
"""Probe intervals without any message that are remarkable: in the smallest pool, one member pings
us and one of our pings is answered in about two."""


class Hearing:
    """Remembers when a message last came. `now` is monotonic seconds."""

    __slots__ = ("_heard_at", "_silence_s_min")

    def __init__(self, probe_interval_s: float, *, now: float) -> None:
        self._heard_at = now
        self._silence_s_min = SILENCE_INTERVALS * probe_interval_s

    def is_deaf(self, now: float) -> bool:
        """Whether nothing has come for remarkably long."""
        return now - self._heard_at > self._silence_s_min

    def hear(self, now: float) -> float:
        """A message has come; how long a remarkable silence has lasted that it ends, else 0."""
        silence_s = now - self._heard_at
        self._heard_at = now
        return silence_s if silence_s > self._silence_s_min else 0.0
