"""Packets and streams of real agents decode to their stated meaning and encode back to it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.config import PoolConfig
from gossip.errors import DecodeError
from gossip.wire import (
    Keyring,
    PacketCodec,
    Progress,
    StreamDecoder,
    decode_coordinate_untrusted,
    decode_filter_untrusted,
    decode_serf_untrusted,
    decode_tags_untrusted,
    encode_coordinate,
    encode_filter,
    encode_message,
    encode_serf,
)
from gossip.wire.messages import (
    Ack,
    Alive,
    Coordinate,
    ErrorReply,
    Message,
    NodeFilter,
    PushPull,
    PushPullNode,
    Query,
    QueryResponse,
    Relay,
    StreamMessage,
    TagFilter,
    UserMessage,
)
from tests.gossip.wire.vectors import (
    PACKETS,
    STREAMS,
    VECTORS,
    Vector,
    find_sealed,
    peel,
    stated_message,
    stated_serf,
)

packets = pytest.mark.parametrize("vector", PACKETS, ids=lambda v: v.id)
streams = pytest.mark.parametrize("vector", STREAMS, ids=lambda v: v.id)


def packet_codec(vector: Vector) -> PacketCodec:
    keyring = Keyring([vector.key]) if vector.key else None
    return PacketCodec(PoolConfig(label=vector.label), keyring, new_nonce=lambda: bytes(12))


def read_stream(vector: Vector, data: bytes) -> StreamMessage:
    """As the side that the vector was sent to would read it."""
    dialled = vector.decoded[0]["message"] in ("ack", "error") or vector.id.endswith("response")
    decoder = StreamDecoder(
        PoolConfig(label=vector.label),
        Keyring([vector.key]) if vector.key else None,
        dialled=dialled,
    )
    decoder.feed(data)
    decoder.feed_end()
    while decoder.advance() is not Progress.DONE:
        pass
    return decoder.message


def assert_means(message: Message, entry: dict[str, Any]) -> None:
    """Compare a decoded message, and what it carries, with a vector's words."""
    if isinstance(message, UserMessage):
        assert_serf_means(message.payload, entry if "serf" in entry else entry["inner"])
        return
    if isinstance(message, PushPull):
        assert PushPull(message.join, message.nodes) == stated_message(entry)
        assert decode_serf_untrusted(message.user_state) == stated_serf(entry["user_state"])
        for node, stated in zip(message.nodes, entry["nodes"], strict=True):
            assert_tags(node, stated)
        return
    assert message == stated_message(entry)
    if isinstance(message, Alive):
        assert_tags(message, entry)
    if isinstance(message, Ack) and "payload" in entry:
        coordinate = entry["payload"]["coordinate"]
        stated_coordinate = Coordinate(
            tuple(coordinate["Vec"]),
            coordinate["Error"],
            coordinate["Adjustment"],
            coordinate["Height"],
        )
        assert decode_coordinate_untrusted(message.payload or b"") == stated_coordinate
        assert encode_coordinate(stated_coordinate) == message.payload


def assert_tags(source: Alive | PushPullNode, entry: dict[str, Any]) -> None:
    assert decode_tags_untrusted(source.meta) == entry["tags"]


def assert_serf_means(payload: bytes, entry: dict[str, Any]) -> None:
    decoded = decode_serf_untrusted(payload)
    if isinstance(decoded, Relay):
        header = entry["header"]
        assert decoded.dest_addr.hex() == header["DestAddr"]["IP"]["hex"]
        assert (decoded.dest_port, decoded.dest_name) == (
            header["DestAddr"]["Port"],
            header["DestName"],
        )
        assert_serf_means(decoded.inner, entry["inner"])
        return
    assert decoded == stated_serf(entry)
    if isinstance(decoded, Query | QueryResponse) and "payload" in entry:
        assert decode_serf_untrusted(decoded.payload) == stated_serf(entry["payload"])
    if isinstance(decoded, Query) and "filters" in entry:
        filters = [
            NodeFilter(tuple(f["value"]))
            if f["kind"] == 0
            else TagFilter(f["value"]["Tag"], f["value"]["Expr"])
            for f in entry["filters"]
        ]
        assert [decode_filter_untrusted(f) for f in decoded.filters] == filters
        assert tuple(map(encode_filter, filters)) == decoded.filters


@packets
def test_a_packet_of_a_real_agent_has_its_stated_meaning(vector: Vector) -> None:
    decoded = packet_codec(vector).decode_untrusted(vector.data)

    assert decoded.drops == []
    for message, entry in zip(decoded.messages, vector.decoded, strict=True):
        assert_means(message, entry)


@streams
def test_a_stream_of_a_real_agent_has_its_stated_meaning(vector: Vector) -> None:
    message = read_stream(vector, vector.data)

    assert_means(message, vector.decoded[0])


@pytest.mark.parametrize(
    "vector",
    # We always write maps, as every known sender does.
    [v for v in VECTORS if v.exact and v.id != "syn-ping-positional"],
    ids=lambda v: v.id,
)
def test_a_stated_message_encodes_to_the_bytes_of_the_real_agent(vector: Vector) -> None:
    for inner, entry in zip(peel(vector), vector.decoded, strict=True):
        if entry["message"] != "user":
            message = stated_message(entry)
            assert not isinstance(message, PushPull)
            assert encode_message(message) == inner
        elif entry["serf"] == "relay":
            relay = Relay(
                bytes.fromhex(entry["header"]["DestAddr"]["IP"]["hex"]),
                entry["header"]["DestAddr"]["Port"],
                entry["header"]["DestName"],
                encode_serf(stated_serf(entry["inner"])),
            )
            assert encode_message(UserMessage(encode_serf(relay))) == inner
        else:
            assert encode_message(UserMessage(encode_serf(stated_serf(entry)))) == inner
            payload = entry.get("payload")
            if payload:
                assert encode_serf(stated_serf(payload)).hex() == entry["body"]["Payload"]["hex"]


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.key], ids=lambda v: v.id)
def test_encrypting_with_the_recorded_nonce_gives_the_recorded_bytes(vector: Vector) -> None:
    assert vector.key is not None
    sealed = find_sealed(vector)

    payload = Keyring([vector.key]).encrypt(
        sealed.plaintext, aad=sealed.aad, nonce=sealed.nonce, version=sealed.version
    )

    assert payload == sealed.payload


@packets
def test_every_prefix_of_a_packet_is_rejected_or_gives_only_whole_messages(vector: Vector) -> None:
    codec = packet_codec(vector)
    whole = codec.decode_untrusted(vector.data).messages
    for size in range(len(vector.data)):
        decoded = codec.decode_untrusted(vector.data[:size])
        for message, expected in zip(decoded.messages, whole, strict=False):
            # An uncompressed user message alone in a datagram has no length of its own.
            assert message == expected or (
                isinstance(message, UserMessage)
                and isinstance(expected, UserMessage)
                and expected.payload.startswith(message.payload)
            )
        assert decoded.messages or decoded.drops


@streams
def test_every_prefix_of_a_stream_is_rejected(vector: Vector) -> None:
    for size in range(len(vector.data)):
        with pytest.raises(DecodeError):
            read_stream(vector, vector.data[:size])


@streams
def test_a_stream_that_trickles_in_means_the_same(vector: Vector) -> None:
    whole = read_stream(vector, vector.data)
    decoder = StreamDecoder(
        PoolConfig(),
        Keyring([vector.key]) if vector.key else None,
        dialled=isinstance(whole, Ack | ErrorReply),
    )
    unread = iter(vector.data)
    while (progress := decoder.advance()) is not Progress.DONE:
        if progress is Progress.NEED_BYTES:
            decoder.feed(bytes((next(unread),)))

    assert decoder.message == whole


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Vector, bytes]:
    """A vector with some bytes flipped, cut out or repeated."""
    vector = draw(st.sampled_from(VECTORS))
    data = bytearray(vector.data[:2000])
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        end = start + draw(st.integers(1, 16))
        match draw(st.sampled_from(("flip", "cut", "repeat"))):
            case "flip":
                data[start : start + 1] = bytes((draw(st.integers(0, 255)),))
            case "cut":
                del data[start:end]
            case _:
                data[start:start] = data[start:end]
    return vector, bytes(data)


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_mutated_vectors_give_messages_or_decode_errors_and_nothing_else(
    case: tuple[Vector, bytes],
) -> None:
    vector, data = case
    for codec in (
        packet_codec(vector),
        PacketCodec(PoolConfig(), None, new_nonce=lambda: bytes(12)),
    ):
        decoded = codec.decode_untrusted(data)
        for message in decoded.messages:
            read_carried(message)
    try:
        read_carried(read_stream(vector, data))
    except DecodeError:
        return


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([None, bytes(16)]), st.booleans())
def test_arbitrary_bytes_give_messages_or_decode_errors_and_nothing_else(
    data: bytes, key: bytes | None, dialled: bool
) -> None:
    keyring = Keyring([key]) if key else None
    decoded = PacketCodec(
        PoolConfig(verify_incoming=False), keyring, new_nonce=lambda: bytes(12)
    ).decode_untrusted(data)
    for message in decoded.messages:
        read_carried(message)
    decoder = StreamDecoder(PoolConfig(), keyring, dialled=dialled)
    decoder.feed(data)
    decoder.feed_end()
    try:
        while decoder.advance() is not Progress.DONE:
            pass
    except DecodeError:
        return
    read_carried(decoder.message)


def read_carried(message: Message) -> None:
    """Decode what a message carries as opaque bytes."""
    try:
        match message:
            case Alive(meta=meta):
                decode_tags_untrusted(meta)
            case Ack(payload=payload):
                decode_coordinate_untrusted(payload or b"")
            case UserMessage(payload=payload):
                serf = decode_serf_untrusted(payload)
                for item in serf.filters if isinstance(serf, Query) else ():
                    decode_filter_untrusted(item)
            case PushPull(user_state=user_state):
                decode_serf_untrusted(user_state)
            case _:
                pass
    except DecodeError:
        pass
