"""Pings and acks in the usual layout are read by their pieces: what is read must be the same."""

from hypothesis import example, given
from hypothesis import strategies as st

from gossip.errors import DecodeError
from gossip.types import MemberName, SeqNo
from gossip.wire import decode_message_untrusted, encode_message
from gossip.wire.body import unpack_untrusted
from gossip.wire.codec import ack_from_body, ping_from_body
from gossip.wire.messages import Ack, PacketMessage, Ping
from tests.gossip.wire.strategies import seq_nos

short_names = st.text(max_size=33).map(MemberName)
ports = st.integers(0, 0xFFFF)
addresses = st.binary(min_size=4, max_size=4)
usual = st.one_of(
    st.builds(Ping, seq_nos, short_names, addresses, ports, short_names),
    st.builds(Ack, seq_nos, st.none() | st.binary(max_size=140)),
)
edits = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), st.binary(max_size=3)))

PING = encode_message(Ping(SeqNo(7), MemberName("n1"), bytes((10, 0, 0, 1)), 7946, MemberName("n")))
ACK = encode_message(Ack(SeqNo(7), b"x" * 40))


def as_any_map(data: bytes) -> PacketMessage | str:
    """What a reader says that knows of no layout, or its reason to refuse."""
    try:
        body = unpack_untrusted(data[1:])
        return ping_from_body(body) if data[0] == 0 else ack_from_body(body)
    except DecodeError as error:
        return error.reason


def read(data: bytes) -> PacketMessage | str:
    try:
        return decode_message_untrusted(data)
    except DecodeError as error:
        return error.reason


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, cut, put in edits:
        data = data[: 1 + at] + put + data[1 + at + cut :]
    return data


@given(usual.map(encode_message), edits)
@example(PING[:7], [])
@example(PING[:8], [])
@example(PING + b"\0", [])
@example(PING.replace(b"\xa2n1", b"\xc0"), [])
@example(PING.replace(b"\xa2n1", b"\xa8n\xa5SeqNo"), [])
@example(PING.replace(b"\xa2n1", b"\xd9\x02n1"), [])
@example(PING.replace(b"SeqNo\x07", b"SeqNo\xce\0\0\0\x07"), [])
@example(PING.replace(b"SeqNo\x07", b"SeqNo\xff"), [])
@example(PING.replace(b"SeqNo\x07", b"SeqNo"), [])
@example(PING.replace(b"\xcd\x1f\x0a", b"\xcd\x1f"), [])
@example(ACK[:11], [])
@example(ACK[:13], [])
@example(ACK[:-1], [])
@example(ACK + b"\0", [])
def test_a_ping_or_an_ack_is_read_as_any_map_of_its_fields(
    data: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    data = edited(data, edits)

    assert read(data) == as_any_map(data)


def test_names_and_addresses_that_are_not_the_usual_ones_are_read_too() -> None:
    long = MemberName("n" * 100)
    six = bytes(range(16))
    for name in (MemberName(""), MemberName("n" * 31), MemberName("n" * 32), long):
        for address in (b"", bytes(4), six):
            for seq_no in (0, 127, 128, 255, 256, 65535, 65536, 0xFFFF_FFFF):
                ping = Ping(SeqNo(seq_no), name, address, 7946, name)
                assert decode_message_untrusted(encode_message(ping)) == ping
