"""The messages about summaries: a byte, then a msgpack array.

Every message names its sender in the WAN pool: a stream comes from where nobody can be answered.

| first | rest, after the sender | what |
| --- | --- | --- |
| 0 | hash | a peer's hash of all its positions, about once a second |
| 1 | positions | the answer of who has another hash |
| 2 | positions | please send what comes after these |
| 3 | data center, generation, after, through, latest, is to pass on, changes | all between |

A position is [data center, generation, through], a change [service, instances, healthy, version,
sequence].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgpack

from svcmesh.errors import DecodeError
from svcmesh.summaries.table import NAME_BYTES_MAX, Change, Entry

SUMMARY_BYTE: Final = 0x82
"""The first of every message: outside of Serf's types, and not the LAN catalog's."""

POSITIONS_MAX: Final = 1024
CHANGES_MAX: Final = 8192
NUMBER_MAX: Final = 2**64 - 1
_HELLO, _POSITIONS, _WANT, _CHANGES = range(4)


class Position(NamedTuple):
    """How far somebody is with the summary of one data center."""

    datacenter: str
    generation: int
    through: int


@dataclass(frozen=True, slots=True)
class Hello:
    """Have you got the same?"""

    hash: int


@dataclass(frozen=True, slots=True)
class Positions:
    """No: this is how far we are."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """Please send what comes after these."""

    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """Every change of a generation above `after`, up to `through`."""

    datacenter: str
    generation: int
    after: int
    through: int
    latest: int
    """How far the sender knows the generation to go."""
    is_to_pass_on: bool
    """To the other servers of the receiver's data center."""
    changes: tuple[Change, ...]


SummaryMessage = Hello | Positions | Want | Changes


def encode(message: SummaryMessage, sender: str) -> bytes:
    """One message as a payload."""
    body: list[Any]
    match message:
        case Hello(digest):
            body = [_HELLO, sender, digest]
        case Positions(positions):
            body = [_POSITIONS, sender, [list(one) for one in positions]]
        case Want(positions):
            body = [_WANT, sender, [list(one) for one in positions]]
        case Changes():
            body = [
                _CHANGES,
                sender,
                message.datacenter,
                message.generation,
                message.after,
                message.through,
                message.latest,
                message.is_to_pass_on,
                [[name, *entry] for name, entry in message.changes],
            ]
    packed: bytes = msgpack.packb(body)
    return bytes((SUMMARY_BYTE,)) + packed


def decode_untrusted(payload: bytes) -> tuple[str, SummaryMessage]:
    """Who says what.

    Raises:
        DecodeError: It is no such message.
    """
    if not payload or payload[0] != SUMMARY_BYTE:
        raise DecodeError("summary-type")
    try:
        body = msgpack.unpackb(memoryview(payload)[1:], strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        # TypeError: a map with a key that Python cannot hash.
        raise DecodeError("summary-form", str(error)) from error
    match body:
        case [int() as kind, sender, *rest]:
            return _name(sender), _message(kind, rest)
        case _:
            raise DecodeError("summary-form", "not a message")


def _message(kind: int, rest: list[Any]) -> SummaryMessage:
    match (kind, *rest):
        case (0, digest):
            return Hello(_number(digest))
        case (1, list() as positions):
            return Positions(_positions(positions))
        case (2, list() as positions):
            return Want(_positions(positions))
        case (3, name, generation, after, through, latest, bool() as passes_on, list() as changes):
            message = Changes(
                _name(name),
                _number(generation),
                _number(after),
                _number(through),
                _number(latest),
                passes_on,
                _changes(changes),
            )
            if message.generation and message.after <= message.through <= message.latest:
                return message
        case _:
            pass
    raise DecodeError("summary-form", "not a message")


def _number(value: object) -> int:
    if type(value) is int and 0 <= value <= NUMBER_MAX:
        return value
    raise DecodeError("summary-form", "expected a number")


def _name(value: object) -> str:
    if isinstance(value, str) and 0 < len(value.encode(errors="surrogatepass")) <= NAME_BYTES_MAX:
        return value
    raise DecodeError("summary-form", "expected a name")


def _positions(values: list[Any]) -> tuple[Position, ...]:
    if len(values) > POSITIONS_MAX:
        raise DecodeError("summary-form", "too many positions")
    return tuple(map(_position, values))


def _position(value: object) -> Position:
    match value:
        case [name, generation, through]:
            return Position(_name(name), _number(generation), _number(through))
        case _:
            raise DecodeError("summary-form", "expected a position")


def _changes(values: Iterable[Any]) -> tuple[Change, ...]:
    found = tuple(map(_change, values))
    sequences = [entry.sequence for _, entry in found]
    if len(found) > CHANGES_MAX or sequences != sorted(set(sequences)):
        raise DecodeError("summary-form", "changes out of order")
    return found


def _change(value: object) -> Change:
    match value:
        case [name, instances, healthy, version, sequence]:
            numbers = map(_number, (instances, healthy, version, sequence))
            return _name(name), Entry(*numbers)
        case _:
            raise DecodeError("summary-form", "expected a change")
