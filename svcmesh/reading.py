"""Reading definitions from decoded JSON, with errors worded for where they come from.

Definitions of services and checks come from configuration files, from bodies of requests and from
the agent's own disk. Field names are matched without regard to letter case, snake case works, and
null counts as absent.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeVar

from svcmesh.errors import ConfigError
from svcmesh.goformats import parse_duration
from svcmesh.jsonvalues import is_empty, json_kind

_GO_TYPES: Final = {
    "array of strings": "[]string",
    "array of objects": "[]struct",
    "object": "struct",
}

_NAMES: Final[dict[type, str]] = {str: "string", bool: "bool"}

T = TypeVar("T", str, bool)


class DefinitionError(ConfigError):
    """A definition is refused; over HTTP this is a 400 with the text as the body."""


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Every accepted spelling, in lower case, of these names: `TaggedAddresses` in both cases."""
    found = {}
    for name in names:
        found[name.lower()] = name
        found[_snake_case(name)] = name
    return found


def _snake_case(name: str) -> str:
    """`TLSSkipVerify` as `tls_skip_verify`."""
    parts = []
    for index, char in enumerate(name):
        follows_lower = index > 0 and name[index - 1].islower()
        starts_word = (
            index > 0 and name[index - 1].isupper() and name[index + 1 : index + 2].islower()
        )
        if char.isupper() and (follows_lower or starts_word):
            parts.append("_")
        parts.append(char.lower())
    return "".join(parts)


class Reader:
    """Reads one definition.

    `where` is put before the name of a field in errors (`services[2]`); empty for the body of a
    request, whose errors read as Consul's API has them. Unless `strict`, unknown fields are
    ignored: state on disk may have been written by a later release.
    """

    def __init__(self, *, where: str, strict: bool) -> None:
        self.where, self.strict = where, strict

    @property
    def is_body(self) -> bool:
        """Whether it is the body of a request that is read."""
        return not self.where

    def fields(
        self,
        obj: object,
        known: Mapping[str, str],
        *,
        at: str,
        refused: Mapping[str, str] | None = None,
        ignored: Collection[str] = (),
    ) -> dict[str, object]:
        """The object's values by their canonical names; of two spellings the later one counts.

        `refused` fields must be empty, and name the feature that each belongs to.
        """
        values: dict[str, object] = {}
        for key, value in self.mapping(obj, at=at).items():
            folded = key.lower()
            if folded in known:
                values[known[folded]] = value
            elif refused is not None and folded in refused:
                if not is_empty(value):
                    raise self.refusal(f"{key}: {refused[folded]} are not built yet")
            elif self.strict and folded not in ignored:
                raise self._unknown(key, at=at)
        return values

    def string(self, value: object, *, at: str) -> str:
        """A string, empty when absent."""
        return self._scalar(value, str, at=at) or ""

    def boolean(self, value: object, *, at: str) -> bool:
        """A boolean, false when absent."""
        return bool(self._scalar(value, bool, at=at))

    def integer(self, value: object, *, at: str) -> int:
        """An integer, zero when absent."""
        if value is None:
            return 0
        if isinstance(value, float) and value.is_integer() and not self.is_body:
            # As in Consul's files, not in its requests.
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong_type(value, at=at, expected="int")
        return value

    def strings(self, value: object, *, at: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self.string(item, at=at) for item in self.items(value, "strings", at=at))

    def strings_map(self, value: object, *, at: str) -> dict[str, str]:
        """An object whose values are strings."""
        return {
            key: self.string(inner, at=f"{at}.{key}")
            for key, inner in self.mapping(value, at=at).items()
        }

    def duration_s(self, value: object, *, at: str) -> float:
        """A duration as text (`10s`), or as a number of nanoseconds; zero when absent."""
        match value:
            case None:
                return 0.0
            case bool():
                raise self.wrong_type(value, at=at, expected="duration")
            case int() | float():
                return value / 1e9
            case str():
                try:
                    return parse_duration(value)
                except ValueError as error:
                    prefix = f"{self.where}.{at}" if self.where else "Request decode failed"
                    raise DefinitionError(f"{prefix}: {error}") from None
            case _:
                raise self.wrong_type(value, at=at, expected="duration")

    def items(self, value: object, of: str, *, at: str) -> list[object]:
        """A list, empty when absent."""
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong_type(value, at=at, expected=f"array of {of}")
        return value

    def mapping(self, value: object, *, at: str) -> Mapping[str, object]:
        """An object, empty when absent."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong_type(value, at=at, expected="object")
        for key in value:
            self._check_unicode(key, at=at)
        return value

    def refusal(self, problem: str) -> DefinitionError:
        """The error for a definition that can be read and makes no sense."""
        return DefinitionError(f"{self.where}: {problem}" if self.where else problem)

    def wrong_type(self, value: object, *, at: str, expected: str) -> DefinitionError:
        """The error for a value of the wrong JSON type."""
        is_fraction = expected == "int" and isinstance(value, float)
        got = f"number {value}" if is_fraction else json_kind(value)
        if self.where:
            path = f"{self.where}.{at}" if at else self.where
            return DefinitionError(f"{path}: expected {expected}, got {got}")
        # Consul names the outermost field only.
        target = f"Go struct field .{at.split('.')[0]}" if at else "Go value"
        wanted = _GO_TYPES.get(expected, expected)
        return DefinitionError(
            f"Request decode failed: json: cannot unmarshal {got} into {target} of type {wanted}"
        )

    def _scalar(self, value: object, wanted: type[T], *, at: str) -> T | None:
        if value is None:
            return None
        if not isinstance(value, wanted):
            raise self.wrong_type(value, at=at, expected=_NAMES[wanted])
        if isinstance(value, str):
            self._check_unicode(value, at=at)
        return value

    def _check_unicode(self, text: str, *, at: str) -> None:
        """Refuse half a surrogate pair, which JSON can spell and UTF-8 cannot."""
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise self.refusal(f"{at or 'a field name'}: not valid Unicode")

    def _unknown(self, key: str, *, at: str) -> DefinitionError:
        if self.where:
            path = ".".join(part for part in (self.where, at, key) if part)
            return DefinitionError(f"invalid config key {path}")
        return DefinitionError(f'Request decode failed: json: unknown field "{key}"')
