"""How pings and acks, which idle members send all the time, are written (gossip protocol, 5).

They are put together of pieces, because most of a member's pings are equal but for the number.
Reading them is in `codec.py`, as that of all others.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, cast

from gossip.types import MemberName
from gossip.wire.body import pack
from gossip.wire.messages import Ack, Ping

_NUMBER: Final = b"\xa5SeqNo"


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


@lru_cache(maxsize=4096)
def _source_pieces(addr: bytes, node: MemberName, port: int) -> tuple[bytes, bytes]:
    """What comes before the name of a ping's target, and what after its number."""
    fields = source_fields(addr, node, port)
    return b"\x00" + bytes((0x82 + len(fields),)) + b"\xa4Node", pack(fields)[1:]


_packed_name: Final = cast("Callable[[MemberName], bytes]", lru_cache(maxsize=16384)(pack))
