import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svcmesh.goformats import (
    error_list,
    format_duration,
    join_host_port,
    parse_bool,
    parse_duration,
    parse_uint,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("1h30m", 5400), ("1.5s", 1.5), (".5s", 0.5), ("100ms", 0.1),
        ("2us", 2e-6), ("0", 0), ("-1m", -60), ("1h0m0.25s", 3600.25),
    ],
)  # fmt: skip
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5", 'time: missing unit in duration "5"'),
        ("abc", 'time: invalid duration "abc"'),
        ("", 'time: invalid duration ""'),
        ("1s2", 'time: missing unit in duration "1s2"'),
        ("1 s", 'time: unknown unit " s" in duration "1 s"'),
        ("1h1d", 'time: unknown unit "d" in duration "1h1d"'),
    ],
)
def test_other_durations_are_refused_in_gos_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="time:") as caught:
        parse_duration(text)
    assert str(caught.value) == why


@given(st.integers(-(10**15), 10**15))
@example(1)
@example(-1)
@example(1_099_511_627_776)
def test_a_formatted_duration_reads_back_as_itself_to_the_nanosecond(duration_ns: int) -> None:
    text = format_duration(duration_ns / 1e9)
    assert round(parse_duration(text) * 1e9) == duration_ns


def test_durations_are_written_in_their_largest_unit() -> None:
    written = [format_duration(s) for s in (0.0, 0.2, 1.0, 30.0, 90.0, 60.0, 259200.0)]
    assert written == ["0s", "200ms", "1s", "30s", "90s", "1m", "72h"]


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "True", "TRUE"])
def test_gos_words_for_true(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["yes", "on", "", "tRUE"])
def test_other_words_are_no_booleans(text: str) -> None:
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_bool(text)


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("007", 7), ("18446744073709551615", 2**64 - 1), ("0" * 5000, 0)]
)
def test_unsigned_numbers_have_64_bits(text: str, number: int) -> None:
    assert parse_uint(text) == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid syntax"),
        ("-1", "invalid syntax"),
        ("\u00b2", "invalid syntax"),
        ("\u0663", "invalid syntax"),
        ("18446744073709551616", "value out of range"),
        ("9" * 5000, "value out of range"),
    ],
)
def test_other_numbers_are_refused_in_gos_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f'^strconv.ParseUint: parsing "{text}": {why}$'):
        parse_uint(text)


def test_an_ipv6_address_is_in_brackets_before_a_port() -> None:
    assert join_host_port("::1", 8500) == "[::1]:8500"
    assert join_host_port("web.example", 80) == "web.example:80"


def test_problems_are_counted_and_listed() -> None:
    assert error_list(["a"]) == "1 error occurred:\n\t* a"
    assert error_list(["a", "b"]) == "2 errors occurred:\n\t* a\n\t* b"
