"""The server over real sockets on loopback, on ports that the system chooses."""

import asyncio
import gc
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest

from dnsserver import DnsBindError, DnsConfig, DnsConfigError, DnsServer, ServerLimits
from tests.dnsserver.fakes import FakeDirectory, decode, opt_record, query

LOOPBACK = ("127.0.0.1", 0)
WEB = query("web.service.svcmesh")


def web_directory() -> FakeDirectory:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("n1", "10.0.0.1"), "web", 80)
    directory.add_many("many", 40)
    return directory


class UdpClient(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait((data, addr))


async def ask_udp(
    address: tuple[str, int], *packets: bytes, responses: int = 1
) -> list[tuple[bytes, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(UdpClient, local_addr=("127.0.0.1", 0))
    try:
        for packet in packets:
            transport.sendto(packet, address)
        async with asyncio.timeout(60):
            return [await client.received.get() for _ in range(responses)]
    finally:
        transport.close()


def framed(packet: bytes) -> bytes:
    return struct.pack(">H", len(packet)) + packet


async def read_framed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        return await reader.readexactly(length)


async def server_dropped_something(server: DnsServer) -> None:
    for _ in range(100_000):
        if server.counters.dropped:
            return
        await asyncio.sleep(0)


def run_with_server(
    scenario: Callable[[DnsServer, tuple[str, int]], Awaitable[None]],
    *,
    limits: ServerLimits | None = None,
    address: tuple[str, int] = LOOPBACK,
) -> None:
    async def main() -> None:
        server = DnsServer(web_directory(), DnsConfig(), rng=Random(1), limits=limits)
        await server.start([address])
        try:
            await scenario(server, server.addresses[0])
        finally:
            await server.close()

    asyncio.run(main())


def test_udp_and_tcp_are_answered_on_the_same_port() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(response, source)] = await ask_udp(address, WEB)
        assert decode(response).answer == ["web.service.svcmesh. 0 IN A 10.0.0.1"]
        assert source == address
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(query("many.service.svcmesh", "SRV")))
        assert len(decode(await read_framed(reader)).answer) == 40
        writer.close()
        await writer.wait_closed()
        assert (server.counters.udp_queries, server.counters.tcp_queries) == (1, 1)
        assert server.counters.responses == {0: 2}

    run_with_server(scenario)


def test_new_settings_are_in_force_from_the_next_query_on() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(before, _)] = await ask_udp(address, WEB)
        server.reconfigure(DnsConfig(service_ttl_s={"*": 9}), ServerLimits())
        [(after, _)] = await ask_udp(address, WEB)
        assert [decode(one).answer for one in (before, after)] == [
            ["web.service.svcmesh. 0 IN A 10.0.0.1"],
            ["web.service.svcmesh. 9 IN A 10.0.0.1"],
        ]

    run_with_server(scenario)


def test_several_addresses_are_listened_on() -> None:
    async def main() -> None:
        server = DnsServer(web_directory(), DnsConfig(), rng=Random(1))
        await server.start([("127.0.0.1", 0), ("127.0.0.2", 0)])
        try:
            for address in server.addresses:
                [(_, source)] = await ask_udp(address, WEB)
                assert source == address
        finally:
            await server.close()

    asyncio.run(main())


def test_a_wildcard_listener_answers_from_the_address_that_was_asked() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        [(_, source)] = await ask_udp(("127.0.0.2", address[1]), WEB)
        assert source == ("127.0.0.2", address[1])

    run_with_server(scenario, address=("0.0.0.0", 0))


def test_garbage_is_counted_and_the_server_goes_on() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        garbage = [b"\0" * 3, b"\xff" * 600, b"\0" * 65000, query("x", flags=0x8000)]
        responses = await ask_udp(address, *garbage, WEB, responses=2)
        assert [response[3] & 0x0F for response, _ in responses] == [1, 0]
        assert server.counters.rejected == {"short": 1, "response": 2, "count": 1}
        assert server.counters.totals()["rejected.response"] == 2
        assert server.counters.totals()["responses.FORMERR"] == 1

    run_with_server(scenario)


def test_a_flood_is_answered_in_batches_that_leave_the_loop_to_others() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            client.connect(address)
            for _ in range(60):
                client.send(WEB)
            counts = [server.counters.udp_queries]
            for _ in range(1000):
                await asyncio.sleep(0)
                counts.append(server.counters.udp_queries)
                if counts[-1] == 60:
                    break
        finally:
            client.close()
        steps = [later - earlier for earlier, later in pairwise(counts)]
        assert sum(steps) == 60
        assert max(steps) <= 7

    run_with_server(scenario, limits=ServerLimits(batch_queries=7))


def test_pipelined_queries_are_answered_in_order_on_one_connection() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        ids = range(100)
        writer.write(b"".join(framed(struct.pack(">H", number) + WEB[2:]) for number in ids))
        for number in ids:
            assert (await read_framed(reader))[:2] == struct.pack(">H", number)
        assert server.counters.tcp_connections == 1
        writer.close()
        await writer.wait_closed()

    run_with_server(scenario, limits=ServerLimits(batch_queries=3))


def test_a_query_that_arrives_byte_by_byte_is_answered() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        for at in range(len(framed(WEB))):
            writer.write(framed(WEB)[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        assert decode(await read_framed(reader)).rcode == "NOERROR"
        writer.close()
        await writer.wait_closed()

    run_with_server(scenario)


def test_an_oversized_or_unreadable_tcp_message_does_not_end_the_connection() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(WEB + b"\0" * 60000) + framed(b"\1\2\3") + framed(b"") + framed(WEB))
        assert decode(await read_framed(reader)).rcode == "FORMERR"
        assert decode(await read_framed(reader)).rcode == "NOERROR"
        assert server.counters.rejected == {"oversized": 1, "short": 2}
        writer.close()
        await writer.wait_closed()

    run_with_server(scenario)


@pytest.mark.parametrize("sent", [b"", b"\0", framed(WEB)[:10], framed(WEB)])
def test_an_idle_or_stalled_connection_is_ended(sent: bytes) -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        async with asyncio.timeout(60):
            # What was sent too late for a busy server is answered with a reset.
            with suppress(ConnectionResetError):
                await reader.read()
        assert server.counters.dropped == {"tcp_idle": 1}
        assert server.counters.tcp_connections == 0
        writer.close()

    run_with_server(scenario, limits=ServerLimits(tcp_idle_timeout_s=0.05))


def test_a_client_that_takes_no_answers_is_ended() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, address)
        burst = framed(query("many.service.svcmesh", "SRV")) * 200
        try:
            async with asyncio.timeout(60):
                while not server.counters.dropped:
                    try:
                        sock.send(burst)
                    except BlockingIOError:
                        await asyncio.sleep(0.01)
                    except ConnectionError:
                        break
                    await asyncio.sleep(0)
            assert server.counters.dropped["tcp_idle"] == 1
        finally:
            sock.close()

    run_with_server(scenario, limits=ServerLimits(tcp_idle_timeout_s=0.1))


def test_a_connection_over_the_limit_takes_the_place_of_an_idle_one() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        first_reader, first = await asyncio.open_connection(*address)
        first.write(framed(WEB))
        await read_framed(first_reader)
        reader, second = await asyncio.open_connection(*address)
        second.write(framed(WEB))
        assert decode(await read_framed(reader)).rcode == "NOERROR"
        async with asyncio.timeout(5):
            assert await first_reader.read() == b""
        assert server.counters.dropped == {"tcp_limit": 1}
        assert server.counters.tcp_connections == 1
        for writer in (first, second):
            writer.close()
            await writer.wait_closed()

    run_with_server(scenario, limits=ServerLimits(tcp_connections_max=1))


def test_a_client_that_hangs_up_inside_a_message_is_counted() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        _, writer = await asyncio.open_connection(*address)
        writer.write(framed(WEB)[:9])
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(60):
            await server_dropped_something(server)
        assert server.counters.dropped == {"tcp_reset": 1}

    run_with_server(scenario)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_address_in_use_is_named_in_the_error_and_nothing_stays_open(
    kind: socket.SocketKind,
) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(LOOPBACK)
            if kind == socket.SOCK_STREAM:
                taken.listen()
            port = taken.getsockname()[1]
            server = DnsServer(web_directory(), DnsConfig(), rng=Random(1))
            transport = "udp" if kind == socket.SOCK_DGRAM else "tcp"
            expected = f"on {transport} 127.0.0.1:{port}: Address already in use"
            with pytest.raises(DnsBindError, match=expected) as raised:
                await server.start([LOOPBACK, ("127.0.0.1", port)])
            assert isinstance(raised.value.__cause__, OSError)
            assert not server.addresses
        await server.start([LOOPBACK])
        await ask_udp(server.addresses[0], WEB)
        await server.close()

    asyncio.run(main())


def test_an_address_that_is_not_ours_or_no_address_is_a_bind_error() -> None:
    async def main() -> None:
        for host in ("192.0.2.1", "not-an-address", "fe80::1:2:3:4"):
            server = DnsServer(web_directory(), DnsConfig(), rng=Random(1))
            with pytest.raises(DnsBindError, match="cannot listen for DNS on udp"):
                await server.start([(host, 0)])

    asyncio.run(main())


def test_closing_ends_open_connections_and_frees_the_port() -> None:
    async def main() -> None:
        server = DnsServer(web_directory(), DnsConfig(), rng=Random(1))
        await server.start([LOOPBACK])
        address = server.addresses[0]
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(WEB))
        await read_framed(reader)
        await server.close()
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
        await server.close()
        await server.start([address])
        await ask_udp(address, WEB)
        await server.close()

    asyncio.run(main())


def test_large_answers_go_by_udp_when_the_client_takes_them() -> None:
    async def scenario(server: DnsServer, address: tuple[str, int]) -> None:
        packet = query("many.service.svcmesh", "SRV", opt=opt_record(65535))
        [(response, _)] = await ask_udp(address, packet)
        assert len(decode(response).answer) == 40

    run_with_server(scenario)


@pytest.mark.parametrize(
    "settings",
    [{"batch_queries": 0}, {"tcp_connections_max": 0}, {"tcp_idle_timeout_s": 0.0}],
)
def test_limits_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(DnsConfigError, match=next(iter(settings))):
        ServerLimits(**settings)


@pytest.mark.parametrize("turns", range(6))
def test_who_arrives_by_tcp_while_the_server_closes_is_hung_up_on(
    turns: int, recwarn: pytest.WarningsRecorder
) -> None:
    gc.collect()
    recwarn.clear()

    async def main() -> None:
        server = DnsServer(FakeDirectory(), DnsConfig(), rng=Random(1))
        await server.start([("127.0.0.1", 0)])
        with socket.create_connection(server.addresses[0], timeout=60):
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
        # What was aborted ends in the next turn.
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert not recwarn.list
