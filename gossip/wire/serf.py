"""Serf's messages with their type byte (gossip protocol, 10).

An empty payload, filter list or key list is written as nil, as the reference does; both read as
empty. Tags, query filters and coordinates, which Serf carries as opaque bytes, are in
`serf_values.py`; the state of a push/pull, the one message that can be large, in `serf_state.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final, assert_never

from gossip.errors import DecodeError
from gossip.types import LamportTime
from gossip.wire import numbers, reasons
from gossip.wire.body import (
    blob,
    fields_untrusted,
    flag,
    i64,
    items,
    new_unpacker,
    pack,
    text,
    u8,
    u16,
    u32,
    u64,
    unpack_untrusted,
)
from gossip.wire.fields import member_name
from gossip.wire.messages import (
    ConflictResponse,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    SerfState,
    UserEvent,
)
from gossip.wire.serf_state import decode_state_untrusted, encode_state
from gossip.wire.serf_values import tags_from_map


def encode_serf(message: SerfMessage) -> bytes:
    """Encode one Serf message, its type byte first."""
    match message:
        case LeaveIntent():
            return b"\x00" + pack(
                {"LTime": message.ltime, "Node": message.node, "Prune": message.prune}
            )
        case JoinIntent():
            return b"\x01" + pack({"LTime": message.ltime, "Node": message.node})
        case SerfState():
            return b"\x02" + encode_state(message)
        case UserEvent():
            return b"\x03" + pack(
                {
                    "CC": message.coalesce,
                    "LTime": message.ltime,
                    "Name": message.name,
                    "Payload": message.payload or None,
                }
            )
        case Query():
            return b"\x04" + _query_body(message)
        case QueryResponse():
            return b"\x05" + pack(
                {
                    "Flags": message.flags,
                    "From": message.from_node,
                    "ID": message.id,
                    "LTime": message.ltime,
                    "Payload": message.payload or None,
                }
            )
        case ConflictResponse():
            return b"\x06" + _conflict_body(message)
        case KeyRequest():
            return b"\x07" + pack({"Key": message.key})
        case KeyResponse():
            return b"\x08" + pack(
                {
                    "Keys": list(message.keys) or None,
                    "Message": message.message,
                    "PrimaryKey": message.primary_key,
                    "Result": message.result,
                }
            )
        case Relay():
            header = {
                "DestAddr": {"IP": message.dest_addr, "Port": message.dest_port, "Zone": ""},
                "DestName": message.dest_name,
            }
            return b"\x09" + pack(header) + message.inner
        case _:
            assert_never(message)


def _query_body(message: Query) -> bytes:
    return pack(
        {
            "Addr": message.addr,
            "Filters": list(message.filters) or None,
            "Flags": message.flags,
            "ID": message.id,
            "LTime": message.ltime,
            "Name": message.name,
            "Payload": message.payload or None,
            "Port": message.port,
            "RelayFactor": message.relay_factor,
            "SourceNode": message.source_node,
            "Timeout": message.timeout_ns,
        }
    )


def _conflict_body(message: ConflictResponse) -> bytes:
    pmin, pmax, pcur, dmin, dmax, dcur = message.vsn
    return pack(
        {
            "Addr": message.addr,
            "DelegateCur": dcur,
            "DelegateMax": dmax,
            "DelegateMin": dmin,
            "Name": message.name,
            "Port": message.port,
            "ProtocolCur": pcur,
            "ProtocolMax": pmax,
            "ProtocolMin": pmin,
            "Status": message.status,
            "Tags": dict(sorted(message.tags.items())),
        }
    )


def decode_serf_untrusted(data: bytes) -> SerfMessage:
    """Read one Serf message, its type byte first. Bytes after its body are ignored.

    Raises:
        DecodeError: It is empty, of an unknown type, or breaks a rule.
    """
    if not data:
        raise DecodeError(reasons.EMPTY)
    kind = data[0]
    if kind == numbers.SERF_STATE:
        return decode_state_untrusted(data[1:])
    if kind == numbers.SERF_RELAY:
        return _relay(data[1:])
    decode = _DECODERS.get(kind)
    if decode is None:
        raise DecodeError(reasons.UNKNOWN_TYPE, f"Serf type {kind}")
    return decode(unpack_untrusted(data[1:]))


_LEAVE: Final = (b"LTime", b"Node", b"Prune")
_JOIN: Final = (b"LTime", b"Node")
_USER_EVENT: Final = (b"LTime", b"Name", b"Payload", b"CC")
_QUERY: Final = (
    b"LTime",
    b"ID",
    b"Addr",
    b"Port",
    b"SourceNode",
    b"Filters",
    b"Flags",
    b"RelayFactor",
    b"Timeout",
    b"Name",
    b"Payload",
)
_QUERY_RESPONSE: Final = (b"LTime", b"ID", b"From", b"Flags", b"Payload")
_CONFLICT: Final = (b"Name", b"Addr", b"Port", b"Tags", b"Status")
_CONFLICT_VSN: Final = (
    b"ProtocolMin",
    b"ProtocolMax",
    b"ProtocolCur",
    b"DelegateMin",
    b"DelegateMax",
    b"DelegateCur",
)
_KEY_REQUEST: Final = (b"Key",)
_KEY_RESPONSE: Final = (b"Result", b"Message", b"Keys", b"PrimaryKey")
_RELAY: Final = (b"DestAddr", b"DestName")
_UDP_ADDRESS: Final = (b"IP", b"Port")


def _leave(body: object) -> LeaveIntent:
    ltime, node, prune = fields_untrusted(body, _LEAVE)[:3]
    return LeaveIntent(LamportTime(u64(ltime)), member_name(node), flag(prune))


def _join(body: object) -> JoinIntent:
    ltime, node = fields_untrusted(body, _JOIN)[:2]
    return JoinIntent(LamportTime(u64(ltime)), member_name(node))


def _user_event(body: object) -> UserEvent:
    ltime, name, payload, coalesce = fields_untrusted(body, _USER_EVENT)[:4]
    return UserEvent(LamportTime(u64(ltime)), text(name), blob(payload), flag(coalesce))


def _query(body: object) -> Query:
    values = fields_untrusted(body, _QUERY)
    return Query(
        ltime=LamportTime(u64(values[0])),
        id=u32(values[1]),
        addr=blob(values[2]),
        port=u16(values[3]),
        source_node=member_name(values[4]),
        filters=tuple(blob(item) for item in items(values[5])),
        flags=u32(values[6]),
        relay_factor=u8(values[7]),
        timeout_ns=i64(values[8]),
        name=text(values[9]),
        payload=blob(values[10]),
    )


def _query_response(body: object) -> QueryResponse:
    ltime, query_id, from_node, flags, payload = fields_untrusted(body, _QUERY_RESPONSE)[:5]
    return QueryResponse(
        LamportTime(u64(ltime)),
        u32(query_id),
        member_name(from_node),
        u32(flags),
        blob(payload),
    )


def _conflict(body: object) -> ConflictResponse:
    values = fields_untrusted(body, _CONFLICT + _CONFLICT_VSN)
    return ConflictResponse(
        name=member_name(values[0]),
        addr=blob(values[1]),
        port=u16(values[2]),
        tags=tags_from_map({} if values[3] is None else values[3]),
        status=i64(values[4]),
        vsn=bytes(u8(value) for value in values[5:11]),
    )


def _key_request(body: object) -> KeyRequest:
    return KeyRequest(blob(fields_untrusted(body, _KEY_REQUEST)[0]))


def _key_response(body: object) -> KeyResponse:
    result, message, keys, primary_key = fields_untrusted(body, _KEY_RESPONSE)[:4]
    return KeyResponse(
        flag(result),
        text(message),
        tuple(text(key) for key in items(keys)),
        text(primary_key),
    )


def _relay(data: bytes) -> Relay:
    unpacker = new_unpacker(max(len(data), 1))
    unpacker.feed(data)
    try:
        header: object = unpacker.unpack()
    except Exception as error:  # as in `unpack_untrusted`
        raise DecodeError(reasons.BAD_BODY, repr(error)) from error
    address, name = fields_untrusted(header, _RELAY)[:2]
    ip, port = fields_untrusted({} if address is None else address, _UDP_ADDRESS)[:2]
    dest_port = i64(port)
    if not 0 <= dest_port <= 0xFFFF:
        raise DecodeError(reasons.BAD_ADDRESS, f"port {dest_port}")
    return Relay(blob(ip), dest_port, member_name(name), data[unpacker.tell() :])


_DECODERS: Final[Mapping[int, Callable[[object], SerfMessage]]] = {
    numbers.SERF_LEAVE: _leave,
    numbers.SERF_JOIN: _join,
    numbers.SERF_USER_EVENT: _user_event,
    numbers.SERF_QUERY: _query,
    numbers.SERF_QUERY_RESPONSE: _query_response,
    numbers.SERF_CONFLICT_RESPONSE: _conflict,
    numbers.SERF_KEY_REQUEST: _key_request,
    numbers.SERF_KEY_RESPONSE: _key_response,
}
