from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.client.watching import WatchConfig, WatchState, retry_pause_s

CONFIG = WatchConfig(pace_s=0.5, poll_s=10.0, retry_s_min=1.0, retry_s_max=30.0)


def state() -> WatchState:
    return WatchState(CONFIG, now=0.0, rng=Random(1))


def test_it_asks_at_once_for_any_answer() -> None:
    assert (state().index, state().ask_at) == (0, 0.0)


def test_an_answer_moves_the_index_on() -> None:
    watch = state()
    watch.handle_asked(now=1.0)
    watch.handle_answer(7, now=4.0)
    assert (watch.index, watch.ask_at) == (7, 4.0)


def test_answers_in_quick_succession_are_paced() -> None:
    watch = state()
    watch.handle_asked(now=1.0)
    watch.handle_answer(7, now=1.1)
    assert watch.ask_at == 1.5


def test_an_index_that_goes_back_is_another_runs_and_starts_anew() -> None:
    watch = state()
    watch.handle_answer(70, now=1.0)
    watch.handle_answer(7, now=2.0)
    assert watch.index == 0
    watch.handle_answer(7, now=3.0)
    assert watch.index == 7


def test_without_an_index_it_polls_slowly() -> None:
    watch = state()
    watch.handle_answer(0, now=1.0)
    assert watch.index == 0
    assert 10.0 <= watch.ask_at <= 12.0


def test_after_a_failure_the_whole_answer_is_wanted() -> None:
    watch = state()
    watch.handle_answer(7, now=1.0)
    watch.handle_failure(now=2.0)
    assert watch.index == 0
    assert 2.5 <= watch.ask_at <= 3.0


def test_pauses_double_up_to_the_longest_and_end_with_an_answer() -> None:
    watch = state()
    longest = []
    for _ in range(8):
        watch.handle_failure(now=0.0)
        longest.append(watch.ask_at)
    bounds = [1, 2, 4, 8, 16, 30, 30, 30]
    assert all(bound / 2 <= at <= bound for at, bound in zip(longest, bounds, strict=True))
    watch.handle_answer(9, now=0.0)
    watch.handle_failure(now=0.0)
    assert watch.ask_at <= 1.0


def test_a_thousand_watchers_do_not_come_back_as_a_herd() -> None:
    rng = Random(5)
    pauses = [retry_pause_s(3, least_s=1.0, most_s=30.0, rng=rng) for _ in range(1000)]
    tenths = [0] * 10
    for pause_s in pauses:
        tenths[min(int((pause_s - 2.0) / 0.2), 9)] += 1
    assert sum(tenths) == 1000
    assert max(tenths) < 150


@given(failures=st.integers(1, 10**6))
def test_a_pause_is_bounded_after_any_number_of_failures(failures: int) -> None:
    assert 0 < retry_pause_s(failures, least_s=0.1, most_s=5.0, rng=Random(1)) <= 5.0


@pytest.mark.parametrize(
    "wrong",
    [{"wait_s": 0}, {"wait_s": 601}, {"pace_s": -1}, {"poll_s": 0}, {"retry_s_min": 99}],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needed"):
        WatchConfig(**wrong)
