"""msgpack bodies as the reference writes and reads them (gossip protocol, 3).

`pack` writes the old families (no str8, no bin) from dicts whose keys stand in ascending order.
Reading checks every field: the converters below are one per field kind and implement the table
of section 3.2. Text in the bin families is taken too, as current upstream does: msgpack's raw
mode, which section 3.3 asks for, does not tell them apart.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgpack import ExtraData, Packer, Unpacker, unpackb

from gossip.errors import DecodeError
from gossip.wire import limits, reasons

pack: Final[Callable[[object], bytes]] = Packer(
    use_bin_type=False, unicode_errors="surrogateescape"
).pack
"""Encodes a value; bytes that came in as surrogate escapes leave as they were.

One packer for all, because a new one reserves its buffer each time; it keeps nothing between calls.
"""


def unpack_untrusted(data: bytes) -> object:
    """Decode the first object of `data`; what follows it is ignored.

    Raises:
        DecodeError: There is no whole object, or it breaks a bound.
    """
    try:
        value: object = unpackb(
            data, raw=True, strict_map_key=False, max_array_len=limits.ARRAY_ITEMS_MAX
        )
    except ExtraData as extra:
        value = extra.unpacked
    except Exception as error:  # msgpack has no common root for what bad input makes it raise
        raise DecodeError(reasons.BAD_BODY, repr(error)) from error
    return value


def new_unpacker(buffer_bytes_max: int) -> Unpacker:
    """An incremental reader with this package's settings."""
    return Unpacker(
        raw=True,
        strict_map_key=False,
        max_buffer_size=buffer_bytes_max,
        max_array_len=limits.ARRAY_ITEMS_MAX,
    )


def fields_untrusted(body: object, names: tuple[bytes, ...]) -> Sequence[object]:
    """The values of `names` in that order, None where absent.

    A map may hold more keys, and an array more items; an array is read in declaration order, which
    is that of `names`.

    Raises:
        DecodeError: `body` is neither.
    """
    if type(body) is dict:
        return [*map(body.get, names)]
    if type(body) is list:
        return (body + [None] * len(names))[: len(names)]
    raise DecodeError(reasons.BAD_BODY, f"a {type(body).__name__} where a map belongs")


def _unsigned(value_max: int) -> Callable[[object], int]:
    def convert(value: object) -> int:
        if type(value) is int and 0 <= value <= value_max:
            return value
        if value is None:
            return 0
        raise DecodeError(reasons.BAD_FIELD, f"not an unsigned integer up to {value_max}")

    return convert


u8: Final = _unsigned(0xFF)
u16: Final = _unsigned(0xFFFF)
u32: Final = _unsigned(0xFFFF_FFFF)
u64: Final = _unsigned(0xFFFF_FFFF_FFFF_FFFF)


def i64(value: object) -> int:
    """A signed field."""
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    if value is None:
        return 0
    raise DecodeError(reasons.BAD_FIELD, "not a signed integer")


def flag(value: object) -> bool:
    """A bool field; 0 and 1 are taken too."""
    if value is True or value is False:
        return value
    if value is None:
        return False
    if type(value) is int and value in (0, 1):
        return value == 1
    raise DecodeError(reasons.BAD_FIELD, "not a bool")


def real(value: object) -> float:
    """A float field; integers are taken too. NaN and infinities are values."""
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    if value is None:
        return 0.0
    raise DecodeError(reasons.BAD_FIELD, "not a number")


def text(value: object) -> str:
    """A text field; bytes that are not UTF-8 become surrogate escapes."""
    if type(value) is bytes:
        return value.decode("utf-8", "surrogateescape")
    if value is None:
        return ""
    raise DecodeError(reasons.BAD_FIELD, "not text")


def blob(value: object) -> bytes:
    """A byte field; an array of small integers is taken too, nil is empty."""
    return nullable_blob(value) or b""


def nullable_blob(value: object) -> bytes | None:
    """A byte field in which nil has a meaning of its own."""
    if type(value) is bytes or value is None:
        return value
    if type(value) is list:
        try:
            return bytes(value)
        except (TypeError, ValueError) as error:
            raise DecodeError(reasons.BAD_FIELD, "an array of other than bytes") from error
    raise DecodeError(reasons.BAD_FIELD, "not bytes")


def items(value: object) -> list[object]:
    """An array field; nil is empty."""
    if type(value) is list:
        return value
    if value is None:
        return []
    raise DecodeError(reasons.BAD_FIELD, "not an array")
