"""Instants for people: when it was by the clock on the wall, and how long ago."""

from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def read_instant(text: str) -> datetime:
    """An instant of the API, in local time."""
    return datetime.fromisoformat(text).astimezone()


def age_s(text: str, *, now: datetime | None = None) -> float:
    """How long ago that was, in seconds."""
    return ((now or datetime.now(UTC)) - read_instant(text)) / timedelta(seconds=1)


def age(text: str, *, now: datetime | None = None) -> str:
    """The same in its two largest units: `2m5s`, `3d`, `0s`."""
    left_s = max(int(age_s(text, now=now)), 0)
    parts: list[str] = []
    for unit_s, letter in _UNITS:
        count, left_s = divmod(left_s, unit_s)
        if count or parts:
            parts.append(f"{count}{letter}" if count else "")
    return "".join(parts[:2]) or "0s"


def since(text: str, *, now: datetime | None = None) -> str:
    """`since 12:03:11, 2m5s ago`, with the date when that was another day."""
    at = read_instant(text)
    today = (now or datetime.now(UTC)).astimezone(at.tzinfo).date()
    shown = f"{at:%H:%M:%S}" if at.date() == today else f"{at:%Y-%m-%d %H:%M:%S}"
    return f"since {shown}, {age(text, now=now)} ago"
