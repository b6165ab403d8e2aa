"""Names outside our domains and host names as addresses, with recursors on real sockets."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random

import pytest
from dnslib import QTYPE, RR, DNSHeader, DNSRecord

from dnsserver import DnsConfig, DnsServer, RecursorConfig
from dnsserver.recursion import REPLIES_MAX
from tests.dnsserver.fakes import FakeDirectory, decode, opt_record, query
from tests.dnsserver.test_server import ask_udp, framed, read_framed

Respond = Callable[[bytes], list[bytes]]
"""What a recursor sends back for a query over UDP."""


def records(text: str) -> Respond:
    """Answer every query with these records."""

    def respond(packet: bytes) -> list[bytes]:
        asked = DNSRecord.parse(packet)
        reply = asked.reply()
        reply.add_answer(*RR.fromZone(text))
        return [reply.pack()]

    return respond


def rcode(code: int) -> Respond:
    def respond(packet: bytes) -> list[bytes]:
        asked = DNSRecord.parse(packet)
        header = DNSHeader(id=asked.header.id, qr=1, ra=1, rcode=code)
        return [DNSRecord(header, q=asked.q).pack()]

    return respond


def silent(packet: bytes) -> list[bytes]:
    return []


class Recursor(asyncio.DatagramProtocol):
    """A recursor for UDP and TCP that answers as it is told and notes what it was asked."""

    def __init__(self, udp: Respond, tcp: Respond | None = None) -> None:
        self._udp, self._tcp = udp, tcp or udp
        self.asked: list[bytes] = []
        self.sources: list[tuple[str, int]] = []
        self.asked_tcp: list[bytes] = []

    async def start(self, stack: AsyncExitStack) -> tuple[str, int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        stack.callback(server.close)
        address: tuple[str, int] = server.sockets[0].getsockname()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=address)
        stack.callback(transport.close)
        self._transport = transport
        return address

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.sources.append(addr)
        for reply in self._udp(data):
            self._transport.sendto(reply, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await read_framed(reader)
        self.asked_tcp.append(packet)
        for reply in self._tcp(packet):
            writer.write(framed(reply))
        writer.close()


def run(
    scenario: Callable[[DnsServer, tuple[str, int]], Awaitable[None]],
    *recursors: Recursor,
    directory: FakeDirectory | None = None,
    timeout_s: float = 5.0,
    queries_max: int = 512,
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            addresses = tuple([await recursor.start(stack) for recursor in recursors])
            config = DnsConfig(
                recursors=RecursorConfig(
                    addresses=addresses, timeout_s=timeout_s, queries_max=queries_max
                )
            )
            server = DnsServer(directory or FakeDirectory(), config, rng=Random(1))
            await server.start([("127.0.0.1", 0)])
            stack.push_async_callback(server.close)
            await scenario(server, server.addresses[0])

    asyncio.run(main())


EXAMPLE = records("www.example.com. 300 A 192.0.2.1")


def test_a_foreign_name_is_answered_as_the_recursor_does() -> None:
    packet = query(
        "www.Example.com", opt=opt_record(1232, do=True, options=b"\0\x0a\0\x08cookie!!")
    )
    reply = b"\x81\xb0" + struct.pack(">HHHH", 1, 0, 0, 0) + packet[12:33]
    recursor = Recursor(lambda asked: [asked[:2] + reply])

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, source)] = await ask_udp(address, packet)
        assert source == address
        assert response == packet[:2] + reply
        # Nothing but the id is another one.
        assert [asked[2:] for asked in recursor.asked] == [packet[2:]]

    run(scenario, recursor)


def test_each_query_has_an_id_and_a_port_of_its_own() -> None:
    recursor = Recursor(EXAMPLE)

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        await ask_udp(address, *[query("www.example.com")] * 20, responses=20)
        assert len({asked[:2] for asked in recursor.asked}) > 10
        assert len({port for _, port in recursor.sources}) > 10

    run(scenario, recursor)


def test_answers_with_a_wrong_id_or_question_are_ignored() -> None:
    def forged_then_real(packet: bytes) -> list[bytes]:
        [real] = EXAMPLE(packet)
        forged = records("www.example.com. 300 A 203.0.113.66")(packet)[0]
        wrong_id = bytes((forged[0] ^ 1,)) + forged[1:]
        other = query("www.example.org")
        wrong_question = records("www.example.org. 300 A 203.0.113.66")(packet[:2] + other[2:])[0]
        no_response = packet
        return [wrong_id, wrong_question, no_response, b"", real]

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("www.example.com"))
        assert decode(response).answer == ["www.example.com. 300 IN A 192.0.2.1"]

    run(scenario, Recursor(forged_then_real))


def test_a_recursor_in_whose_name_somebody_guesses_ids_is_not_listened_to() -> None:
    def guesses(packet: bytes) -> list[bytes]:
        [real] = records("www.example.com. 300 A 203.0.113.66")(packet)
        right = int.from_bytes(real[:2], "big")
        wrong = [
            (right + number & 0xFFFF).to_bytes(2, "big") for number in range(1, REPLIES_MAX + 1)
        ]
        return [*(id_ + real[2:] for id_ in wrong), real]

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("www.example.com"))
        assert decode(response).answer == ["www.example.com. 300 IN A 192.0.2.1"]
        assert server.counters.dropped == {"recursor_failed": 1}

    run(scenario, Recursor(guesses), Recursor(EXAMPLE))


@pytest.mark.parametrize("first", [silent, rcode(2), rcode(5)], ids=["silent", "failed", "refused"])
def test_the_next_recursor_is_asked_when_one_does_not_help(first: Respond) -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("www.example.com"))
        assert decode(response).answer == ["www.example.com. 300 IN A 192.0.2.1"]
        assert server.counters.dropped == {"recursor_failed": 1}

    run(scenario, Recursor(first), Recursor(EXAMPLE), timeout_s=0.2)


def test_a_name_that_does_not_exist_is_an_answer() -> None:
    second = Recursor(EXAMPLE)

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("www.example.com"))
        assert decode(response).rcode == "NXDOMAIN"
        assert not second.asked

    run(scenario, Recursor(rcode(3)), second)


def test_when_no_recursor_helps_the_answer_is_a_failure() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("www.example.com", opt=opt_record(1232)))
        seen = decode(response)
        assert (seen.rcode, seen.flags) == ("SERVFAIL", "qr rd ra")
        assert seen.opt == (1232, 0, b"")

    run(scenario, Recursor(silent), Recursor(rcode(2)), timeout_s=0.1)


def test_a_silent_recursor_holds_nobody_else_up() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        foreign, ours = query("www.example.com"), query("web.service.svcmesh")
        # The answer to the second comes while the first is waited for.
        [(response, _)] = await ask_udp(address, foreign, ours)
        assert decode(response).answer == ["web.service.svcmesh. 0 IN A 10.0.0.1"]
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(foreign) + framed(ours))
        assert decode(await read_framed(reader)).answer
        writer.close()
        await writer.wait_closed()

    directory = FakeDirectory()
    directory.add_instance(directory.add_node("n1", "10.0.0.1"), "web", 80)
    run(scenario, Recursor(silent), directory=directory)


def test_queries_above_the_bound_fail_at_once() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        packets = [query(f"{number}.example.com") for number in range(5)]
        [(response, _)] = await ask_udp(address, *packets)
        assert decode(response).rcode == "SERVFAIL"
        assert server.counters.dropped == {"recursor_limit": 1}

    run(scenario, Recursor(silent), queries_max=4)


LONG = "\n".join(f"www.example.com. 300 A 192.0.2.{number}" for number in range(1, 61))


def cut(packet: bytes) -> list[bytes]:
    asked = DNSRecord.parse(packet)
    reply = asked.reply()
    reply.header.tc = 1
    return [reply.pack()]


def test_a_cut_answer_is_fetched_again_over_tcp_for_who_can_take_it() -> None:
    recursor = Recursor(cut, records(LONG))

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        packet = query("www.example.com", opt=opt_record(4096))
        [(response, _)] = await ask_udp(address, packet)
        assert len(decode(response).answer) == 60
        [(response, _)] = await ask_udp(address, query("www.example.com"))
        seen = decode(response)
        assert (seen.answer, "tc" in seen.flags) == ([], True)
        assert len(recursor.asked_tcp) == 1

    run(scenario, recursor)


def test_a_query_over_tcp_is_passed_on_over_tcp() -> None:
    recursor = Recursor(silent, records(LONG))

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(query("www.example.com")))
        # A client that closes its side waits for the answer nevertheless.
        writer.write_eof()
        assert len(decode(await read_framed(reader)).answer) == 60
        writer.close()
        await writer.wait_closed()

    run(scenario, recursor)


def test_an_answer_larger_than_the_client_takes_becomes_a_tc() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("www.example.com"))
        seen = decode(response)
        assert (seen.answer, "tc" in seen.flags, seen.size) == ([], True, 33)

    run(scenario, Recursor(records(LONG)))


def alias_directory() -> FakeDirectory:
    directory = FakeDirectory()
    node = directory.add_node("n1", "10.0.0.1")
    directory.add_instance(node, "db", 5432, address="db.example.com")
    directory.add_node("ext", "host.example.com")
    return directory


CHAIN = records("db.example.com. 60 CNAME x.example.net.\nx.example.net. 30 A 192.0.2.7")


@pytest.mark.parametrize("type_", ["A", "ANY"])
def test_a_service_at_a_host_name_brings_what_recursors_say_of_it(type_: str) -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("db.service.svcmesh", type_))
        seen = decode(response)
        assert seen.flags == "qr aa rd ra"
        assert seen.answer == [
            "db.example.com. 0 IN CNAME x.example.net.",
            "db.service.svcmesh. 0 IN CNAME db.example.com.",
            "x.example.net. 0 IN A 192.0.2.7",
        ]

    run(scenario, Recursor(CHAIN), directory=alias_directory())


def test_srv_of_a_host_name_brings_its_addresses_as_additional_records() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("db.service.svcmesh", "SRV"))
        seen = decode(response)
        assert seen.answer == ["db.service.svcmesh. 0 IN SRV 1 1 5432 db.example.com."]
        assert seen.additional == [
            "db.example.com. 0 IN CNAME x.example.net.",
            "x.example.net. 0 IN A 192.0.2.7",
        ]

    run(scenario, Recursor(CHAIN), directory=alias_directory())


def test_a_node_at_a_host_name_keeps_the_ttl_of_the_recursor() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("ext.node.svcmesh"))
        assert "x.example.net. 30 IN A 192.0.2.7" in decode(response).answer

    run(scenario, Recursor(CHAIN), directory=alias_directory())


def test_aaaa_of_a_host_name_asks_for_aaaa() -> None:
    recursor = Recursor(records("db.example.com. 60 AAAA 2001:db8::7"))

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("db.service.svcmesh", "AAAA"))
        assert "db.example.com. 0 IN AAAA 2001:db8::7" in decode(response).answer
        assert QTYPE[DNSRecord.parse(recursor.asked[0]).q.qtype] == "AAAA"

    run(scenario, recursor, directory=alias_directory())


@pytest.mark.parametrize("junk", [b"\xc0", b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1", b"\xff" * 40, b""])
def test_a_malformed_answer_about_a_host_name_leaves_the_alias(junk: bytes) -> None:
    def respond(packet: bytes) -> list[bytes]:
        return [packet[:2] + b"\x81\x80" + b"\0\1\0\2\0\0\0\0" + packet[12:] + junk]

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("db.service.svcmesh"))
        assert decode(response).answer == ["db.service.svcmesh. 0 IN CNAME db.example.com."]
        assert server.counters.dropped["recursor_reply"] == 1

    run(scenario, Recursor(respond), directory=alias_directory())


def test_an_unknown_address_is_passed_on_and_a_known_one_is_not() -> None:
    recursor = Recursor(rcode(3))

    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, _)] = await ask_udp(address, query("1.0.0.10.in-addr.arpa", "PTR"))
        assert decode(response).answer == ["1.0.0.10.in-addr.arpa. 0 IN PTR n1.node.dc1.svcmesh."]
        assert not recursor.asked
        [(response, _)] = await ask_udp(address, query("9.9.9.9.in-addr.arpa", "PTR"))
        assert decode(response).rcode == "NXDOMAIN"
        assert len(recursor.asked) == 1

    run(scenario, recursor, directory=alias_directory())
