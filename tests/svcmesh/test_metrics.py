"""What is measured, and in which interval."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.metrics import SERIES_MAX, Metrics, Series, Summary


def metrics(counters: dict[str, dict[str, int]] | None = None) -> Metrics:
    return Metrics(lambda: counters or {}, now_utc=100.0)


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=20))
def test_a_summary_says_what_a_list_of_the_values_would(values: list[float]) -> None:
    summary = Summary()
    for value in values:
        summary.add(value)
    assert (summary.count, summary.least, summary.most) == (
        len(values), min(values), max(values),
    )  # fmt: skip
    assert summary.mean == pytest.approx(statistics.fmean(values))
    assert summary.deviation == pytest.approx(statistics.stdev(values), abs=0.01)


def test_the_last_whole_interval_is_shown_and_until_there_is_one_the_running_one() -> None:
    subject = metrics()
    subject.count("a")
    assert (subject.interval.began_at_utc, len(subject.interval.counters)) == (100.0, 1)
    subject.end_interval(now_utc=110.0)
    subject.count("a")
    subject.sample("b", 5.0)
    assert subject.interval.began_at_utc == 100.0
    assert subject.interval.samples == {}
    subject.end_interval(now_utc=120.0)
    assert subject.interval.began_at_utc == 110.0
    assert subject.interval.samples[Series("b")].total == 5.0
    assert subject.counted[Series("a")] == 2


def test_totals_of_components_are_counted_by_what_they_grew() -> None:
    counters = {"gossip": {"packets_in": 7, "bytes_in": 70, "dropped.checksum": 1}}
    subject = metrics(counters)
    subject.end_interval(now_utc=110.0)
    counters["gossip"]["packets_in"] = 10
    subject.end_interval(now_utc=120.0)
    assert subject.interval.counters[Series("gossip.packets_in")].total == 3
    assert subject.counted == {
        Series("gossip.packets_in"): 10,
        Series("memberlist.udp.received"): 70,
        Series("gossip.dropped", (("reason", "checksum"),)): 1,
    }


def test_series_are_bounded_and_what_is_left_out_is_counted() -> None:
    subject = metrics()
    for number in range(SERIES_MAX + 5):
        subject.count(f"c{number}")
        subject.sample(f"s{number}", 1.0)
    assert len(subject.counted) + len(subject.sampled) == SERIES_MAX
    assert subject.left_out == 2 * (SERIES_MAX + 5) - SERIES_MAX
    subject.count("c0")
    assert subject.counted[Series("c0")] == 2
