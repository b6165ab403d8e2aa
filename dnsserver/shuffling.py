"""Random order at the cost of what is looked at, not of what there is."""

from collections.abc import Iterator, Sequence
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
