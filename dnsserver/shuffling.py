"""Random order at the cost of what is looked at, not of what there is."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from random import Random
from typing import TypeVar

T = TypeVar("T")


def shuffled(items: Sequence[T], rng: Random) -> Iterator[T]:
    """Yield `items` in random order, each order equally likely; draws one number for each.

    A Fisher-Yates shuffle of which only the moved places are stored.
    """
    moved: dict[int, int] = {}
    for last in range(len(items) - 1, -1, -1):
        picked = int(rng.random() * (last + 1))
        index = moved.get(picked, picked)
        moved[picked] = moved.get(last, last)
        yield items[index]


def rotated(items: Sequence[T], first: int) -> Iterator[T]:
    """Yield `items` as they are, beginning at the index `first`."""
    return chain(islice(items, first, None), islice(items, first))


class Mixture:
    """One random way of going through collections, from any place in them.

    Who goes through a collection once from each of its places, all with the same mixture, meets
    every item equally often as the first, as the second, and so on: a Latin square of which the
    rows are made as they are needed.
    """

    __slots__ = ("_steps", "rng")

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        """For other decisions."""
        self._steps: dict[int, tuple[list[int], Iterator[int]]] = {}

    def through(self, items: Sequence[T], first: int) -> Iterator[T]:
        """Yield all `items`: the one at the index `first`, then the others."""
        count = len(items)
        yield items[first]
        known, more = self._steps_of(count)
        at = 0
        while True:
            if at == len(known):
                step = next(more, None)
                if step is None:
                    return
                known.append(step)
            yield items[(first + known[at]) % count]
            at += 1

    def _steps_of(self, count: int) -> tuple[list[int], Iterator[int]]:
        steps = self._steps.get(count)
        if steps is None:
            steps = self._steps[count] = ([], shuffled(range(1, count), self.rng))
        return steps
