"""Booleans, durations, instants, addresses and lists of errors as Go programs write them.

Flags, files and the API have them so, because Consul's have.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

UINT_MAX: Final = 2**64 - 1

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_UNIT_S: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION: Final = re.compile(rf"[+-]?(?:{_DURATION_PART.pattern})+")
_NANOSECONDS_MAX: Final = 2**63
"""What a Go duration has no room for."""
_NUMBER_AND_UNIT: Final = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")


def parse_bool(text: str) -> bool:
    """Read a boolean as Go's flags do.

    Raises:
        ValueError: It is none; the text says so in Go's words.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_uint(text: str) -> int:
    """Read an unsigned number of 64 bits.

    Raises:
        ValueError: It is none; the text says so in Go's words.
    """
    # `isdigit` alone lets "²" pass, and `int` refuses thousands of digits.
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(UINT_MAX)) or int(digits) > UINT_MAX:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(digits)


def parse_duration(text: str) -> float:
    """Read a Go-style duration such as `1h30m`, `1.5s` or `100ms` as seconds.

    Raises:
        ValueError: It is none; the text says so in Go's words.
    """
    if text in {"0", "+0", "-0"}:
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f'time: {_duration_problem(text)} duration "{text}"')
    total_s = sum(float(count) * _UNIT_S[unit] for count, unit in _DURATION_PART.findall(text))
    if total_s * 1e9 >= _NANOSECONDS_MAX:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total_s if text.startswith("-") else total_s


def join_host_port(host: str, port: int) -> str:
    """Write `host:port`, an IPv6 address in brackets, as Go's net.JoinHostPort does."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def error_list(problems: Sequence[str]) -> str:
    """List problems as hashicorp/go-multierror does, without the two line ends after them."""
    count = f"{len(problems)} error{'s' if len(problems) > 1 else ''} occurred:"
    return "\n".join([count, *(f"\t* {problem}" for problem in problems)])


def _duration_problem(text: str) -> str:
    left = text.lstrip("+-") if len(text) > 1 else text
    while part := _NUMBER_AND_UNIT.match(left):
        unit = part[2]
        if not unit:
            return "missing unit in"
        if unit not in _UNIT_S:
            return f'unknown unit "{unit}" in'
        left = left[part.end() :]
    return "invalid"


def format_duration(seconds: float) -> str:
    """Write seconds as the shortest duration that `parse_duration` reads again."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if 0 < seconds < 1:
        return f"{_decimal(seconds * 1000, digits=6)}ms"
    for unit, unit_s in (("h", 3600), ("m", 60)):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{_decimal(seconds, digits=9)}s"


def duration_string(seconds: float) -> str:
    """Write seconds as Go prints a duration: `1h0m0s`, `1m30s`, `1.5s`, `100ms`; zero is `0s`."""
    if seconds < 0:
        return "-" + duration_string(-seconds)
    if 0 < seconds < 1:
        for unit, unit_s in (("ms", 1e-3), ("µs", 1e-6)):
            if seconds >= unit_s:
                return f"{round(seconds / unit_s, 6):g}{unit}"
        return f"{round(seconds / 1e-9)}ns"
    minutes, left_s = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{_decimal(left_s, digits=9)}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(number: float, *, digits: int) -> str:
    """A number without exponent, to at most so many digits after the point."""
    return f"{number:.{digits}f}".rstrip("0").rstrip(".")


def instant_string(at_utc: float) -> str:
    """Write Unix time as RFC 3339 in UTC, with milliseconds."""
    at = datetime.fromtimestamp(at_utc, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
