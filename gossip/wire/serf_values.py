"""What Serf carries as opaque bytes: tags (10.2), query filters (10.11), coordinates (11.2)."""

from collections.abc import Mapping
from math import isfinite
from struct import Struct
from typing import Final

from gossip.errors import ConfigError, DecodeError
from gossip.wire import limits, numbers, reasons
from gossip.wire.body import fields_untrusted, items, pack, real, text, unpack_untrusted
from gossip.wire.fields import member_name
from gossip.wire.messages import Coordinate, NodeFilter, QueryFilter, TagFilter, make

_FILTER_NODES: Final = 0
_FILTER_TAG: Final = 1
_TAG_FILTER: Final = (b"Tag", b"Expr")
_COORDINATE: Final = (b"Vec", b"Error", b"Adjustment", b"Height")
_COORDINATE_FRAME: Final = Struct(">14sd7sd8sd6sd" + "cd" * 7)
"""How we and the reference write one of eight dimensions: what announces a double, the double."""
_COORDINATE_MARKS: Final = (
    b"\x01\x84\xaaAdjustment\xcb",
    b"\xa5Error\xcb",
    b"\xa6Height\xcb",
    b"\xa3Vec\x98\xcb",
    *[b"\xcb"] * 7,
)


def encode_tags(tags: Mapping[str, str]) -> bytes:
    """Encode `tags` as a member's metadata, in the order of their names.

    Raises:
        ConfigError: They take more than the 512 bytes that metadata may have.
    """
    meta = bytes((numbers.TAGS_MAGIC,)) + pack(dict(sorted(tags.items())))
    if len(meta) > limits.META_BYTES_MAX:
        raise ConfigError(f"tags: at most {limits.META_BYTES_MAX} bytes encoded, got {len(meta)}")
    return meta


def decode_tags_untrusted(meta: bytes) -> dict[str, str]:
    """Read a member's metadata. What does not begin as a tag map is the value of `role`.

    Raises:
        DecodeError: It begins as a tag map but is none.
    """
    if not meta or meta[0] != numbers.TAGS_MAGIC:
        return {"role": text(meta)}
    try:
        return tags_from_map(unpack_untrusted(meta[1:]))
    except DecodeError as error:
        raise DecodeError(reasons.BAD_TAGS, str(error)) from error


def tags_from_map(value: object) -> dict[str, str]:
    """Check an unpacked map of text to text.

    Raises:
        DecodeError: It is something else.
    """
    if type(value) is not dict:
        raise DecodeError(reasons.BAD_TAGS, "not a map")
    return {text(key): text(item) for key, item in value.items()}


def encode_filter(query_filter: QueryFilter) -> bytes:
    """Encode one filter of a query, its kind first."""
    match query_filter:
        case NodeFilter(names):
            return bytes((_FILTER_NODES,)) + pack(list(names))
        case TagFilter(tag, expression):
            return bytes((_FILTER_TAG,)) + pack({"Expr": expression, "Tag": tag})


def decode_filter_untrusted(data: bytes) -> QueryFilter:
    """Read one filter of a query.

    Raises:
        DecodeError: It is empty, of an unknown kind or undecodable: the query is not for us.
    """
    if not data:
        raise DecodeError(reasons.BAD_FILTER, "empty")
    if data[0] == _FILTER_NODES:
        return NodeFilter(tuple(member_name(item) for item in items(unpack_untrusted(data[1:]))))
    if data[0] == _FILTER_TAG:
        tag, expression = map(text, fields_untrusted(unpack_untrusted(data[1:]), _TAG_FILTER)[:2])
        if len(expression) > limits.FILTER_EXPRESSION_BYTES_MAX:
            raise DecodeError(reasons.BAD_FILTER, f"an expression of {len(expression)} characters")
        return TagFilter(tag, expression)
    raise DecodeError(reasons.BAD_FILTER, f"kind {data[0]}")


def encode_coordinate(coordinate: Coordinate) -> bytes:
    """Encode a coordinate as the payload of an ack."""
    vec, error, adjustment, height = coordinate
    return bytes((numbers.COORDINATE_VERSION,)) + pack(
        {"Adjustment": adjustment, "Error": error, "Height": height, "Vec": vec}
    )


def decode_coordinate_untrusted(payload: bytes) -> Coordinate:
    """Read the payload of an ack. How many dimensions fit is the caller's business.

    Raises:
        DecodeError: It is empty, of another version, undecodable, or has a NaN or infinity.
    """
    if len(payload) == _COORDINATE_FRAME.size:
        # Every ack brings one; read by its places it takes half the time.
        places = _COORDINATE_FRAME.unpack(payload)
        if places[::2] == _COORDINATE_MARKS:
            adjustment, error, height = places[1:6:2]
            return _finite_coordinate(places[7::2], error, adjustment, height)
    if not payload:
        raise DecodeError(reasons.EMPTY)
    if payload[0] != numbers.COORDINATE_VERSION:
        raise DecodeError(reasons.BAD_COORDINATE, f"version {payload[0]}")
    values = fields_untrusted(unpack_untrusted(payload[1:]), _COORDINATE)
    vec = tuple(real(item) for item in items(values[0]))
    return _finite_coordinate(vec, real(values[1]), real(values[2]), real(values[3]))


def _finite_coordinate(
    vec: tuple[float, ...], error: float, adjustment: float, height: float
) -> Coordinate:
    # A finite sum has finite terms. The other way round that is not so, and each is looked at.
    if not isfinite(sum(vec, error + adjustment + height)) and not all(
        map(isfinite, (*vec, error, adjustment, height))
    ):
        raise DecodeError(reasons.BAD_COORDINATE, "not finite")
    return make(Coordinate, (vec, error, adjustment, height))
