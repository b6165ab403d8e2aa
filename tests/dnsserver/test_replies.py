"""What recursors send is read as cautiously as what clients send."""

import struct

import pytest
from dnslib import RR, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from dnsserver.labels import NAME_BYTES_MAX
from dnsserver.replies import (
    RECORDS_MAX,
    ReplyError,
    addresses_untrusted,
    is_reply_untrusted,
    truncated,
)
from tests.dnsserver.fakes import query

ASKED = query("www.example.com")
QUESTION = ASKED[12:]
ANSWERS = """
www.example.com. 60 IN CNAME web.example.com.
web.example.com. 30 IN A 192.0.2.1
web.example.com. 30 IN AAAA 2001:db8::1
web.example.com. 30 IN TXT "not wanted"
"""


def reply(zone: str) -> bytes:
    answer = DNSRecord.parse(ASKED).reply()
    answer.add_answer(*RR.fromZone(zone))
    packed: bytes = answer.pack()
    return packed


def test_addresses_and_aliases_are_read_with_their_compressed_names() -> None:
    found = addresses_untrusted(reply(ANSWERS), QUESTION)
    web = b"\3web\7example\3com\0"
    assert [(record.name, record.type, record.ttl_s) for record in found] == [
        (b"\3www\7example\3com\0", 5, 60), (web, 1, 30), (web, 28, 30),
    ]  # fmt: skip
    assert found[0].names == (web,)
    assert found[1].head == bytes((192, 0, 2, 1))


def test_only_so_many_records_are_read() -> None:
    many = "\n".join(f"www.example.com. 60 IN A 192.0.2.{number}" for number in range(200))
    assert len(addresses_untrusted(reply(many), QUESTION)) == RECORDS_MAX


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x21", b"\x80", b"\x3f" + b"x" * 10, b"\xc0", (b"\x3f" + b"x" * 63) * 5 + b"\0"],
    ids=["a loop", "a reserved label", "cut", "half a pointer", "too long"],
)
def test_a_malformed_name_is_an_error(name: bytes) -> None:
    assert len(ASKED) == 0x21
    packet = ASKED[:6] + struct.pack(">HHH", 1, 0, 0) + QUESTION + name
    with pytest.raises(ReplyError):
        addresses_untrusted(packet, QUESTION)


@given(st.binary(max_size=300), st.integers(0, 65535))
def test_any_bytes_behind_the_question_are_read_or_refused(rest: bytes, count: int) -> None:
    packet = ASKED[:6] + struct.pack(">HHH", count, 0, 0) + QUESTION + rest
    try:
        found = addresses_untrusted(packet, QUESTION)
    except ReplyError:
        return
    assert all(len(name) <= NAME_BYTES_MAX for record in found for name in record.names)


@given(st.data())
def test_a_reply_with_changed_bytes_is_read_or_refused(data: st.DataObject) -> None:
    packet = bytearray(reply(ANSWERS))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(12 + len(QUESTION), len(packet) - 1))] = data.draw(
            st.integers(0, 255)
        )
    try:
        addresses_untrusted(bytes(packet), QUESTION)
    except ReplyError:
        return


@given(st.binary(max_size=100))
def test_nothing_but_a_response_to_the_question_is_one(packet: bytes) -> None:
    assert not is_reply_untrusted(packet, 0x1234, QUESTION)
    assert not is_reply_untrusted(ASKED, 0x1234, QUESTION)
    assert is_reply_untrusted(reply(ANSWERS), 0x1234, QUESTION)
    assert not is_reply_untrusted(reply(ANSWERS), 0x1235, QUESTION)


def test_a_cut_reply_has_the_question_and_tc() -> None:
    cut = truncated(reply(ANSWERS), QUESTION)
    assert cut == ASKED[:2] + b"\x87\x80" + b"\0\1\0\0\0\0\0\0" + QUESTION
