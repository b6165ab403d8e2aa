"""Pings and acks: what idle members send each other all the time (gossip protocol, 5.1 and 5.3).

They are put together of pieces, because most of a member's pings are equal but for the number, and
read by these pieces again. What is laid out otherwise, as it may be, is left to `codec.py`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, cast

from gossip.types import MemberName
from gossip.wire.body import pack
from gossip.wire.fields import member_name
from gossip.wire.messages import Ack, Ping, make

_NUMBER: Final = b"\xa5SeqNo"
_NUMBER_MARKS: Final = {2: 0xCC, 3: 0xCD, 5: 0xCE}
"""How the numbers begin that take so many bytes; one that takes a single byte is that byte."""
_ACK_HEAD: Final = b"\x02\x82\xa7Payload\xda"
_PING_HEAD: Final = b"\x00\x85\xa4Node"
_SOURCE_ADDR: Final = b"\xaaSourceAddr"
_SOURCE_NODE: Final = b"\xaaSourceNode"
_SOURCE_PORT: Final = b"\xaaSourcePort\xcd"
_SHORT_TEXT_BYTES_MAX: Final = 0x1F
"""Of those texts whose first byte is 0xA0 with their length added."""
_USUAL_PING_BYTES_MAX: Final = 128
"""No ping with short names and an IPv4 address is longer, and so what is remembered is bounded."""


def encode_ping(ping: Ping) -> bytes:
    """Encode a ping, type byte first."""
    seq_no, target, addr, port, node = ping
    head, source = _source_pieces(addr, node, port)
    return head + _packed_name(target) + _NUMBER + pack(seq_no) + source


def encode_ack(ack: Ack) -> bytes:
    """Encode an ack, type byte first."""
    seq_no, payload = ack
    return b"\x02\x82\xa7Payload" + pack(payload) + _NUMBER + pack(seq_no)


def source_fields(addr: bytes, node: MemberName, port: int) -> dict[str, object]:
    """The three fields of a ping, direct or not, that are left out when empty."""
    fields = {"SourceAddr": addr, "SourceNode": node, "SourcePort": port}
    return {key: value for key, value in fields.items() if value}


def usual_ping_untrusted(data: bytes) -> Ping | None:
    """Read a ping as members with an IPv4 address and short names write it, else None.

    None means only that it has to be read as what may be laid out in any way.
    """
    if not data.startswith(_PING_HEAD) or not 8 <= len(data) <= _USUAL_PING_BYTES_MAX:
        return None
    head, _, rest = data.partition(_NUMBER)
    target = head[8:]
    if not data[7] - 0xA0 == len(target) <= _SHORT_TEXT_BYTES_MAX:
        return None
    number, _, source = rest.partition(_SOURCE_ADDR)
    seq_no, origin = _seq_no(number), _origin(source)
    if seq_no is None or origin is None:
        return None
    addr, port, node = origin
    return make(Ping, (seq_no, member_name(target), addr, port, node))


def usual_ack_untrusted(data: bytes) -> Ack | None:
    """Read an ack with a coordinate as members write it, else None, which means as much."""
    if not data.startswith(_ACK_HEAD) or len(data) < 13:
        return None
    payload_end = 13 + (data[11] << 8 | data[12])
    number_at = payload_end + len(_NUMBER)
    if data[payload_end:number_at] != _NUMBER or (seq_no := _seq_no(data[number_at:])) is None:
        return None
    return make(Ack, (seq_no, data[13:payload_end]))


def _seq_no(packed: bytes) -> int | None:
    """A number with nothing behind it."""
    size = len(packed)
    if size == 1 and packed[0] < 0x80:
        return packed[0]
    if size and _NUMBER_MARKS.get(size) == packed[0]:
        return int.from_bytes(packed[1:], "big")
    return None


@lru_cache(maxsize=4096)
def _origin(source: bytes) -> tuple[bytes, int, MemberName] | None:
    """Address, port and name of a ping's sender, by what comes behind the key of the address."""
    addr, node, port = source[1:5], source[17:-14], source[-2:]
    size = len(node)
    if size > _SHORT_TEXT_BYTES_MAX or source != b"".join(
        (b"\xa4", addr, _SOURCE_NODE, bytes((0xA0 + size,)), node, _SOURCE_PORT, port)
    ):
        return None
    return addr, int.from_bytes(port, "big"), member_name(node)


@lru_cache(maxsize=4096)
def _source_pieces(addr: bytes, node: MemberName, port: int) -> tuple[bytes, bytes]:
    """What comes before the name of a ping's target, and what after its number."""
    fields = source_fields(addr, node, port)
    return b"\x00" + bytes((0x82 + len(fields),)) + b"\xa4Node", pack(fields)[1:]


_packed_name: Final = cast("Callable[[MemberName], bytes]", lru_cache(maxsize=16384)(pack))
