"""The golden vectors of the gossip protocol, and a second, naive reading of their layers.

Nothing here uses the package under test except its message types, which only hold what the
vectors state in words.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gossip.types import Incarnation, LamportTime, MemberName, SeqNo
from gossip.wire import messages as m

_FILE: Final = json.loads(Path(__file__).with_name("vectors.json").read_text())
KEYS: Final[dict[str, bytes]] = {name: bytes.fromhex(key) for name, key in _FILE["keys"].items()}
LZW_PAIRS: Final[dict[str, tuple[bytes, bytes]]] = {
    pair["id"]: (bytes.fromhex(pair["plain"]), bytes.fromhex(pair["compressed"]))
    for pair in _FILE["lzw"]
}


@dataclass(frozen=True)
class Vector:
    id: str
    transport: str
    key: bytes | None
    data: bytes
    layers: tuple[str, ...]
    label: str
    decoded: list[dict[str, Any]]
    exact: bool


VECTORS: Final = [
    Vector(
        id=v["id"],
        transport=v["transport"],
        key=KEYS[v["key"]] if v["key"] else None,
        data=bytes.fromhex(v["hex"]),
        layers=tuple(v["layers"]),
        label=v.get("label") or "",
        decoded=v["decoded"],
        exact=v["exact"],
    )
    for v in _FILE["vectors"]
]
PACKETS: Final = [v for v in VECTORS if v.transport == "udp"]
STREAMS: Final = [v for v in VECTORS if v.transport == "tcp"]


@dataclass(frozen=True)
class Sealed:
    """One encrypted payload and what went into it."""

    version: int
    nonce: bytes
    aad: bytes
    plaintext: bytes
    payload: bytes


def find_sealed(vector: Vector) -> Sealed:
    assert vector.key is not None
    data, aad = vector.data, vector.label.encode()
    if vector.label:
        data = data[2 + len(aad) :]
    if vector.transport == "tcp":
        aad = data[:5] + aad
        data = data[5:]
    plaintext = AESGCM(vector.key).decrypt(data[1:13], data[13:], aad)
    if data[0] == 0:
        plaintext = plaintext[: -plaintext[-1]]
    return Sealed(data[0], data[1:13], aad, plaintext, data)


def peel(vector: Vector) -> list[bytes]:
    """The messages left when the stated layers are taken off."""
    data = vector.data
    for layer in vector.layers:
        if layer == "label":
            data = data[2 + data[1] :] if vector.key is None else data
        elif layer.startswith("encryption"):
            data = find_sealed(vector).plaintext
        elif layer == "crc":
            assert zlib.crc32(data[5:]) == int.from_bytes(data[1:5], "big")
            data = data[5:]
        elif layer == "compress":
            unpacker = msgpack.Unpacker(raw=True)
            unpacker.feed(data[1:])
            data = naive_lzw_decompress(unpacker.unpack()[b"Buf"])
        else:
            assert layer == "compound"
            count = data[1]
            sizes = [int.from_bytes(data[2 + 2 * i : 4 + 2 * i], "big") for i in range(count)]
            position, parts = 2 + 2 * count, []
            for size in sizes:
                parts.append(data[position : position + size])
                position += size
            return parts
    return [data]


def naive_lzw_decompress(data: bytes) -> bytes:
    """Section 4.4's decoder word by word, over one big integer; slow and short."""
    bits, position = int.from_bytes(data, "little"), 0
    out = bytearray()
    table: dict[int, bytes] = {}
    width, hi, last = 9, 257, b""
    while True:
        code = bits >> position & (1 << width) - 1
        position += width
        if code == 256:
            table, width, hi, last = {}, 9, 257, b""
            continue
        if code == 257:
            return bytes(out)
        if code < 256:
            expansion = bytes([code])
        elif code <= hi and code in table:
            expansion = table[code]
        else:
            assert code == hi
            assert last
            expansion = last + last[:1]
        if last:
            table[hi] = last + expansion[:1]
        out += expansion
        last = expansion
        hi += 1
        if hi == 1 << width:
            if width < 12:
                width += 1
            else:
                last, hi = b"", hi - 1


# From a vector's words to the message they state.


def stated_message(entry: dict[str, Any]) -> m.Message:
    body = entry.get("body", {})
    if isinstance(body, list):
        assert entry["message"] == "ping"
        return m.Ping(SeqNo(body[0]), MemberName(body[1]))
    match entry["message"]:
        case "ping":
            return m.Ping(
                SeqNo(body["SeqNo"]),
                MemberName(body["Node"]),
                _hex(body.get("SourceAddr")),
                body.get("SourcePort", 0),
                MemberName(body.get("SourceNode", "")),
            )
        case "indirect-ping":
            return m.IndirectPing(
                SeqNo(body["SeqNo"]),
                _hex(body["Target"]),
                body["Port"],
                MemberName(body["Node"]),
                body["Nack"],
                _hex(body["SourceAddr"]),
                body["SourcePort"],
                MemberName(body["SourceNode"]),
            )
        case "ack":
            payload = body["Payload"]
            return m.Ack(SeqNo(body["SeqNo"]), None if payload is None else _hex(payload))
        case "nack":
            return m.Nack(SeqNo(body["SeqNo"]))
        case "error":
            return m.ErrorReply(body["Error"])
        case "suspect" | "dead" as kind:
            make = m.Suspect if kind == "suspect" else m.Dead
            return make(
                Incarnation(body["Incarnation"]), MemberName(body["Node"]), MemberName(body["From"])
            )
        case "alive":
            return m.Alive(
                Incarnation(body["Incarnation"]),
                MemberName(body["Node"]),
                _hex(body["Addr"]),
                body["Port"],
                _hex(body["Meta"]),
                _hex(body["Vsn"]),
            )
        case "push-pull":
            return m.PushPull(
                entry["header"]["Join"],
                tuple(
                    m.PushPullNode(
                        MemberName(node["Name"]),
                        _hex(node["Addr"]),
                        node["Port"],
                        _hex(node["Meta"]),
                        Incarnation(node["Incarnation"]),
                        node["State"],
                        _hex(node["Vsn"]),
                    )
                    for node in entry["nodes"]
                ),
            )
        case _:
            raise AssertionError(entry)


def stated_serf(entry: dict[str, Any]) -> m.SerfMessage:
    body = entry.get("body", {})
    match entry["serf"]:
        case "leave-intent":
            return m.LeaveIntent(body["LTime"], MemberName(body["Node"]), body["Prune"])
        case "join-intent":
            return m.JoinIntent(body["LTime"], MemberName(body["Node"]))
        case "push-pull-state":
            return m.SerfState(
                ltime=body["LTime"],
                status_ltimes={
                    MemberName(k): LamportTime(v) for k, v in body["StatusLTimes"].items()
                },
                left_members=tuple(body["LeftMembers"]),
                event_ltime=body["EventLTime"],
                events=tuple(
                    m.UserEventSlot(
                        slot["LTime"],
                        tuple(
                            m.UserEventEntry(e["Name"], _hex(e["Payload"])) for e in slot["Events"]
                        ),
                    )
                    for slot in body["Events"]
                ),
                query_ltime=body["QueryLTime"],
            )
        case "user-event":
            return m.UserEvent(body["LTime"], body["Name"], _hex(body["Payload"]), body["CC"])
        case "query":
            return m.Query(
                ltime=body["LTime"],
                id=body["ID"],
                addr=_hex(body["Addr"]),
                port=body["Port"],
                source_node=MemberName(body["SourceNode"]),
                filters=tuple(_hex(f) for f in body["Filters"] or ()),
                flags=body["Flags"],
                relay_factor=body["RelayFactor"],
                timeout_ns=body["Timeout"],
                name=body["Name"],
                payload=_hex(body["Payload"]),
            )
        case "query-response":
            return m.QueryResponse(
                body["LTime"],
                body["ID"],
                MemberName(body["From"]),
                body["Flags"],
                _hex(body["Payload"]),
            )
        case "conflict-response":
            return m.ConflictResponse(
                MemberName(body["Name"]),
                _hex(body["Addr"]),
                body["Port"],
                body["Tags"],
                body["Status"],
                bytes(
                    body[name]
                    for name in (
                        "ProtocolMin",
                        "ProtocolMax",
                        "ProtocolCur",
                        "DelegateMin",
                        "DelegateMax",
                        "DelegateCur",
                    )
                ),
            )
        case "key-request":
            return m.KeyRequest(_hex(body["Key"]))
        case "key-response":
            return m.KeyResponse(
                body["Result"], body["Message"], tuple(body["Keys"] or ()), body["PrimaryKey"]
            )
        case _:
            raise AssertionError(entry)


def _hex(value: dict[str, str] | None) -> bytes:
    return b"" if value is None else bytes.fromhex(value["hex"])
