"""What a peer may do to a server: it costs one connection, and memory within bounds."""

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf, nan

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svcmesh.rpc import AcceptRules, Bounds, Connection, Methods, RpcError, RpcPool, RpcServer
from svcmesh.rpc.errors import RpcClosedError, RpcRefusedError, RpcTimeoutError
from svcmesh.rpc.serving import DEADLINE_S_MAX, seconds_untrusted

Address = tuple[str, int]


def frame(*parts: object) -> bytes:
    packed = msgpack.packb(list(parts))
    return struct.pack(">I", len(packed)) + packed


HELLO = frame(4, "hello", "")


async def echo(body: object, _: float) -> object:
    return body


async def seconds_left(_: object, left: float) -> float:
    return left


async def repeat(count: object, _: float) -> bytes:
    assert isinstance(count, int)
    return b"x" * count


def break_down(_: object) -> None:
    raise LookupError("a bug")


METHODS = Methods(
    {"echo": echo, "seconds_left": seconds_left, "repeat": repeat}, {"break": break_down}
)

Scenario = Callable[[RpcServer, Address], Awaitable[None]]


def serve(
    scenario: Scenario,
    *,
    bounds: Bounds | None = None,
    rules: AcceptRules | None = None,
    held_bytes_max: int = 1 << 30,
) -> None:
    """Run a scenario against a server; whoever behaves must be answered at its end."""

    async def main() -> None:
        server = RpcServer(METHODS, bounds=bounds, rules=rules, held_bytes_max=held_bytes_max)
        address = await server.start("127.0.0.1", 0)
        pool = RpcPool()
        try:
            async with asyncio.timeout(60):
                await scenario(server, address)
                assert await pool.call(address, "echo", 1, timeout_s=5) == 1
        finally:
            await pool.close()
            await server.close()

    asyncio.run(main())


async def until(claim: Callable[[], object]) -> None:
    """Give way to the server until something is so; `serve` bounds the time."""
    while not claim():  # noqa: ASYNC110 -- nobody would set an event
        await asyncio.sleep(0)


async def hung_up(reader: asyncio.StreamReader) -> None:
    """Read until the server hangs up."""
    with suppress(ConnectionError):
        while await reader.read(65_536):
            continue


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "refused.handshake-timeout"),
        (HELLO + struct.pack(">I", 1000) + b"half", "dropped.frame-unfinished"),
        (HELLO + b"\x00", "dropped.frame-unfinished"),
        (HELLO + struct.pack(">I", 2**31), "dropped.frame-too-large"),
        (HELLO + struct.pack(">I", 1) + b"\xc1", "dropped.frame-unreadable"),
        (HELLO + struct.pack(">I", 3) + b"\x81\x90\x01", "dropped.frame-unreadable"),
        (HELLO + frame(0, "id", "echo", 1, 1), "dropped.frame-unreadable"),
        (HELLO + frame(3, "break", [[]] * 20_000), "dropped.frame-unreadable"),
        (HELLO + frame(3, "break", [{}] * 20_000), "dropped.frame-unreadable"),
        (b"GET / HTTP/1.1\r\n\r\n", "dropped.frame-too-large"),
        (b"\x16\x03\x01\x00\x05hello", "refused.tls-unknown"),
    ],
)
def test_garbage_and_half_frames_cost_the_connection(sent: bytes, reason: str) -> None:
    async def scenario(server: RpcServer, to: Address) -> None:
        reader, writer = await asyncio.open_connection(*to)
        writer.write(sent)
        await hung_up(reader)
        writer.close()
        assert server.counters[reason] == 1

    # Short only where it is what ends the connection.
    rules = AcceptRules(handshake_timeout_s=5 if sent else 0.1)
    serve(scenario, bounds=Bounds(stall_s=0.1), rules=rules)


def test_who_looks_whether_the_port_is_open_is_no_refusal() -> None:
    async def scenario(server: RpcServer, to: Address) -> None:
        reader, writer = await asyncio.open_connection(*to)
        writer.close()
        await hung_up(reader)
        await until(lambda: server.counters["silent"])
        assert not [key for key in server.counters if key.startswith(("refused", "dropped"))]

    serve(scenario)


def test_a_peer_that_never_reads_is_not_read_from_and_then_dropped() -> None:
    bounds = Bounds(paused_bytes=100_000, unsent_bytes_max=2_000_000, stall_s=0.3)

    async def scenario(server: RpcServer, to: Address) -> None:
        _, writer = await asyncio.open_connection(*to)
        writer.transport.pause_reading()
        writer.write(HELLO)
        most = 0
        while not server.counters["dropped.stalled"]:
            if writer.transport.get_write_buffer_size() < 1_000_000:
                writer.write(frame(0, 1, "echo", b"x" * 20_000, 60_000))
            most = max([most, *(one.held_bytes for one in server.connections)])
            await asyncio.sleep(0)
        # It was read from no more long before it would have cost us what the bound allows.
        assert 100_000 < most < 1_500_000
        assert server.counters["dropped.unsent"] == 0
        await until(lambda: not server.connections)
        writer.transport.abort()

    serve(scenario, bounds=bounds)


def test_answers_larger_than_what_may_wait_end_the_connection() -> None:
    async def scenario(server: RpcServer, to: Address) -> None:
        _, writer = await asyncio.open_connection(*to)
        writer.transport.pause_reading()
        writer.write(HELLO)
        for call_id in range(100):
            writer.write(frame(0, call_id, "repeat", 500_000, 60_000))
        await until(lambda: server.counters["dropped.unsent"])
        writer.transport.abort()

    serve(scenario, bounds=Bounds(unsent_bytes_max=2_000_000))


def test_who_holds_most_of_our_memory_is_dropped_when_it_gets_too_much() -> None:
    async def scenario(server: RpcServer, to: Address) -> None:
        large, small = struct.pack(">I", 4_000_000), struct.pack(">I", 4_000_000)
        reader, greedy = await asyncio.open_connection(*to)
        greedy.write(HELLO + large + b"x" * 2_000_000)
        await until(lambda: any(one.held_bytes > 1_900_000 for one in server.connections))
        modest = [await asyncio.open_connection(*to) for _ in range(3)]
        for _, writer in modest:
            writer.write(HELLO + small + b"x" * 500_000)
        await hung_up(reader)
        assert server.counters["dropped.memory"] == 1
        assert len(server.connections) == 3
        for writer in (greedy, *(writer for _, writer in modest)):
            writer.transport.abort()

    serve(scenario, held_bytes_max=3_000_000)


def test_one_address_has_a_bounded_number_of_connections() -> None:
    async def scenario(server: RpcServer, to: Address) -> None:
        held = [await asyncio.open_connection(*to) for _ in range(3)]
        for _, writer in held:
            writer.write(HELLO)
        await until(lambda: len(server.connections) == 3)
        pool = RpcPool()
        with pytest.raises(RpcRefusedError, match="3 connections already"):
            await pool.call(to, "echo", 1, timeout_s=5)
        assert server.counters["refused.connections-of-address"] == 1
        held[0][1].transport.abort()
        await until(lambda: len(server.connections) < 3)
        assert await pool.call(to, "echo", 1, timeout_s=5) == 1
        await pool.close()
        for _, writer in held:
            writer.transport.abort()
        await until(lambda: not server.connections)

    serve(scenario, rules=AcceptRules(per_address_max=3))


def test_frames_too_large_for_the_other_side_are_refused_before_they_are_sent() -> None:
    async def scenario(_: RpcServer, to: Address) -> None:
        bounds = Bounds(call_bytes_max=1000, frame_bytes_max=1000)
        pool = RpcPool(bounds=bounds)
        with pytest.raises(RpcRefusedError, match="too large for a call"):
            await pool.call(to, "echo", b"x" * 1000, timeout_s=5)
        with pytest.raises(RpcError) as raised:
            await pool.call(to, "repeat", 1000, timeout_s=5)
        assert raised.value.code == "too-large"
        await pool.close()

    serve(scenario, bounds=Bounds(frame_bytes_max=1000))


def test_a_note_that_breaks_its_receiver_leaves_the_connection_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(_: RpcServer, to: Address) -> None:
        pool = RpcPool()
        pool.note(to, "break", 1)
        assert await pool.call(to, "echo", 1, timeout_s=5) == 1
        pool.note(to, "break", 1)
        assert await pool.call(to, "echo", 1, timeout_s=5) == 1
        assert pool.counters["dialled"] == 1
        await pool.close()

    serve(scenario)
    assert caplog.text.count("a note failed") == 2


def test_a_large_call_of_few_parts_is_answered() -> None:
    async def scenario(_: RpcServer, to: Address) -> None:
        pool = RpcPool()
        body = [[b"x" * 1000, {"flags": 0}]] * 2000
        assert await pool.call(to, "echo", body, timeout_s=5) == body
        await pool.close()

    serve(scenario)


def test_nobody_may_ask_for_a_deadline_without_end() -> None:
    async def scenario(_: RpcServer, to: Address) -> None:
        reader, writer = await asyncio.open_connection(*to)
        writer.write(HELLO + frame(0, 1, "seconds_left", None, 2**62))
        writer.write(frame(0, 2, "seconds_left", None, -5))
        expected = frame(4, "ready", "") + frame(1, 1, DEADLINE_S_MAX) + frame(1, 2, 0.0)
        assert await reader.readexactly(len(expected)) == expected
        writer.close()

    serve(scenario)


# -- strangers that are dialled -------------------------------------------------------------------


def dial(
    answer: bytes, scenario: Callable[[RpcPool, Address], Awaitable[None]], bounds: Bounds
) -> None:
    """Run a scenario against somebody who says `answer` and never reads."""

    class Mute(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            # Once it reads: before, the first versions of Python 3.11 make nothing of it.
            asyncio.get_running_loop().call_soon(transport.pause_reading)
            transport.write(answer)
            made.append(transport)

    made: list[asyncio.Transport] = []

    async def main() -> None:
        listener = await asyncio.get_running_loop().create_server(Mute, "127.0.0.1", 0)
        pool = RpcPool(bounds=bounds)
        try:
            async with asyncio.timeout(60):
                await scenario(pool, listener.sockets[0].getsockname()[:2])
        finally:
            await pool.close()
            for transport in made:
                transport.abort()
            listener.close()
            await listener.wait_closed()

    asyncio.run(main())


def test_a_server_that_never_reads_costs_bounded_memory_and_then_its_connection() -> None:
    async def scenario(pool: RpcPool, to: Address) -> None:
        waiting = asyncio.create_task(pool.call(to, "echo", 1, timeout_s=15))
        await until(lambda: pool.counters["dialled"])
        refused = 0
        while not waiting.done():
            pool.note(to, "tell", b"x" * 100_000)
            try:
                await pool.call(to, "echo", b"x" * 100_000, timeout_s=0.001)
            except RpcRefusedError:
                refused += 1
            except (RpcTimeoutError, RpcClosedError):
                continue
            finally:
                await asyncio.sleep(0)
        assert refused > 0
        assert pool.counters["dropped.notes"] > 0
        assert pool.counters["dropped.stalled"] == 1
        with pytest.raises(RpcClosedError):
            await waiting

    bounds = Bounds(unsent_bytes_max=1_000_000, paused_bytes=100_000, stall_s=0.3)
    dial(frame(4, "ready", ""), scenario, bounds)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "cannot reach"),
        (b"HTTP/1.1 400 Bad Request\r\n", "hung up before it was ready"),
        (frame(4, "refused", "not you\n\x1b[2J"), r'it refused us: "not you\?\?\[2J"$'),
        (frame(4, "leaving", ""), "hung up before it was ready"),
    ],
)
def test_who_never_gets_ready_was_certainly_not_called(answer: bytes, text: str) -> None:
    async def scenario(pool: RpcPool, to: Address) -> None:
        with pytest.raises(RpcRefusedError, match=text):
            await pool.call(to, "echo", 1, timeout_s=5 if answer else 0.3)

    dial(answer, scenario, Bounds())


class Recorder(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20)
    | st.sampled_from(["echo", "break", "hello", "ready", "refused", "leaving", "nothing"])
    | st.floats(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner,
                                                                max_size=3),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("dialled", [True, False])
@given(
    pieces=st.lists(
        st.binary(max_size=60)
        | st.builds(lambda parts: frame(*parts), st.lists(ANYTHING, max_size=6))
        | st.builds(
            lambda kind, parts: frame(kind, *parts),
            st.integers(0, 5),
            st.lists(ANYTHING, min_size=1, max_size=5),
        ),
        max_size=8,
    ),
    cut=st.integers(1, 50),
)
@example(pieces=[b"\x00\x00\x00\x03\x81\x90\x01"], cut=1)
@example(pieces=[frame(4, "leaving", ""), frame(4, "refused", "no")], cut=7)
def test_no_bytes_whatever_raise_out_of_a_connection(
    dialled: bool, pieces: list[bytes], cut: int
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        problems: list[object] = []
        loop.set_exception_handler(lambda _, context: problems.append(context))
        counters: Counter[str] = Counter()
        connection = Connection(METHODS, dialled=dialled, counters=counters)
        transport = Recorder()
        connection.connection_made(transport)
        data = b"".join(pieces)
        for at in range(0, len(data), cut):
            if transport.closed:
                break
            connection.data_received(data[at : at + cut])
        for _ in range(3):
            await asyncio.sleep(0)
        assert connection.held_bytes <= len(data)
        connection.connection_lost(None)
        await asyncio.sleep(0)
        assert not problems

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "taken"),
    [(5, 5.0), (0.5, 0.5), (-1, 0.0), (1e300, 60.0), (2**64 - 1, 60.0), (inf, 60.0), (nan, 0.0)],
)
def test_seconds_of_a_peer_are_within_bounds_and_a_number(sent: float, taken: float) -> None:
    assert seconds_untrusted(sent, most_s=60.0) == taken
