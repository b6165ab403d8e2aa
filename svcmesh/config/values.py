"""Values of settings, and the two ways in which they are written.

Files are strictly typed; flags are text. Both end as the same Python values.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeAlias

from svcmesh.goformats import format_duration, parse_bool, parse_duration
from svcmesh.jsonvalues import json_kind

Value: TypeAlias = str | int | float | bool | tuple[str, ...] | dict[str, str | float]
"""A parsed value; durations are seconds."""


class Kind(StrEnum):
    """Types of settings, by the names that help and errors call them."""

    STRING = "string"
    INTEGER = "int"
    BOOLEAN = "bool"
    DURATION = "duration"
    STRINGS = "array of strings"
    STRING_MAP = "object of strings"
    DURATION_MAP = "object of durations"


def value_from_json(kind: Kind, raw: object, *, at: str) -> Value:
    """Take a decoded JSON value for a setting of this kind; `at` is its path.

    Raises:
        ValueError: Of the wrong type, or no duration; the text names the path.
    """
    match kind, raw:
        case Kind.STRING, str():
            return raw
        case Kind.BOOLEAN, bool():
            return raw
        case Kind.INTEGER, int() if not isinstance(raw, bool):
            return raw
        case Kind.INTEGER, float() if raw.is_integer():
            return int(raw)
        case Kind.DURATION, str():
            return _duration(raw, at=at)
        case Kind.STRINGS, list():
            return tuple(_string(item, at=f"{at}[{index}]") for index, item in enumerate(raw))
        case Kind.STRING_MAP, dict():
            return {key: _string(item, at=f"{at}.{key}") for key, item in raw.items()}
        case Kind.DURATION_MAP, dict():
            return {
                key: _duration(_string(item, at=f"{at}.{key}"), at=f"{at}.{key}")
                for key, item in raw.items()
            }
        case _:
            raise ValueError(f"{at}: expected {kind}, got {json_kind(raw)}")


def value_from_flag(kind: Kind, raw: object, *, flag: str, at: str) -> Value:
    """Take a flag's value: text, a boolean, or for a repeatable flag a sequence of texts.

    Raises:
        ValueError: It cannot be read; the text names the flag, or for a duration the setting.
    """
    if kind in (Kind.STRINGS, Kind.STRING_MAP):
        assert isinstance(raw, Sequence)
        items = [raw] if isinstance(raw, str) else [str(item) for item in raw]
        if kind is Kind.STRINGS:
            return tuple(items)
        return {key: value for key, _, value in (item.partition(":") for item in items)}
    if isinstance(raw, bool):
        return raw
    text = str(raw)
    match kind:
        case Kind.STRING:
            return text
        case Kind.DURATION:
            return _duration(text, at=at)
        case Kind.BOOLEAN:
            try:
                return parse_bool(text)
            except ValueError as error:
                raise ValueError(f'invalid boolean value "{text}" for -{flag}: {error}') from None
        case Kind.INTEGER:
            try:
                return int(text)
            except ValueError:
                raise ValueError(
                    f'invalid value "{text}" for flag -{flag}: expected {kind}'
                ) from None
        case _:
            raise AssertionError(f"no flag is of kind {kind}")


def value_text(value: Value) -> str:
    """Write a value as one would in a file, without quotes."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return format_duration(value)
        case tuple():
            return ", ".join(value)
        case dict():
            return ", ".join(f"{key}={value_text(inner)}" for key, inner in value.items())
        case _:
            return str(value)


def _duration(text: str, *, at: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f'{at}: invalid duration: "{text}": {error}') from None


def _string(item: object, *, at: str) -> str:
    if not isinstance(item, str):
        raise ValueError(f"{at}: expected string, got {json_kind(item)}")
    return item
