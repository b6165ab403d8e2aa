"""Fields with a rule of this protocol beyond their kind (gossip protocol, 14.2 and 14.3).

Each converter takes what msgpack has read, as those of `body.py` do, and raises `DecodeError` for
what breaks its rule.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, cast

from gossip.errors import DecodeError
from gossip.types import Incarnation, MemberName, SeqNo
from gossip.wire import limits, reasons
from gossip.wire.body import blob, text, u32

wire_seq_no: Final = cast("Callable[[object], SeqNo]", u32)
wire_incarnation: Final = cast("Callable[[object], Incarnation]", u32)


@lru_cache(maxsize=16384)
def _name_of_bytes(value: bytes) -> MemberName:
    # Remembered, because a pool has few names and says them in every packet; and each is held once
    # in memory, however many messages and tables it is in.
    if len(value) > limits.NAME_BYTES_MAX:
        raise DecodeError(reasons.BAD_NAME, f"{len(value)} bytes")
    return MemberName(text(value))


def member_name(value: object) -> MemberName:
    """A node name, possibly empty, of bounded length."""
    return _name_of_bytes(value) if type(value) is bytes else MemberName(text(value))


def given_name(value: object) -> MemberName:
    """The name of a member that is being announced: never empty."""
    name = member_name(value)
    if not name:
        raise DecodeError(reasons.BAD_NAME, "an announced member without a name")
    return name


def wire_address(value: object) -> bytes:
    """An IP address of 4 or 16 bytes."""
    address = blob(value)
    if len(address) not in (4, 16):
        raise DecodeError(reasons.BAD_ADDRESS, f"{len(address)} bytes")
    return address


def wire_source_addr(value: object) -> bytes:
    """Where to answer; empty means the packet's own source (5.1)."""
    if type(value) is bytes and len(value) == 4:
        return value  # what nearly every packet has
    return b"" if value is None or value == b"" else wire_address(value)


def wire_meta(value: object) -> bytes:
    """A member's metadata, of bounded length."""
    meta = blob(value)
    if len(meta) > limits.META_BYTES_MAX:
        raise DecodeError(reasons.BAD_META, f"{len(meta)} bytes")
    return meta


def full_vsn(value: object) -> bytes:
    """All six versions. Fewer would poison the members that take them over (section 7)."""
    vsn = blob(value)
    if len(vsn) != 6:
        raise DecodeError(reasons.BAD_VSN, f"{len(vsn)} versions")
    return vsn
