"""Which of the usable instances the next call goes to. No I/O, no clock.

A policy is told the candidates whenever they change, and chooses one a call. It belongs to one
picker, which calls it under its lock.
"""

import heapq
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final, Protocol

from svcmesh.client.instances import Instance

LEAST_PENDING_SAMPLE: Final = 16
"""Of more candidates than these, so many are looked at: nearly as even, at a bounded cost."""

NEAR_FACTOR: Final = 1.25
NEAR_S: Final = 0.001
"""What is no farther than this factor of, or this much behind, the nearest, is as near."""


@dataclass(slots=True, eq=False)
class Candidate:
    """One instance as a policy sees it."""

    instance: Instance
    pending: int = 0
    """Calls under way."""
    rtt_s: float = float("inf")
    """Estimated round trip to its node; infinite when it is not known."""

    @property
    def weight(self) -> int:
        """A weight of 0 is the least, not none: whoever is asked to pick has to pick."""
        return max(self.instance.weight, 0)


class Policy(Protocol):
    """How to choose."""

    def replace(self, candidates: Sequence[Candidate]) -> None:
        """Choose among these from now on; there is at least one."""

    def choose(self) -> Candidate:
        """The candidate for the next call."""


class RoundRobin:
    """Each in turn, in proportion to the weights.

    Stride scheduling: every candidate has a position, the lowest is next, and moves on by the
    inverse of its weight. A newcomer starts at a random place near the front, so that the many
    clients of one service do not all begin with the same instance.
    """

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or Random()
        self._queue: list[tuple[float, float, Candidate]] = []

    def replace(self, candidates: Sequence[Candidate]) -> None:
        """Take new candidates; those that stay keep their place."""
        places = {one.instance.key: place for place, _, one in self._queue}
        front = min(places.values(), default=0.0)
        queue = []
        for one in weighted(candidates):
            place = places.get(one.instance.key)
            if place is None:
                place = front + self._rng.random() / max(one.weight, 1)
            queue.append((place, self._rng.random(), one))
        heapq.heapify(queue)
        self._queue = queue

    def choose(self) -> Candidate:
        """The one that waits longest for its share."""
        place, tie, one = self._queue[0]
        heapq.heapreplace(self._queue, (place + 1 / max(one.weight, 1), tie, one))
        return one


class RandomChoice:
    """Any, with chances in proportion to the weights."""

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or Random()
        self._candidates: Sequence[Candidate] = ()
        self._sums: list[int] = []

    def replace(self, candidates: Sequence[Candidate]) -> None:
        """Take new candidates."""
        self._candidates = weighted(candidates)
        self._sums = list(accumulate(max(one.weight, 1) for one in self._candidates))

    def choose(self) -> Candidate:
        """Draw one."""
        return self._candidates[bisect(self._sums, self._rng.random() * self._sums[-1])]


class LeastPending:
    """The one with the fewest calls under way, for its weight; among equals, any."""

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or Random()
        self._candidates: Sequence[Candidate] = ()

    def replace(self, candidates: Sequence[Candidate]) -> None:
        """Take new candidates."""
        self._candidates = weighted(candidates)

    def choose(self) -> Candidate:
        """The least busy of a sample."""
        count = min(LEAST_PENDING_SAMPLE, len(self._candidates))
        sample = self._rng.sample(self._candidates, count)
        return min(sample, key=lambda one: (one.pending + 1) / max(one.weight, 1))


class Nearest:
    """The nearest by network coordinates; of several about as near, the least busy one.

    Without coordinates, an instance on the agent's own node is near and all others are as far.
    """

    def __init__(self, rng: Random | None = None) -> None:
        self._among = LeastPending(rng)

    def replace(self, candidates: Sequence[Candidate]) -> None:
        """Take new candidates."""
        candidates = weighted(candidates)
        nearest_s = min(one.rtt_s for one in candidates)
        limit_s = max(nearest_s * NEAR_FACTOR, nearest_s + NEAR_S)
        self._among.replace([one for one in candidates if one.rtt_s <= limit_s])

    def choose(self) -> Candidate:
        """One of the nearest."""
        return self._among.choose()


def weighted(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those with a weight; all when none has."""
    return [one for one in candidates if one.weight] or candidates
