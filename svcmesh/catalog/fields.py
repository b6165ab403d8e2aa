"""Values of catalog messages out of msgpack, checked one by one, and the bounds that they keep.

Every length is bounded by the message at hand. What is unfit raises `DecodeError`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar
from uuid import UUID

import msgpack

from gossip.serf import is_believable
from gossip.wire.messages import Coordinate
from svcmesh.catalog.digest import BUCKETS
from svcmesh.catalog.log import Origin
from svcmesh.catalog.records import NodeId
from svcmesh.errors import DecodeError

NAME_BYTES_MAX: Final = 1024

NUMBER_MAX: Final = 2**63 - 1

EPOCH_MAX: Final = 2**60
"""An epoch above is not one: it leaves room to outrank any that was seen."""

ELEMENTS_MAX: Final = 8192
"""Of one array or map. Deep nests of large ones would cost far more than their bytes."""

KNOWN_IDS_MAX: Final = 4096
"""Node ids whose other form is remembered: each message names two, and there are few."""

# What msgpack hands out is checked here, value by value.
Raw = Any
T = TypeVar("T")


@lru_cache(maxsize=KNOWN_IDS_MAX)
def _uuid_text(raw: bytes) -> NodeId:
    return NodeId(str(UUID(bytes=raw)))


@lru_cache(maxsize=KNOWN_IDS_MAX)
def pack_id(node_id: NodeId) -> bytes | str:
    """16 bytes for a canonical UUID, else the text."""
    try:
        parsed = UUID(node_id)
    except ValueError:
        return node_id
    return parsed.bytes if str(parsed) == node_id else node_id


def unpack_untrusted(raw: bytes) -> Raw:
    """Read one msgpack value.

    Raises:
        DecodeError: It is none, or breaks a bound.
    """
    size = len(raw)
    try:
        return msgpack.unpackb(
            raw,
            raw=False,
            strict_map_key=True,
            # Text that is not UTF-8 is nobody's: it could not be shown.
            unicode_errors="strict",
            max_str_len=size,
            max_bin_len=size,
            max_array_len=ELEMENTS_MAX,
            max_map_len=ELEMENTS_MAX,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise DecodeError("catalog-malformed", type(error).__name__) from error


def checked(value: Raw, kind: type[T]) -> T:
    """The value, of just this type.

    Raises:
        DecodeError: It is of another one.
    """
    if type(value) is not kind:
        raise _unexpected(kind)
    return value


def _unexpected(kind: type[object]) -> DecodeError:
    return DecodeError("catalog-malformed", f"expected {kind.__name__}")


class Fields:
    """Takes the elements of an array one after the other, each of the type that belongs there.

    Every method raises `DecodeError` when the next element is another, or there is none.
    """

    __slots__ = ("_next", "_values")

    def __init__(self, values: list[Raw]) -> None:
        self._values, self._next = values, 0

    def next(self, kind: type[T]) -> T:
        value = self._any()
        if type(value) is not kind:
            raise _unexpected(kind)
        return value

    def next_or_none(self, kind: type[T]) -> T | None:
        value = self._any()
        return None if value is None else checked(value, kind)

    def number(self, size_bytes: int = 0) -> int:
        """A number from 0; at most 2^63 - 1 unless its size is given."""
        value = self._any()
        if type(value) is not int:
            raise _unexpected(int)
        if value < 0 or value > (NUMBER_MAX if not size_bytes else (1 << 8 * size_bytes) - 1):
            raise DecodeError("catalog-malformed", "a number out of range")
        return value

    def optional_number(self) -> int | None:
        if self._next < len(self._values) and self._values[self._next] is None:
            self._next += 1
            return None
        return self.number()

    def optional_coordinate(self) -> Coordinate | None:
        values = self.next_or_none(list) if self._next < len(self._values) else None
        if values is None:
            return None
        inner = Fields(values)
        vec = tuple(checked(part, float) for part in inner.next(list))
        where = Coordinate(vec, inner.next(float), inner.next(float), inner.next(float))
        if not is_believable(where):
            raise DecodeError("catalog-malformed", "a coordinate out of range")
        return where

    def texts_if_any(self) -> tuple[str, ...]:
        """Texts; none for nil."""
        return self.given_texts() or ()

    def given_texts(self) -> tuple[str, ...] | None:
        """Texts; nil for texts that were never given."""
        values = self.next_or_none(list)
        return None if values is None else tuple(checked(value, str) for value in values)

    def given_text_pairs(self) -> tuple[tuple[str, str], ...] | None:
        """Texts by name, by name; nil as above."""
        values = self.next_or_none(dict)
        if values is None:
            return None
        pairs = ((checked(k, str), checked(v, str)) for k, v in values.items())
        return tuple(sorted(pairs))

    def text(self) -> str:
        value = self._any()
        if type(value) is not str:
            raise _unexpected(str)
        return value

    def name(self) -> str:
        value = self.text()
        if len(value) > NAME_BYTES_MAX:
            raise DecodeError("catalog-malformed", "a name too long")
        return value

    def node_id(self) -> NodeId:
        value = self._any()
        if type(value) is bytes and len(value) == 16:
            return _uuid_text(value)
        if type(value) is str and 0 < len(value) <= 64:
            return NodeId(value)
        raise DecodeError("catalog-malformed", "expected a node id")

    def origin(self) -> Origin:
        node_id, epoch = self.node_id(), self.number()
        if epoch > EPOCH_MAX:
            raise DecodeError("catalog-malformed", "an epoch out of range")
        return Origin(node_id, epoch)

    def cursor(self) -> Origin | None:
        value = self.next_or_none(list)
        return None if value is None else Fields(value).origin()

    def hashes(self) -> tuple[int, ...]:
        """64-bit numbers, back to back; nil for none."""
        raw = self.next_or_none(bytes) or b""
        if len(raw) % 8 or len(raw) > 8 * BUCKETS:
            raise DecodeError("catalog-malformed", "hashes")
        return tuple(int.from_bytes(raw[i : i + 8], "big") for i in range(0, len(raw), 8))

    def texts(self) -> tuple[str, ...]:
        return tuple(checked(value, str) for value in self.next(list))

    def text_map(self) -> dict[str, str]:
        return self.map_of(lambda value: checked(value, str))

    def map_of(self, read: Callable[[Raw], T]) -> dict[str, T]:
        return {checked(key, str): read(value) for key, value in self.next(dict).items()}

    def _any(self) -> Raw:
        try:
            value = self._values[self._next]
        except IndexError:
            raise DecodeError("catalog-malformed", "too short") from None
        self._next += 1
        return value
