"""Bodies: what section 3 accepts and refuses, and the rules of section 14 about fields."""

from itertools import permutations
from math import inf, nan
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import ConfigError, DecodeError
from gossip.types import Incarnation, MemberName, SeqNo
from gossip.wire import (
    decode_coordinate_untrusted,
    decode_filter_untrusted,
    decode_message_untrusted,
    decode_serf_untrusted,
    decode_tags_untrusted,
    encode_message,
    encode_serf,
    encode_tags,
)
from gossip.wire.messages import (
    Ack,
    Alive,
    Coordinate,
    IndirectPing,
    PacketMessage,
    Ping,
    Query,
    SerfMessage,
    SerfState,
    Suspect,
    UserMessage,
)
from tests.gossip.wire.strategies import packet_messages, serf_messages, tag_sets

VSN = bytes((1, 5, 2, 2, 5, 5))
ALIVE = {
    "Incarnation": 1,
    "Node": "n1",
    "Addr": bytes((127, 0, 0, 1)),
    "Port": 7946,
    "Meta": b"\xff\x80",
    "Vsn": VSN,
}


def packed(kind: int, body: object) -> bytes:
    """Modern msgpack (str8, bin), unlike what is sent."""
    data: bytes = msgpack.packb(body, use_bin_type=True)
    return bytes((kind,)) + data


def refusal(data: bytes) -> str:
    with pytest.raises(DecodeError) as refused:
        decode_message_untrusted(data)
    return refused.value.reason


@given(packet_messages)
def test_every_packet_message_survives_the_wire(message: PacketMessage) -> None:
    assert decode_message_untrusted(encode_message(message)) == message


@given(serf_messages)
def test_every_serf_message_survives_the_wire(message: SerfMessage) -> None:
    assert decode_serf_untrusted(encode_serf(message)) == message


@given(packet_messages.filter(lambda m: not isinstance(m, UserMessage)), st.binary(max_size=9))
def test_bytes_after_a_body_are_ignored(message: PacketMessage, tail: bytes) -> None:
    assert decode_message_untrusted(encode_message(message) + tail) == message


def test_long_text_is_written_as_raw16_never_as_str8() -> None:
    data = encode_message(Suspect(Incarnation(1), MemberName("n" * 40), MemberName("")))

    assert b"\xda\x00\x28" + b"n" * 40 in data


PING = Ping(SeqNo(7), MemberName("n1"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(packed(0, {"Node": "n1", "SeqNo": 7, "New": [1, {2: "x"}]}), id="unknown key"),
        pytest.param(packed(0, {"Node": "n1", "SeqNo": 7, "node": "n2"}), id="wrong-case key"),
        pytest.param(packed(0, {"Node": "n1", "SeqNo": 7, 5: 6}), id="key that is a number"),
        pytest.param(packed(0, {"Node": "n1", "SeqNo": 7, "SourceAddr": None}), id="nil field"),
        pytest.param(packed(0, [7, "n1"]), id="positional, short"),
        pytest.param(packed(0, [7, "n1", None, 0, "", "new", 1]), id="positional, long"),
        pytest.param(b"\x00\x82\xa4Node\xd9\x02n1\xa5SeqNo\xce\0\0\0\7", id="str8 and uint32"),
        pytest.param(b"\x00\x82\xa4Node\xdb\0\0\0\x02n1\xa5SeqNo\xd0\7", id="raw32 and int8"),
    ],
)
def test_a_body_is_read_in_every_form_that_the_reference_reads(data: bytes) -> None:
    assert decode_message_untrusted(data) == PING


@pytest.mark.parametrize("payload", [b"abc", bytearray(b"abc"), list(b"abc")])
def test_bytes_are_read_from_raw_bin_and_arrays_of_small_integers(payload: object) -> None:
    assert decode_message_untrusted(packed(2, {"SeqNo": 1, "Payload": payload})) == Ack(
        SeqNo(1), b"abc"
    )


def test_missing_fields_have_their_zero_value() -> None:
    assert decode_message_untrusted(b"\x00\x80") == Ping(SeqNo(0), MemberName(""))
    assert decode_message_untrusted(b"\x02\x80") == Ack(SeqNo(0), None)


def test_zero_and_one_are_bools() -> None:
    body = {"Target": b"\x7f\0\0\1", "Nack": 1}
    decoded = decode_message_untrusted(packed(1, body))

    assert isinstance(decoded, IndirectPing)
    assert decoded.nack is True


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x06\x80", "unknown-type"),
        (b"\x0a\x80", "unknown-type"),
        (b"\x0c\x80", "unknown-type"),
        (b"\x0d\x80", "unknown-type"),
        (b"\xff\x80", "unknown-type"),
        (b"\x00", "bad-body"),
        (b"\x00\x82\xa4Node", "bad-body"),
        (b"\x00\x07", "bad-body"),
        (b"\x00\xc0", "bad-body"),
        (b"\x00\xc1", "bad-body"),
        (b"\x00\x81\x91\x01\x01", "bad-body"),  # an array cannot be a key
        (b"\x00\x81\xa1x" + b"\x91" * 5000, "bad-body"),
        (packed(0, {"SeqNo": -1}), "bad-field"),
        (packed(0, {"SeqNo": 1 << 32}), "bad-field"),
        (packed(0, {"SeqNo": 1.0}), "bad-field"),
        (packed(0, {"SeqNo": True}), "bad-field"),
        (packed(0, {"SeqNo": "1"}), "bad-field"),
        (packed(0, {"SourcePort": 65536}), "bad-field"),
        (packed(0, {"Node": 5}), "bad-field"),
        (packed(1, {"Target": b"\x7f\0\0\1", "Nack": 2}), "bad-field"),
        (packed(2, {"Payload": [1, 256]}), "bad-field"),
        (packed(2, {"Payload": [1.5]}), "bad-field"),
        (packed(2, {"Payload": {}}), "bad-field"),
    ],
)
def test_a_bad_body_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert refusal(data) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Vsn": b""}, "bad-vsn"),
        ({"Vsn": VSN[:5]}, "bad-vsn"),
        ({"Vsn": VSN + b"\x01"}, "bad-vsn"),
        ({"Addr": b"\x7f\0\1"}, "bad-address"),
        ({"Addr": None}, "bad-address"),
        ({"Node": "n" * 256}, "bad-name"),
        ({"Node": ""}, "bad-name"),
        ({"Meta": bytes(513)}, "bad-meta"),
    ],
)
def test_an_alive_message_that_would_harm_others_is_refused(
    change: dict[str, Any], reason: str
) -> None:
    assert refusal(packed(4, {**ALIVE, **change})) == reason


def test_an_alive_message_at_every_bound_is_taken() -> None:
    body = {**ALIVE, "Node": "n" * 255, "Meta": bytes(512), "Addr": bytes(16)}
    decoded = decode_message_untrusted(packed(4, body))

    assert isinstance(decoded, Alive)
    assert (len(decoded.node), len(decoded.meta), len(decoded.addr)) == (255, 512, 16)


def test_claimed_lengths_reserve_no_memory() -> None:
    # 5 bytes that claim 4 GiB, and 1000 nested arrays that claim 64 Ki items each.
    assert refusal(b"\x02\xdb\xff\xff\xff\xff") == "bad-body"
    assert refusal(b"\x02\xdd\xff\xff\xff\xff") == "bad-body"
    assert refusal(b"\x02" + b"\xdc\xff\xff" * 1000 + bytes(65000)) == "bad-body"


@given(tag_sets)
def test_tags_survive_the_wire(tags: dict[str, str]) -> None:
    try:
        meta = encode_tags(tags)
    except ConfigError as error:
        assert "512" in str(error)  # noqa: PT017 - either outcome is right
        return

    assert decode_tags_untrusted(meta) == tags


def test_metadata_without_the_tag_mark_is_the_role() -> None:
    assert decode_tags_untrusted(b"web") == {"role": "web"}
    assert decode_tags_untrusted(b"") == {"role": ""}
    assert encode_tags({}) == b"\xff\x80"


def test_tags_have_512_bytes_encoded() -> None:
    fits = {"k": "v" * (512 - 7)}  # mark, map, key of 2 bytes, raw16 header of 3

    assert len(encode_tags(fits)) == 512
    with pytest.raises(ConfigError):
        encode_tags({"k": fits["k"] + "v"})


@pytest.mark.parametrize("meta", [b"\xff", b"\xff\x90", b"\xff\x81\xa1k\x05", b"\xff\x81\x05\xa1v"])
def test_undecodable_tags_are_refused(meta: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        decode_tags_untrusted(meta)
    assert refused.value.reason == "bad-tags"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x02\x90", id="unknown kind"),
        pytest.param(b"\x00", id="no body"),
        pytest.param(b"\x00\x91\x05", id="name of a wrong type"),
        pytest.param(b"\x01\xc1", id="undecodable"),
        pytest.param(packed(1, {"Tag": "role", "Expr": "(a*)*" * 60}), id="too long"),
    ],
)
def test_a_bad_query_filter_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_filter_untrusted(data)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x02\x80",
        b"\x01\xc1",
        packed(1, {"Vec": ["x"]}),
        packed(1, {"Vec": [float("nan")]}),
        packed(1, {"Vec": [], "Height": float("inf")}),
        packed(1, {"Adjustment": 0.0, "Error": 1.5, "Height": -inf, "Vec": [0.0] * 7 + [inf]}),
        packed(1, {"Adjustment": 0.0, "Error": 1.5, "Height": 0.0, "Vec": [0.0] * 7 + [nan]}),
    ],
)
def test_a_bad_coordinate_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_coordinate_untrusted(payload)


@pytest.mark.parametrize("names", [*permutations(("Adjustment", "Error", "Height", "Vec"))])
def test_a_coordinate_may_have_its_fields_in_any_order(names: tuple[str, ...]) -> None:
    vec = (1e308, 1e308, -0.0, 5e-324, 0.1, 0.2, 0.3, -0.4)
    fields = {"Adjustment": 0.01, "Error": 1.5, "Height": 1e-5, "Vec": vec}
    payload = packed(1, {name: fields[name] for name in names})
    assert decode_coordinate_untrusted(payload) == Coordinate(vec, 1.5, 0.01, 1e-5)


def test_a_coordinate_as_long_as_the_usual_one_but_with_a_text_in_it_is_refused() -> None:
    usual, odd = (
        packed(1, {"Adjustment": 0.0, "Error": 1.5, "Height": 0.0, "Vec": [0.5] * 7 + [last]})
        for last in (0.5, "8 bytes.")
    )
    assert len(usual) == len(odd)
    with pytest.raises(DecodeError):
        decode_coordinate_untrusted(odd)


def state_of(**fields: object) -> SerfState:
    state = decode_serf_untrusted(packed(2, fields))
    assert isinstance(state, SerfState)
    return state


def test_a_state_with_nil_and_missing_fields_is_empty() -> None:
    empty = SerfState(*([0, {}, (), 0, (), 0]))  # type: ignore[arg-type]  # plain zeros

    assert state_of(StatusLTimes=None, LeftMembers=None, Events=None, New={1: [2]}) == empty
    assert decode_serf_untrusted(packed(2, [0, None, [], 0])) == empty


def test_a_state_may_name_more_members_than_an_ordinary_array_may_hold() -> None:
    names = [f"n{i}" for i in range(5000)]
    state = state_of(StatusLTimes=dict.fromkeys(names, 3), LeftMembers=names)

    assert list(state.status_ltimes) == names
    assert list(state.left_members) == names


def test_event_slots_and_events_beyond_the_bounds_are_left_out() -> None:
    event = {"Name": "e", "Payload": b""}
    big = {"Name": "big", "Payload": bytes(9217)}
    slots = [{"LTime": 1, "Events": [big, *[event] * 300]}, *[{"LTime": 2, "Events": []}] * 600]
    state = state_of(Events=slots)

    assert len(state.events) == 512
    assert [e.name for e in state.events[0].events] == ["e"] * 255


def test_names_in_a_state_beyond_the_bound_are_left_out() -> None:
    state = state_of(StatusLTimes={"n" * 256: 1, "ok": 2}, LeftMembers=["n" * 256, "ok"])

    assert state.status_ltimes == {"ok": 2}
    assert state.left_members == ("ok",)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x0a\x80", "unknown-type"),
        (b"\x02\x81\xacStatusLTimes\xdf\x7f\xff\xff\xff", "too-many-names"),
        (b"\x02\x81\xabLeftMembers\xdd\x7f\xff\xff\xff", "too-many-names"),
        (b"\x02\x81\xa6Events\xdd\x7f\xff\xff\xff", "bad-body"),
        (b"\x02\x81\xa6Events" + b"\xdc\xff\xff" * 1000, "bad-body"),
        (b"\x02", "bad-body"),
        (b"\x02\x05", "bad-body"),
        (b"\x09\x81\xa8DestAddr", "bad-body"),
        (packed(9, {"DestAddr": {"Port": 70000}}), "bad-address"),
        (packed(4, {"RelayFactor": 256}), "bad-field"),
    ],
)
def test_a_bad_serf_message_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decode_serf_untrusted(data)
    assert refused.value.reason == reason


def test_a_zero_length_filter_reaches_the_filter_decoder_not_the_query() -> None:
    query = decode_serf_untrusted(packed(4, {"Filters": [b""]}))

    assert isinstance(query, Query)
    assert query.filters == (b"",)
