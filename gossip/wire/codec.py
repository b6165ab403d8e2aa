"""memberlist's messages with their type byte (gossip protocol, 2 and 5).

What a stream adds (headers, following bytes) is in `stream_encoder.py` and `stream_decoder.py`,
the layers around packets in `packet.py`, Serf's messages in `serf.py`.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, assert_never, cast

from gossip.errors import DecodeError
from gossip.types import Incarnation, MemberName, SeqNo
from gossip.wire import limits, numbers, reasons
from gossip.wire.body import (
    blob,
    fields_untrusted,
    flag,
    nullable_blob,
    pack,
    text,
    u16,
    u32,
    unpack_untrusted,
)
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Nack,
    PacketMessage,
    Ping,
    Suspect,
    UserMessage,
    make,
)


def encode_message(message: PacketMessage | ErrorReply) -> bytes:
    """Encode one message, type byte first, as a datagram or a compound's part has it."""
    # What comes all the time goes first, and without `match`, which takes three times as long.
    if isinstance(message, Ping):
        return _encode_ping(message)
    if isinstance(message, Ack):
        seq_no, payload = message
        return b"\x02" + pack({"Payload": payload, "SeqNo": seq_no})
    match message:
        case UserMessage():
            return b"\x08" + message.payload
        case Alive():
            return b"\x04" + pack(
                {
                    "Addr": message.addr,
                    "Incarnation": message.incarnation,
                    "Meta": message.meta,
                    "Node": message.node,
                    "Port": message.port,
                    "Vsn": message.vsn,
                }
            )
        case Suspect():
            return b"\x03" + pack(_accusation(message))
        case Dead():
            return b"\x05" + pack(_accusation(message))
        case IndirectPing():
            body: dict[str, object] = {
                "Nack": message.nack,
                "Node": message.node,
                "Port": message.port,
                "SeqNo": message.seq_no,
            }
            body |= _source(message.source_addr, message.source_node, message.source_port)
            body["Target"] = message.target
            return b"\x01" + pack(body)
        case Nack():
            return b"\x0b" + pack({"SeqNo": message.seq_no})
        case ErrorReply():
            return b"\x0d" + pack({"Error": message.error})
        case _:
            assert_never(message)


def _encode_ping(ping: Ping) -> bytes:
    # Put together of pieces, because a member's pings differ in two fields of five.
    seq_no, target, addr, port, node = ping
    head, source = _ping_source(addr, node, port)
    return head + _packed_name(target) + b"\xa5SeqNo" + pack(seq_no) + source


@lru_cache(maxsize=4096)
def _ping_source(addr: bytes, node: MemberName, port: int) -> tuple[bytes, bytes]:
    """What comes before the name of a ping, and what after its number."""
    source = _source(addr, node, port)
    return b"\x00" + bytes((0x82 + len(source),)) + b"\xa4Node", pack(source)[1:]


_packed_name: Final = cast("Callable[[MemberName], bytes]", lru_cache(maxsize=16384)(pack))


def _source(addr: bytes, node: MemberName, port: int) -> dict[str, object]:
    """The three fields that are left out when empty."""
    fields = {"SourceAddr": addr, "SourceNode": node, "SourcePort": port}
    return {key: value for key, value in fields.items() if value}


def _accusation(message: Suspect | Dead) -> dict[str, object]:
    body: dict[str, object] = {
        "From": message.from_node,
        "Incarnation": message.incarnation,
        "Node": message.node,
    }
    if message.refused:
        body["Refused"] = True
    return body


def decode_message_untrusted(data: bytes) -> PacketMessage:
    """Read one message that has no layers left around it. Bytes after its body are ignored.

    Raises:
        DecodeError: It is empty, of a type that datagrams do not carry, or breaks a rule.
    """
    if not data:
        raise DecodeError(reasons.EMPTY)
    kind = data[0]
    if kind == numbers.USER:
        return UserMessage(data[1:])
    decode = _DECODERS.get(kind)
    if decode is None:
        raise DecodeError(reasons.UNKNOWN_TYPE, f"type {kind} in a packet")
    return decode(unpack_untrusted(data[1:]))


_PING: Final = (b"SeqNo", b"Node", b"SourceAddr", b"SourcePort", b"SourceNode")
_INDIRECT_PING: Final = (
    b"SeqNo",
    b"Target",
    b"Port",
    b"Node",
    b"Nack",
    b"SourceAddr",
    b"SourcePort",
    b"SourceNode",
)
_ACK: Final = (b"SeqNo", b"Payload")
_NACK: Final = (b"SeqNo",)
_ACCUSATION: Final = (b"Incarnation", b"Node", b"From", b"Refused")
_ALIVE: Final = (b"Incarnation", b"Node", b"Addr", b"Port", b"Meta", b"Vsn")


def ping_from_body(body: object) -> Ping:
    """Check an unpacked ping body, from a datagram or a stream."""
    seq_no, node, source_addr, source_port, source_node = fields_untrusted(body, _PING)
    return make(
        Ping,
        (
            _seq_no(seq_no),
            member_name(node),
            _source_addr(source_addr),
            u16(source_port),
            member_name(source_node),
        ),
    )


def ack_from_body(body: object) -> Ack:
    """Check an unpacked ack body, from a datagram or a stream."""
    seq_no, payload = fields_untrusted(body, _ACK)
    return make(Ack, (_seq_no(seq_no), nullable_blob(payload)))


def _indirect_ping(body: object) -> IndirectPing:
    values = fields_untrusted(body, _INDIRECT_PING)
    return IndirectPing(
        _seq_no(values[0]),
        wire_address(values[1]),
        u16(values[2]),
        member_name(values[3]),
        flag(values[4]),
        _source_addr(values[5]),
        u16(values[6]),
        member_name(values[7]),
    )


def _nack(body: object) -> Nack:
    return Nack(_seq_no(fields_untrusted(body, _NACK)[0]))


def _suspect(body: object) -> Suspect:
    return Suspect(*_accusation_values(body))


def _dead(body: object) -> Dead:
    return Dead(*_accusation_values(body))


def _accusation_values(body: object) -> tuple[Incarnation, MemberName, MemberName, bool]:
    values = fields_untrusted(body, _ACCUSATION)
    return (
        _incarnation(values[0]),
        member_name(values[1]),
        member_name(values[2]),
        flag(values[3]),
    )


def _alive(body: object) -> Alive:
    values = fields_untrusted(body, _ALIVE)
    return Alive(
        _incarnation(values[0]),
        given_name(values[1]),
        wire_address(values[2]),
        u16(values[3]),
        wire_meta(values[4]),
        full_vsn(values[5]),
    )


_DECODERS: Final[Mapping[int, Callable[[object], PacketMessage]]] = {
    numbers.PING: ping_from_body,
    numbers.INDIRECT_PING: _indirect_ping,
    numbers.ACK: ack_from_body,
    numbers.SUSPECT: _suspect,
    numbers.ALIVE: _alive,
    numbers.DEAD: _dead,
    numbers.NACK: _nack,
}


# Fields with a rule of this protocol beyond their kind (14.2 and 14.3).


_seq_no: Final = cast("Callable[[object], SeqNo]", u32)
_incarnation: Final = cast("Callable[[object], Incarnation]", u32)


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


def _source_addr(value: object) -> bytes:
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
