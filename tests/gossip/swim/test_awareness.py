"""Lifeguard's health score (gossip protocol, 8.2)."""

import pytest

from gossip.swim.awareness import Awareness, failed_probe_delta


def test_the_score_stays_between_zero_and_one_below_the_bound() -> None:
    awareness = Awareness(8)
    awareness.apply(-1)
    assert awareness.score == 0
    awareness.apply(+100)
    assert awareness.score == 7


def test_each_point_lengthens_a_probe_by_one_interval() -> None:
    awareness = Awareness(8)
    assert awareness.scaled_s(1.0) == 1.0
    awareness.apply(+3)
    assert awareness.scaled_s(1.0) == 4.0


@pytest.mark.parametrize(
    ("expected", "received", "delta"), [(0, 0, 1), (3, 3, 0), (3, 1, 2), (3, 0, 3), (1, 2, 0)]
)
def test_only_missing_nacks_blame_ourselves(expected: int, received: int, delta: int) -> None:
    assert failed_probe_delta(nacks_expected=expected, nacks_received=received) == delta
