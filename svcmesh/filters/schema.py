"""What can be selected in a row of some kind, and how it is read there.

A schema gives each selectable name a field. A field reads its value from the row, or from the value
of the field that it is inside of; fields of a kind accept the operators of that kind:

| field | operators | selects inside |
| --- | --- | --- |
| Text | == != in contains matches | |
| Number, Flag | == != | |
| TextList | in contains, is empty | |
| ValueMap | in contains (its keys), is empty | the value of any key |
| Group | none | its fields |
| GroupList | is empty | the fields of any of its elements |
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Any: what a field reads from depends on where in which schema it stands. Whoever writes a schema
# pairs the two; the rows of one schema are all of one type.
Read = Callable[[Any], Any]


def itself(value: Any) -> Any:  # noqa: ANN401 - as above
    """The value of a map's entry, which is read from nothing but itself."""
    return value


@dataclass(frozen=True, slots=True)
class Text:
    read: Callable[[Any], str] = itself


@dataclass(frozen=True, slots=True)
class Number:
    read: Callable[[Any], int] = itself


@dataclass(frozen=True, slots=True)
class Flag:
    read: Callable[[Any], bool] = itself


@dataclass(frozen=True, slots=True)
class TextList:
    read: Callable[[Any], Sequence[str]]


@dataclass(frozen=True, slots=True)
class ValueMap:
    read: Callable[[Any], Mapping[str, Any]]
    of: "Field"
    """What the map has under every key; it reads from the entry's value."""


@dataclass(frozen=True, slots=True)
class Group:
    fields: "Schema"
    read: Read = itself


@dataclass(frozen=True, slots=True)
class GroupList:
    read: Callable[[Any], Iterable[Any]]
    fields: "Schema"


Field = Text | Number | Flag | TextList | ValueMap | Group | GroupList

Schema = Mapping[str, Field]
