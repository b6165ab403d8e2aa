"""Headers, EDNS0 and packets that are no proper queries; recorded answers of Consul 1.8.7."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsserver import ServerAnswer
from tests.dnsserver.fakes import Client, FakeDirectory, decode, opt_record, query

HEADER = bytes.fromhex("123401000001000000000000")
WEB = "web.service.svcmesh"


def web_directory() -> FakeDirectory:
    directory = FakeDirectory(server_list=[ServerAnswer("n1", "10.0.0.1")])
    node = directory.add_node("n1", "10.0.0.1", {"key": "x" * 100})
    directory.add_instance(node, "web", 80, tags=("prod",))
    directory.add_instance(node, "ext", 80, address="web.service.svcmesh")
    directory.add_many("many", 40)
    return directory


@pytest.fixture
def client() -> Client:
    return Client(web_directory())


def header_of(response: bytes | None) -> tuple[int, tuple[int, ...]]:
    assert response is not None
    _, flags, *counts = struct.unpack_from(">HHHHHH", response)
    return flags, tuple(counts)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (0x0100, 0x8500),
        (0x0000, 0x8400),
        (0x0110, 0x8510),
        (0x03F0, 0x8510),
        (0x0400, 0x8400),
        (0x010F, 0x8500),
        (0x2110, 0xA400),
    ],
)
def test_a_response_keeps_opcode_rd_and_cd_of_queries_and_nothing_of_notifies(
    client: Client, asked: int, answered: int
) -> None:
    assert header_of(client.raw(query(WEB, flags=asked))) == (answered, (1, 1, 0, 0))


@pytest.mark.parametrize(
    ("asked", "answered"), [(0x0900, 0x8904), (0x2970, 0xA934), (0x1200, 0x9204)]
)
def test_other_opcodes_are_not_implemented(client: Client, asked: int, answered: int) -> None:
    assert header_of(client.raw(query(WEB, flags=asked))) == (answered, (0, 0, 0, 0))
    assert client.counters.rejected == {"opcode": 1}


@pytest.mark.parametrize("packet", [b"", b"\1\2\xff", HEADER[:11], query(WEB, flags=0x8100)])
def test_less_than_a_header_and_responses_get_silence(client: Client, packet: bytes) -> None:
    assert client.raw(packet) is None


@pytest.mark.parametrize(
    "counts", [(0, 0, 0, 0), (2, 0, 0, 0), (1, 2, 0, 0), (1, 0, 2, 0), (1, 0, 0, 3)]
)
def test_unusual_counts_are_format_errors_without_question(
    client: Client, counts: tuple[int, int, int, int]
) -> None:
    response = client.raw(query(WEB, counts=counts, flags=0x07F0))
    assert header_of(response) == (0x83B1, (0, 0, 0, 0))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\3",
        b"\3web",
        b"\3web\7service\7svcmesh\0",
        b"\3web\7service\7svcmesh\0\0\1\0",
        b"\3web\xc0\0\0\1\0\1",
        b"\xc0\x0c\0\1\0\1",
        b"\x40aaa\0\0\1\0\1",
        b"\x80aaa\0\0\1\0\1",
        (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + b"\0\0\1\0\1",
        (b"\x3f" + b"a" * 63) * 70 + b"\0\0\1\0\1",
    ],
)
def test_a_broken_question_is_a_format_error(client: Client, body: bytes) -> None:
    assert header_of(client.raw(HEADER + body)) == (0x8101, (0, 0, 0, 0))


def test_the_longest_possible_name_is_a_proper_question(client: Client) -> None:
    name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert header_of(client.raw(HEADER + name + b"\0\1\0\1")) == (0x8105, (1, 0, 0, 0))


def test_a_label_may_hold_any_bytes(client: Client) -> None:
    packet = HEADER + b"\4\xff\0.a\7service\7svcmesh\0\0\1\0\1"
    response = client.raw(packet)
    assert header_of(response) == (0x8503, (1, 0, 1, 0))
    assert response is not None
    assert response[12 : len(packet)] == packet[12:]


def test_a_dot_inside_a_label_separates_nothing(client: Client) -> None:
    packet = HEADER + b"\x08prod.web\7service\7svcmesh\0\0\1\0\1"
    assert header_of(client.raw(packet))[0] == 0x8503
    packet = HEADER + b"\3web\x0fservice.svcmesh\0\0\1\0\1"
    assert header_of(client.raw(packet))[0] == 0x8105


def test_trailing_bytes_and_missing_records_are_overlooked(client: Client) -> None:
    assert len(decode(client.raw(query(WEB, rest=b"zzzz"))).answer) == 1
    assert len(decode(client.raw(query(WEB, counts=(1, 1, 0, 0)))).answer) == 1
    assert len(decode(client.raw(query(WEB, counts=(1, 0, 0, 2)))).answer) == 1


def test_a_packet_larger_than_any_query_is_a_format_error(client: Client) -> None:
    assert header_of(client.raw(query(WEB, rest=b"\0" * 4096), is_tcp=True))[0] == 0x8101
    assert client.counters.rejected == {"oversized": 1}


@pytest.mark.parametrize(
    "rest",
    [
        b"\0\0\x29\4",
        b"\x40a\0" + opt_record(1232)[1:],
        opt_record(1232)[:-2] + b"\0\5",
        opt_record(1232, options=b"\0\x08\0"),
        opt_record(1232, options=b"\0\x08\0\x20\0\1"),
        opt_record(1232, options=b"\0\x08\0\3\0\1\x18"),
        opt_record(1232, options=b"\0\x08\0\x09\0\1\x21\0\x0a\1\2\3\4"),
        opt_record(1232, options=b"\0\x08\0\x05\0\3\x08\0\1"),
        opt_record(1232, options=b"\0\x08\0\x05\0\0\x08\0\1"),
    ],
)
def test_a_broken_additional_record_is_a_format_error_with_the_question(
    client: Client, rest: bytes
) -> None:
    response = client.raw(query(WEB, counts=(1, 0, 0, 1), rest=rest))
    assert header_of(response) == (0x8101, (1, 0, 0, 0))


@pytest.mark.parametrize("size", [0, 512, 1232, 65535])
def test_edns_is_answered_with_version_0_and_the_clients_size(client: Client, size: int) -> None:
    for opt in (opt_record(size), opt_record(size, version=1, do=True)):
        seen = decode(client.raw(query(WEB, opt=opt)))
        assert (seen.rcode, len(seen.answer)) == ("NOERROR", 1)
        assert seen.opt == (size, 0, b"")


def test_the_last_opt_of_the_additional_section_counts(client: Client) -> None:
    two = opt_record(1232) + opt_record(600)
    assert decode(client.raw(query(WEB, counts=(1, 0, 0, 2), rest=two))).opt == (600, 0, b"")
    in_answer = query(WEB, counts=(1, 1, 0, 0), rest=opt_record(1232))
    assert decode(client.raw(in_answer)).opt is None


def test_unknown_options_are_not_echoed(client: Client) -> None:
    options = b"\0\x0a\0\x08abcdefgh" + b"\xff\1\0\2ab" + b"\0\3\0\0"
    assert decode(client.raw(query(WEB, opt=opt_record(1232, options=options)))).opt == (
        1232,
        0,
        b"",
    )


@pytest.mark.parametrize(
    ("asked", "echoed"),
    [
        ("000118000a0102", "000118000a0102"),
        ("000118000a010203", "000118000a0102"),
        ("000114000a01ff", "000114000a01f0"),
        ("000118100a0102", "000118000a0102"),
        ("000118000a01", "000118000a0100"),
        ("00010000", "00010000"),
        ("00000000", "00000000"),
        ("0002380020010db8010203", "0002380020010db8010203"),
    ],
)
def test_a_client_subnet_is_echoed_with_scope_0(client: Client, asked: str, echoed: str) -> None:
    def option(data: str) -> bytes:
        return b"\0\x08" + struct.pack(">H", len(data) // 2) + bytes.fromhex(data)

    opt = opt_record(1232, options=option(asked))
    for name in (WEB, "nope.service.svcmesh"):
        seen = decode(client.raw(query(name, opt=opt)))
        assert seen.opt == (1232, 0, option(echoed))


def test_the_bytes_of_a_simple_answer_are_those_that_consul_sends(client: Client) -> None:
    response = client.raw(query(WEB))
    assert response == bytes.fromhex(
        "123485000001000100000000037765620773657276696365077376636d6573680000010001"
        "c00c000100010000000000040a000001"
    )


def skip_name(message: bytes, at: int) -> int:
    """Return where a name ends, having followed its pointers to their end."""
    end = None
    while length := message[at]:
        if length >= 0xC0:
            end = end or at + 2
            target = (length & 0x3F) << 8 | message[at + 1]
            assert target < at
            at = target
            continue
        assert length <= 63
        at += 1 + length
    return end or at + 1


def offered_bytes(message: bytes) -> int:
    """Walk through a whole message by hand; return the size that its OPT names, at least 512."""
    questions, *sections = struct.unpack_from(">HHHH", message, 4)
    at = 12
    size = 512
    for _ in range(questions):
        at = skip_name(message, at) + 4
    for _ in range(sum(sections)):
        at = skip_name(message, at)
        type_, class_, _, data_bytes = struct.unpack_from(">HHIH", message, at)
        at += 10 + data_bytes
        if type_ == 41:
            size = max(size, class_)
    assert at == len(message)
    return size


def check_response(packet: bytes, *, is_tcp: bool) -> None:
    response = Client(web_directory()).raw(packet, is_tcp=is_tcp)
    if response is None:
        assert len(packet) < 12 or packet[2] & 0x80
        return
    assert response[:2] == packet[:2]
    assert response[2] & 0x80
    assert len(response) <= (65535 if is_tcp else offered_bytes(response))


SEEDS = [
    query(WEB),
    query("many.service.svcmesh", "SRV", opt=opt_record(1232)),
    query(
        "many.service.consul", "ANY", opt=opt_record(600, options=b"\0\x08\0\7\0\1\x18\0\x0a\1\2")
    ),
    query("ext.service.svcmesh", "SRV"),
    query("_web._prod.svcmesh", "SRV"),
    query("n1.node.svcmesh", "TXT"),
    query("0a000001.addr.svcmesh", "AAAA"),
    query("1.0.0.10.in-addr.arpa", "PTR"),
    query("svcmesh", "SOA"),
]


@settings(max_examples=500, deadline=None)
@given(packet=st.binary(max_size=600), is_tcp=st.booleans())
@example(packet=HEADER, is_tcp=False)
def test_arbitrary_bytes_get_silence_or_a_response_that_fits(packet: bytes, is_tcp: bool) -> None:
    check_response(packet, is_tcp=is_tcp)


@settings(max_examples=1000, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    flips=st.lists(st.tuples(st.integers(0, 120), st.integers(1, 255)), max_size=4),
    cut=st.integers(0, 8),
    insert=st.tuples(st.integers(0, 100), st.binary(max_size=20)),
    is_tcp=st.booleans(),
)
def test_mutated_queries_get_silence_or_a_response_that_fits(
    seed: bytes,
    flips: list[tuple[int, int]],
    cut: int,
    insert: tuple[int, bytes],
    is_tcp: bool,
) -> None:
    packet = bytearray(seed)
    for at, mask in flips:
        packet[at % len(packet)] ^= mask
    at, more = insert
    packet[at:at] = more
    check_response(bytes(packet[: len(packet) - cut]), is_tcp=is_tcp)
