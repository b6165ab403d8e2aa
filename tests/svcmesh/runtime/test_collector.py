"""Full passes of the garbage collector: a long one is over what stays, and is not repeated."""

import gc
from collections.abc import Iterator
from itertools import count

import pytest

from svcmesh.runtime.collector import PASS_S_MAX, CollectorWatch, paused


@pytest.fixture
def passes_of() -> Iterator[dict[str, float]]:
    """How long the next full passes take; the watch is stopped afterwards."""
    length = {"s": 0.0}
    ticks = count()

    def clock() -> float:
        return length["s"] * next(ticks)

    watch = CollectorWatch(clock=clock)
    watch.start()
    try:
        yield length
    finally:
        watch.stop()


def is_frozen(thing: object) -> bool:
    return all(thing is not other for other in gc.get_objects())


def test_what_a_long_pass_went_over_is_left_out_of_later_ones(passes_of: dict[str, float]) -> None:
    rows = [[0]]
    passes_of["s"] = 2 * PASS_S_MAX
    gc.collect()
    assert is_frozen(rows)


def test_what_a_short_pass_went_over_stays_collectable(passes_of: dict[str, float]) -> None:
    rows = [[0]]
    passes_of["s"] = PASS_S_MAX / 2
    gc.collect()
    assert not is_frozen(rows)


def test_after_stopping_everything_is_collectable_again() -> None:
    watch = CollectorWatch()
    watch.start()
    frozen = gc.get_freeze_count()
    watch.stop()
    assert frozen > 0
    assert gc.get_freeze_count() == 0
    assert not any(getattr(c, "__self__", None) is watch for c in gc.callbacks)


def test_what_is_made_during_a_pause_is_gone_over_never() -> None:
    passes: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        passes.append(phase)

    gc.callbacks.append(note)
    try:
        with paused():
            rows = [[number] for number in range(200_000)]
        assert passes == []
        assert is_frozen(rows[0])
        assert gc.isenabled()
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
