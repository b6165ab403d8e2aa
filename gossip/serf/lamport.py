"""Lamport clocks: the logical order of intents, events and queries (10.3)."""

from typing import NamedTuple

from gossip.types import LamportTime
from gossip.wire.limits import LAMPORT_JUMP_MAX, LAMPORT_TIME_MAX


class LamportTimes(NamedTuple):
    """The latest time seen of each clock."""

    member: LamportTime
    event: LamportTime
    query: LamportTime


class LamportClock:
    """One clock, always ahead of every time it has witnessed.

    Invariant: `time` never falls and stays far below 2^64.
    """

    __slots__ = ("time",)

    def __init__(self) -> None:
        self.time = LamportTime(1)

    def allows(self, time: LamportTime) -> bool:
        """Whether `time` is believable; one absurd time would age out all real ones (14.3)."""
        return time < LAMPORT_TIME_MAX and time <= self.time + LAMPORT_JUMP_MAX

    def witness(self, time: LamportTime) -> None:
        """Move past a time that `allows` let through."""
        if time >= self.time:
            self.time = LamportTime(time + 1)

    @property
    def seen(self) -> LamportTime:
        """The latest time seen; 0 for a clock that has seen nothing."""
        return LamportTime(self.time - 1)

    def resume(self, seen: LamportTime) -> None:
        """Go on after a time that was stored. An absurd one, of a damaged file, is ignored."""
        if self.allows(seen):
            self.witness(seen)

    def increment(self) -> None:
        """Move on after using the present time for a message of ours."""
        self.time = LamportTime(self.time + 1)
