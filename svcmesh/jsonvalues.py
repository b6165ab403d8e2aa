"""Facts about decoded JSON values."""

from typing import Final

_KINDS: Final[dict[type, str]] = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def json_kind(value: object) -> str:
    """Name the type of a decoded value as JSON calls it."""
    return _KINDS.get(type(value), type(value).__name__)


def is_empty(value: object) -> bool:
    """Whether a value asks for nothing: null, false, zero, or an object of nothing but such."""
    if isinstance(value, dict):
        return all(is_empty(inner) for inner in value.values())
    return not value
