"""Decoded JSON values: what they are called, and strict reading of objects.

`Fields` reads an object as Go decodes into a struct with unknown fields refused: names are matched
without regard to letter case, null is the zero value, and of two spellings of a field the last one
counts. Its errors are worded like those of Consul's API.
"""

from collections.abc import Iterable
from typing import Final

from svcmesh.errors import SvcmeshError

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


class FieldError(SvcmeshError, ValueError):
    """A field is unknown or of the wrong type; the text names it."""


class Fields:
    """The fields of one object. Read those that are known, then `finish`."""

    def __init__(self, value: object, *, at: str = "") -> None:
        """Begin; `at` is the path of the object within the body.

        Raises:
            FieldError: It is no object.
        """
        self._at = at
        if value is not None and not isinstance(value, dict):
            raise self._wrong(value, "object", at)
        self._left: dict[str, tuple[str, object]] = {
            key.lower(): (key, inner) for key, inner in (value or {}).items()
        }

    def finish(self) -> None:
        """Refuse the fields that nobody has read."""
        for key, _ in self._left.values():
            raise FieldError(f'Request decode failed: json: unknown field "{key}"')

    def take(self, lowered: Iterable[str]) -> list[tuple[str, object]]:
        """Read fields of any type, by their names in lower case, as (name, value)."""
        found = [self._left.pop(key, None) for key in sorted(lowered)]
        return [pair for pair in found if pair is not None]

    def skip(self, *keys: str) -> None:
        """Read fields that a request may have without effect."""
        self.take(key.lower() for key in keys)

    def has(self, key: str) -> bool:
        """Whether a field is there, be it null; it is left to be read."""
        return key.lower() in self._left

    def has_empty_object(self, key: str) -> bool:
        """Whether a field is there as an object without fields; it is left to be read."""
        return self._left.get(key.lower(), ("", None))[1] == {}

    def string(self, key: str) -> str:
        """A string, empty when absent."""
        return self._string(self._pop(key), self._path(key))

    def given_string(self, key: str) -> str | None:
        """A string; None when absent, which the API tells from an empty one."""
        return self.string(key) if self._is_given(key) else None

    def boolean(self, key: str) -> bool:
        """A boolean, false when absent."""
        value = self._pop(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(value, "bool", self._path(key))
        return bool(value)

    def integer(self, key: str) -> int:
        """An integer, zero when absent."""
        value = self._pop(key)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(value, "int", self._path(key))
        return value

    def number(self, key: str) -> float:
        """A number, zero when absent."""
        return self._number(self._pop(key), self._path(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        return tuple(self._number(item, self._path(key)) for item in self._list(key))

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._string(item, self._path(key)) for item in self._list(key))

    def given_strings(self, key: str) -> tuple[str, ...] | None:
        """A list of strings; None when absent, which the API tells from an empty one."""
        return self.strings(key) if self._is_given(key) else None

    def given_strings_map(self, key: str) -> dict[str, str] | None:
        """An object whose values are strings; None when absent."""
        return self.strings_map(key) if self._is_given(key) else None

    def strings_map(self, key: str) -> dict[str, str]:
        """An object whose values are strings."""
        path = self._path(key)
        return {name: self._string(value, path) for name, value in self._object(key).items()}

    def string_lists_map(self, key: str) -> dict[str, list[str]]:
        """An object whose values are lists of strings."""
        inner = Fields(self._object(key), at=self._path(key))
        names = [name for name, _ in inner._left.values()]
        return {name: list(inner.strings(name)) for name in names}

    def nested(self, key: str) -> "Fields | None":
        """A nested object; None when absent."""
        value = self._pop(key)
        return None if value is None else Fields(value, at=self._path(key))

    def nested_list(self, key: str) -> list["Fields | None"]:
        """A list of nested objects."""
        path = self._path(key)
        return [None if item is None else Fields(item, at=path) for item in self._list(key)]

    def nested_map(self, key: str) -> "dict[str, Fields]":
        """An object whose values are objects."""
        path = self._path(key)
        return {name: Fields(value, at=path) for name, value in self._object(key).items()}

    def _is_given(self, key: str) -> bool:
        """Whether a field is there and not null; null is taken to be read."""
        if self._left.get(key.lower(), ("", None))[1] is not None:
            return True
        self.skip(key)
        return False

    def _pop(self, key: str) -> object:
        return self._left.pop(key.lower(), ("", None))[1]

    def _path(self, key: str) -> str:
        return f"{self._at}.{key}" if self._at else key

    def _string(self, value: object, path: str) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(value, "string", path)
        return value

    def _number(self, value: object, path: str) -> float:
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(value, "float64", path)
        return float(value)

    def _list(self, key: str) -> list[object]:
        value = self._pop(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(value, "array", self._path(key))
        return value

    def _object(self, key: str) -> dict[str, object]:
        value = self._pop(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(value, "object", self._path(key))
        return value

    @staticmethod
    def _wrong(value: object, wanted: str, path: str) -> FieldError:
        got = json_kind(value)
        target = f"field {path}" if path else "the body"
        return FieldError(
            f"Request decode failed: json: cannot unmarshal {got} into {target} of type {wanted}"
        )
