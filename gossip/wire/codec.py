"""memberlist's messages with their type byte (gossip protocol, 2 and 5).

What a stream adds (headers, following bytes) is in `stream_encoder.py` and `stream_decoder.py`,
the layers around packets in `packet.py`, Serf's messages in `serf.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final, assert_never

from gossip.errors import DecodeError
from gossip.types import Incarnation, MemberName
from gossip.wire import numbers, reasons
from gossip.wire.body import fields_untrusted, flag, nullable_blob, pack, u16, unpack_untrusted
from gossip.wire.fields import (
    full_vsn,
    given_name,
    member_name,
    wire_address,
    wire_incarnation,
    wire_meta,
    wire_seq_no,
    wire_source_addr,
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
from gossip.wire.probes import (
    encode_ack,
    encode_ping,
    source_fields,
)


def encode_message(message: PacketMessage | ErrorReply) -> bytes:
    """Encode one message, type byte first, as a datagram or a compound's part has it."""
    # What comes all the time goes first, and without `match`, which takes three times as long.
    if isinstance(message, Ping):
        return encode_ping(message)
    if isinstance(message, Ack):
        return encode_ack(message)
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
            body |= source_fields(message.source_addr, message.source_node, message.source_port)
            body["Target"] = message.target
            return b"\x01" + pack(body)
        case Nack():
            return b"\x0b" + pack({"SeqNo": message.seq_no})
        case ErrorReply():
            return b"\x0d" + pack({"Error": message.error})
        case _:
            assert_never(message)


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
            wire_seq_no(seq_no),
            member_name(node),
            wire_source_addr(source_addr),
            u16(source_port),
            member_name(source_node),
        ),
    )


def ack_from_body(body: object) -> Ack:
    """Check an unpacked ack body, from a datagram or a stream."""
    seq_no, payload = fields_untrusted(body, _ACK)
    return make(Ack, (wire_seq_no(seq_no), nullable_blob(payload)))


def _indirect_ping(body: object) -> IndirectPing:
    values = fields_untrusted(body, _INDIRECT_PING)
    return IndirectPing(
        wire_seq_no(values[0]),
        wire_address(values[1]),
        u16(values[2]),
        member_name(values[3]),
        flag(values[4]),
        wire_source_addr(values[5]),
        u16(values[6]),
        member_name(values[7]),
    )


def _nack(body: object) -> Nack:
    return Nack(wire_seq_no(fields_untrusted(body, _NACK)[0]))


def _suspect(body: object) -> Suspect:
    return Suspect(*_accusation_values(body))


def _dead(body: object) -> Dead:
    return Dead(*_accusation_values(body))


def _accusation_values(body: object) -> tuple[Incarnation, MemberName, MemberName, bool]:
    values = fields_untrusted(body, _ACCUSATION)
    return (
        wire_incarnation(values[0]),
        member_name(values[1]),
        member_name(values[2]),
        flag(values[3]),
    )


def _alive(body: object) -> Alive:
    values = fields_untrusted(body, _ALIVE)
    return Alive(
        wire_incarnation(values[0]),
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
