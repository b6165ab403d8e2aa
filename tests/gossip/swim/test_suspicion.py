"""Suspicion timeouts (gossip protocol, 8.5), against figures worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.swim.suspicion import (
    Suspicion,
    confirmations_wanted,
    suspicion_s_min,
    suspicion_timeout_s,
)
from gossip.types import MemberName


@pytest.mark.parametrize(
    ("mult", "node_count", "probe_interval_s", "expected_s"),
    [
        (4, 1, 1.0, 4.0),  # log10(1) = 0 counts as 1
        (4, 10, 1.0, 4.0),
        (4, 50, 1.0, 6.792),  # log10(50) = 1.69897, cut to 1.698
        (4, 100, 1.0, 8.0),
        (4, 500, 1.0, 10.792),  # 2.69897 cut to 2.698
        (4, 1000, 1.0, 12.0),
        (6, 100, 5.0, 60.0),
        (3, 2, 1.0, 3.0),
    ],
)
def test_the_minimum_grows_with_the_logarithm_of_the_pool(
    mult: int, node_count: int, probe_interval_s: float, expected_s: float
) -> None:
    found = suspicion_s_min(node_count, mult=mult, probe_interval_s=probe_interval_s)
    assert found == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("mult", "node_count", "wanted"),
    [(4, 2, 0), (4, 3, 0), (4, 4, 2), (4, 100, 2), (3, 3, 1), (3, 2, 0), (6, 5, 0), (6, 6, 4)],
)
def test_confirmations_are_wanted_only_where_enough_members_could_give_them(
    mult: int, node_count: int, wanted: int
) -> None:
    assert confirmations_wanted(node_count, mult=mult) == wanted


@pytest.mark.parametrize(
    ("confirmations", "expected_s"),
    # LAN with up to 10 members: min 4, max 24, k 2; 24 - 20 ln(2)/ln(3) = 11.38140...
    [(0, 24.0), (1, 11.381), (2, 4.0)],
)
def test_confirmations_shorten_the_wait_logarithmically(
    confirmations: int, expected_s: float
) -> None:
    found = suspicion_timeout_s(confirmations, confirmations_wanted=2, s_min=4.0, s_max=24.0)
    assert found == pytest.approx(expected_s)


def test_without_wanted_confirmations_the_wait_is_the_minimum_at_once() -> None:
    suspicion = Suspicion(MemberName("a"), wanted=0, s_min=4.0, s_max=24.0, now=100.0)
    assert suspicion.deadline_at == 104.0
    assert not suspicion.confirm(MemberName("b"))
    assert suspicion.deadline_at == 104.0


def test_the_accuser_and_repeated_witnesses_confirm_nothing() -> None:
    suspicion = Suspicion(MemberName("a"), wanted=2, s_min=4.0, s_max=24.0, now=0.0)
    assert not suspicion.confirm(MemberName("a"))
    assert suspicion.confirm(MemberName("b"))
    assert not suspicion.confirm(MemberName("b"))
    assert suspicion.deadline_at == pytest.approx(11.381)


def test_confirmations_beyond_the_wanted_ones_are_not_counted() -> None:
    suspicion = Suspicion(MemberName("a"), wanted=2, s_min=4.0, s_max=24.0, now=0.0)
    assert [suspicion.confirm(MemberName(w)) for w in "bcd"] == [True, True, False]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=20), st.integers(0, 5))
def test_a_deadline_never_moves_later_and_never_below_the_minimum(
    witnesses: list[str], wanted: int
) -> None:
    suspicion = Suspicion(MemberName("a"), wanted=wanted, s_min=4.0, s_max=24.0, now=0.0)
    before = suspicion.deadline_at
    for witness in witnesses:
        suspicion.confirm(MemberName(witness))
        assert 4.0 <= suspicion.deadline_at <= before
        before = suspicion.deadline_at
