"""Streams: what is written is read, in any slicing, within the bounds of section 14."""

from collections.abc import Iterable

import msgpack
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.config import PoolConfig
from gossip.errors import DecodeError
from gossip.types import Incarnation, MemberName, SeqNo
from gossip.wire import Keyring, Progress, StreamDecoder, StreamEncoder, StreamLayerError
from gossip.wire.framing import compress_body
from gossip.wire.limits import FRAME_BYTES_MAX, STREAM_BYTES_MAX
from gossip.wire.lzw import compress
from gossip.wire.messages import Ping, PushPull, PushPullNode, StreamMessage, UserMessage
from tests.gossip.wire.strategies import replies, requests

NONCE = bytes(range(12))
KEY = b"k" * 32
VSN = bytes((1, 5, 2, 2, 5, 5))
NODE = {
    "Name": "n1",
    "Addr": bytes((127, 0, 0, 1)),
    "Port": 7946,
    "Meta": b"",
    "Incarnation": 1,
    "State": 0,
    "Vsn": VSN,
}


def encode(
    message: StreamMessage,
    *,
    label: str = "",
    key: bytes | None = None,
    compressing: bool = False,
    dialled: bool = True,
) -> list[bytes]:
    encoder = StreamEncoder(
        PoolConfig(label=label),
        Keyring([key]) if key else None,
        new_nonce=lambda: NONCE,
        compress=compressing,
    )
    return list(encoder.encode(message, dialled=dialled))


def decoder_of(
    *, label: str = "", key: bytes | None = None, dialled: bool = False, verify: bool = True
) -> StreamDecoder:
    return StreamDecoder(
        PoolConfig(label=label, verify_incoming=verify),
        Keyring([key]) if key else None,
        dialled=dialled,
    )


def read(decoder: StreamDecoder, chunks: Iterable[bytes]) -> StreamMessage:
    for chunk in chunks:
        decoder.feed(chunk)
        while (progress := decoder.advance()) is Progress.BUSY:
            pass
        if progress is Progress.DONE:
            return decoder.message
    decoder.feed_end()
    while decoder.advance() is not Progress.DONE:
        pass
    return decoder.message


def refusal(data: bytes, decoder: StreamDecoder | None = None) -> DecodeError:
    with pytest.raises(DecodeError) as refused:
        read(decoder or decoder_of(), [data])
    return refused.value


def packed(*objects: object) -> bytes:
    return b"".join(msgpack.packb(o, use_bin_type=False) for o in objects)


def push_pull(*nodes: object, state: bytes = b"", **header: object) -> bytes:
    fields = {"Nodes": len(nodes), "UserStateLen": len(state), "Join": False, **header}
    return b"\x06" + packed(fields, *nodes) + state


layers = st.fixed_dictionaries(
    {"label": st.sampled_from(["", "pool"]), "key": st.sampled_from([None, KEY])}
)


@settings(deadline=None, max_examples=60)
@given(requests, layers, st.booleans(), st.integers(1, 700))
def test_a_request_is_read_as_written_through_every_combination_of_layers(
    message: StreamMessage, layers: dict[str, str], compressing: bool, chunk_bytes: int
) -> None:
    data = b"".join(encode(message, compressing=compressing, **layers))  # type: ignore[arg-type]  # typed by the strategy
    chunks = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]

    assert read(decoder_of(**layers), chunks) == message  # type: ignore[arg-type]  # as above


@settings(deadline=None, max_examples=60)
@given(replies, layers, st.booleans())
def test_a_reply_is_read_as_written_and_has_no_label(
    message: StreamMessage, layers: dict[str, str], compressing: bool
) -> None:
    pieces = encode(message, compressing=compressing, dialled=False, **layers)  # type: ignore[arg-type]  # as above

    assert read(decoder_of(dialled=True, **layers), pieces) == message  # type: ignore[arg-type]  # as above
    assert b"".join(pieces)[:1] != b"\xf4"


def test_a_large_state_is_written_and_read_in_slices() -> None:
    nodes = tuple(
        PushPullNode(
            MemberName(f"n{i}"), b"\x7f\0\0\1", 8301, b"m" * 100, Incarnation(1), i % 4, VSN
        )
        for i in range(5000)
    )
    message = PushPull(True, nodes, b"s" * 300_000)
    pieces = encode(message, key=KEY)
    decoder = decoder_of(key=KEY)
    decoder.feed(b"".join(pieces))
    busy = 0
    while decoder.advance() is Progress.BUSY:
        busy += 1

    assert decoder.message == message
    assert len(pieces) > 19
    assert busy > 19


def test_bytes_after_a_message_are_ignored() -> None:
    message = Ping(SeqNo(1), MemberName("n"))

    assert read(decoder_of(), [*encode(message), b"more"]) == message


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 7, 11, 12, 13, 99])
def test_a_type_that_is_no_request_is_refused(kind: int) -> None:
    assert refusal(bytes((kind,)) + packed({})).reason == "unknown-type"


@pytest.mark.parametrize("kind", [0, 8])
def test_a_type_that_is_no_reply_is_refused(kind: int) -> None:
    data = bytes((kind,)) + packed({})

    assert refusal(data, decoder_of(dialled=True)).reason == "unknown-type"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "stream-cut"),
        (b"\x00", "stream-cut"),
        (b"\x00\xc1", "bad-body"),
        (push_pull(Nodes=-1), "too-many-nodes"),
        (push_pull(Nodes=65537), "too-many-nodes"),
        (push_pull(UserStateLen=-1), "user-state-too-long"),
        (push_pull(UserStateLen=20 * 1024 * 1024 + 1), "user-state-too-long"),
        (push_pull(UserStateLen=1), "stream-cut"),
        (push_pull(Nodes=1), "stream-cut"),
        (push_pull({**NODE, "State": 4}), "bad-state"),
        (push_pull({**NODE, "Port": -1}), "bad-field"),
        (push_pull("node"), "bad-body"),
        (push_pull(b"\xdc\xff\xff"), "bad-body"),
        (b"\x08" + packed({"UserMsgLen": -1}), "user-message-too-long"),
        (b"\x08" + packed({"UserMsgLen": 20 * 1024 * 1024 + 1}), "user-message-too-long"),
        (b"\x08" + packed({"UserMsgLen": 3}) + b"ab", "stream-cut"),
        (b"\xf4\x00\x00", "bad-label"),
        (b"\xf4\x01x\x00\x80", "wrong-label"),
        (compress_body(compress(compress_body(compress(b"\x00\x80")))), "unknown-type"),
        (compress_body(compress(b"")), "empty"),
        (b"\x06\x83\xa5Nodes\x01" + b"\xa1x" + b"\xdc\xff\xff" * 1000, "bad-body"),
    ],
)
def test_a_bad_request_is_refused_silently(data: bytes, reason: str) -> None:
    error = refusal(data)

    assert error.reason == reason
    assert not isinstance(error, StreamLayerError)


def frame(plaintext: bytes, *, key: bytes = KEY, version: int = 1) -> bytes:
    header = b"\x0a" + (len(plaintext) + 29).to_bytes(4, "big")
    sealed = AESGCM(key).encrypt(NONCE, plaintext, header)
    return header + bytes((version,)) + NONCE + sealed


@pytest.mark.parametrize(
    ("data", "key", "reason"),
    [
        (b"\x00\x80", KEY, "not-encrypted"),
        (frame(b"\x00\x80"), None, "unexpectedly-encrypted"),
        (frame(b"\x00\x80", key=b"x" * 16), KEY, "decrypt-failed"),
        (frame(b"\x00\x80", version=2), KEY, "bad-encryption"),
        (b"\x0a\x00\x00\x00\x02\x01\x01", KEY, "bad-encryption"),
        (b"\x0a" + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"), KEY, "frame-too-long"),
        (compress_body(b"\x00"), None, "bad-compression"),
        (b"\x09\x82\xa4Algo\x05\xa3Buf\xa0", None, "bad-compression"),
    ],
)
def test_an_unreadable_layer_is_refused_with_an_answer(
    data: bytes, key: bytes | None, reason: str
) -> None:
    error = refusal(data, decoder_of(key=key))

    assert error.reason == reason
    assert isinstance(error, StreamLayerError)


def test_a_frame_of_nothing_is_refused() -> None:
    error = refusal(frame(b""), decoder_of(key=KEY))

    assert (error.reason, isinstance(error, StreamLayerError)) == ("empty", False)


def test_a_frame_that_claims_too_much_is_refused_before_it_is_read() -> None:
    decoder = decoder_of(key=KEY)
    decoder.feed(b"\x0a\xff\xff\xff\xff")

    with pytest.raises(StreamLayerError):
        decoder.advance()


def test_a_stream_never_grows_beyond_its_bound() -> None:
    decoder = decoder_of()
    chunk = bytes(4 * 1024 * 1024)
    for _ in range(STREAM_BYTES_MAX // len(chunk)):
        decoder.feed(chunk)

    with pytest.raises(DecodeError) as refused:
        decoder.feed(b"x")

    assert refused.value.reason == "stream-too-long"
    assert decoder.held_bytes > STREAM_BYTES_MAX


def test_a_compressed_stream_stops_expanding_at_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gossip.wire.limits.STREAM_EXPANSION_BYTES_MAX", 100_000)

    error = refusal(compress_body(compress(b"\x08" + bytes(100_000))))

    assert error.reason == "expansion-too-large"
    assert isinstance(error, StreamLayerError)


def test_with_verification_off_plaintext_is_taken_beside_frames() -> None:
    ping = Ping(SeqNo(0), MemberName(""))

    assert read(decoder_of(key=KEY, verify=False), [b"\x00\x80"]) == ping
    assert read(decoder_of(key=KEY, verify=False), [frame(b"\x00\x80")]) == ping


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Name": "n" * 256}, "bad-name"),
        ({"Addr": b"\x7f\0\1"}, "bad-address"),
        ({"Meta": bytes(513)}, "bad-meta"),
        ({"Vsn": VSN[:4]}, "bad-vsn"),
    ],
)
def test_one_harmful_node_is_left_out_and_the_others_are_kept(
    change: dict[str, object], reason: str
) -> None:
    decoder = decoder_of()
    message = read(decoder, [push_pull(NODE, {**NODE, **change}, {**NODE, "Name": "n3"})])

    assert isinstance(message, PushPull)
    assert [node.name for node in message.nodes] == ["n1", "n3"]
    assert [error.reason for error in decoder.skipped_nodes] == [reason]


def test_a_node_with_no_versions_is_kept_for_the_version_check() -> None:
    message = read(decoder_of(), [push_pull({**NODE, "Vsn": None})])

    assert isinstance(message, PushPull)
    assert message.nodes[0].vsn == b""


def test_a_user_message_of_a_megabyte_is_carried() -> None:
    message = UserMessage(bytes(range(256)) * 4096)

    assert read(decoder_of(key=KEY), encode(message, key=KEY)) == message
