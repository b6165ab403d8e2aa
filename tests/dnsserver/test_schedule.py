"""The order in which prepared responses are handed out."""

from collections import Counter
from itertools import islice, pairwise
from random import Random

import pytest

from dnsserver.schedule import (
    CHUNK_BYTES_MAX,
    LARGE_TURNS,
    ROW_CHUNK,
    ROW_USES,
    SEQUENCE_MIN,
    SMALL_MAX,
    SMALL_TURNS,
    UNKEPT_USES,
    RowSchedule,
    Schedule,
)
from dnsserver.shuffling import Mixture


class Made:
    """Makes the beginning's number as a response, padded; counts how many were made."""

    def __init__(self, size: int = 40) -> None:
        self.size, self.count = size, 0

    def __call__(self, beginning: int, mixture: Mixture) -> bytes:
        self.count += 1
        return b"%*d" % (self.size, beginning)


def handed_out(schedule: Schedule, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        found += [int(response) for response in islice(schedule.refill(), count - len(found))]
    return found


@pytest.mark.parametrize("beginnings", [1, 2, 3, 5, 32, 33, 1000])
def test_every_beginning_comes_up_equally_often(beginnings: int) -> None:
    schedule = Schedule(beginnings, Made(), Random(1), bytes_max=1 << 20)
    times = Counter(handed_out(schedule, 12 * max(beginnings, SEQUENCE_MIN)))
    assert len(times) == beginnings
    # But for what has been begun and not ended.
    assert max(times.values()) - min(times.values()) <= 4 * (SMALL_MAX // beginnings + 1)


@pytest.mark.parametrize("beginnings", [2, 3, 4, 10, 40])
@pytest.mark.parametrize("step", [2, 3, 5, 10, 16, 32])
def test_who_always_asks_after_the_same_others_gets_all_of_them(beginnings: int, step: int) -> None:
    schedule = Schedule(beginnings, Made(), Random(1), bytes_max=1 << 20)
    mine = Counter(handed_out(schedule, 4000 * step)[::step])
    assert len(mine) == beginnings
    expected = 4000 / beginnings
    assert all(abs(count - expected) < expected / 2 for count in mine.values())


def test_responses_are_made_once_and_used_many_times() -> None:
    made = Made()
    schedule = Schedule(1000, made, Random(1), bytes_max=1 << 20)
    handed_out(schedule, 1000 * LARGE_TURNS)
    assert made.count == 1000
    small = Made()
    schedule = Schedule(3, small, Random(1), bytes_max=1 << 20)
    handed_out(schedule, SEQUENCE_MIN * SMALL_TURNS)
    assert small.count == 30
    # Then they are mixed anew.
    handed_out(schedule, 2 * SEQUENCE_MIN)
    assert small.count > 30


def test_a_name_that_is_asked_once_has_one_response_made() -> None:
    made = Made()
    next(Schedule(SMALL_MAX, made, Random(1), bytes_max=1 << 20).refill())
    assert made.count == 1


def test_what_is_too_large_is_not_kept_but_still_spread_evenly() -> None:
    made = Made(size=1000)
    schedule = Schedule(200, made, Random(1), bytes_max=50_000)
    times = Counter(handed_out(schedule, 200 * UNKEPT_USES * 5))
    assert schedule.bytes_kept <= CHUNK_BYTES_MAX + 2000, "what is being handed out"
    assert len(times) == 200
    assert max(times.values()) - min(times.values()) <= 2 * UNKEPT_USES


def test_who_asks_twice_for_what_is_too_large_gets_another_response() -> None:
    schedule = Schedule(200, Made(size=1000), Random(1), bytes_max=50_000)
    responses = [response for _ in range(100) for response in schedule.refill()]
    assert all(one != other for one, other in pairwise(responses[-len(responses) // 2 :]))


def test_few_bytes_are_made_at_a_time() -> None:
    made = Made(size=60_000)
    schedule = Schedule(200, made, Random(1), bytes_max=50_000)
    for refills in range(1, 10):
        next(schedule.refill())
        assert made.count == refills


def encode_numbers(beginnings: range) -> list[bytes]:
    return [b"%d" % beginning for beginning in beginnings]


@pytest.mark.parametrize("beginnings", [17, 40, 1000])
def test_stretches_of_a_row_begin_at_each_place_equally_often(beginnings: int) -> None:
    responses = RowSchedule(beginnings, encode_numbers, Random(1), response_bytes=64).refill()
    times = Counter(islice(responses, 10 * ROW_USES * beginnings))
    assert set(times.values()) == {10 * ROW_USES}


@pytest.mark.parametrize("beginnings", [17, 40])
@pytest.mark.parametrize("step", [2, 16, 34, 80])
def test_who_always_asks_for_a_row_after_the_same_others_gets_all_of_it(
    beginnings: int, step: int
) -> None:
    responses = RowSchedule(beginnings, encode_numbers, Random(1), response_bytes=64).refill()
    mine = Counter(islice(responses, 0, 4000 * step, step))
    assert len(mine) == beginnings
    expected = 4000 / beginnings
    assert all(abs(count - expected) < expected / 2 for count in mine.values())


def test_few_stretches_of_a_row_are_made_at_a_time() -> None:
    made: list[int] = []

    def encode(beginnings: range) -> list[bytes]:
        made.append(len(beginnings))
        return encode_numbers(beginnings)

    responses = RowSchedule(100_000, encode, Random(1), response_bytes=64).refill()
    assert not made
    assert len(set(islice(responses, ROW_CHUNK))) == ROW_CHUNK, "nobody is told the same twice"
    assert made == [ROW_CHUNK]


def test_large_stretches_are_made_one_by_one_and_what_is_held_is_counted() -> None:
    def encode(beginnings: range) -> list[bytes]:
        return [bytes(50_000) for _ in beginnings]

    schedule = RowSchedule(100_000, encode, Random(1), response_bytes=50_000)
    one, two = islice(schedule.refill(), ROW_USES - 1, ROW_USES + 1)
    assert one is not two
    assert 50_000 <= schedule.bytes_kept < 60_000
