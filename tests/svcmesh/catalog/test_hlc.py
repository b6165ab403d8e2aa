"""The hybrid logical clock (Kulkarni et al. 2014) and the comparison of wall clocks."""

from hypothesis import given
from hypothesis import strategies as st

from svcmesh.catalog.hlc import READING_MAX, HybridClock, PeerClocks

MS = 1_700_000_000_000


def test_a_reading_is_milliseconds_and_a_counter() -> None:
    clock = HybridClock()
    assert clock.tick(wall_ms=MS) == MS * 65536
    assert clock.tick(wall_ms=MS) == MS * 65536 + 1
    assert clock.tick(wall_ms=MS + 1) == (MS + 1) * 65536


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("tick"), st.integers(0, 2**45)),
            st.tuples(st.just("witness"), st.integers(0, 2**62)),
        ),
        max_size=30,
    )
)
def test_readings_rise_above_everything_read_and_witnessed(steps: list[tuple[str, int]]) -> None:
    clock, highest = HybridClock(), -1
    for what, value in steps:
        if what == "tick":
            reading = clock.tick(wall_ms=value)
            assert reading > highest
            assert reading >= value * 65536
            highest = reading
        else:
            clock.witness(value)
            highest = max(highest, value)


def test_the_highest_reading_there_is_does_not_stop_the_clock() -> None:
    clock = HybridClock()
    clock.witness(READING_MAX)
    assert clock.tick(wall_ms=MS) <= READING_MAX


def test_drift_is_told_against_the_median_of_the_peers_last_samples() -> None:
    clocks = PeerClocks()
    assert clocks.drift_s == 0.0
    for n, theirs_ms in enumerate([MS, MS, MS + 50_000]):
        clocks.note(f"n{n}", theirs_ms=theirs_ms, ours_ms=MS + 7_000)
    assert clocks.drift_s == 7.0
    # One talkative peer counts once, with what it said last.
    for _ in range(10):
        clocks.note("n2", theirs_ms=MS + 8_000, ours_ms=MS + 7_000)
    assert clocks.drift_s == 7.0
