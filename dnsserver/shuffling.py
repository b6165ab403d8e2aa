"""Random order at the cost of what is looked at, not of what there is."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from random import Random
from typing import TypeVar

T = TypeVar("T")


def shuffled(items: Sequence[T], rng: Random, *, first: int | None = None) -> Iterator[T]:
    """Yield `items` in random order, each order equally likely; draws one number for each.

    `first` is the index of the item to begin with; the others follow in random order. A
    Fisher-Yates shuffle of which only the moved places are stored.
    """
    moved: dict[int, int] = {}
    end = len(items)
    if first is not None:
        end -= 1
        moved[first] = end
        yield items[first]
    for last in range(end - 1, -1, -1):
        picked = int(rng.random() * (last + 1))
        index = moved.get(picked, picked)
        moved[picked] = moved.get(last, last)
        yield items[index]


def rotated(items: Sequence[T], first: int) -> Iterator[T]:
    """Yield `items` as they are, beginning at the index `first`."""
    return chain(islice(items, first, None), islice(items, first))
