from datetime import UTC, datetime

import pytest

from cli.times import age, since

NOW = datetime(2026, 3, 5, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-03-05T12:00:00.000Z", "0s"),
        ("2026-03-05T11:59:59.200Z", "0s"),
        ("2026-03-05T11:57:55.000Z", "2m5s"),
        ("2026-03-05T10:00:00.000Z", "2h"),
        ("2026-03-02T09:30:00.000Z", "3d2h"),
        ("2026-03-05T12:00:09.000Z", "0s"),
    ],
)
def test_an_age_has_its_two_largest_units(text: str, shown: str) -> None:
    assert age(text, now=NOW) == shown


def test_the_date_is_shown_for_another_day_only() -> None:
    assert since("2026-03-05T11:59:00.000Z", now=NOW).endswith(":59:00, 1m ago")
    assert since("2026-03-01T11:00:00.000Z", now=NOW).startswith("since 2026-03-01 ")
