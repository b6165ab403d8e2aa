"""One TCP connection, driven by hand: no sockets, so that every bound can be seen."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsserver import AskOthers, DnsConfig, DnsCounters, QueryAnswer, Responder, ServerLimits
from dnsserver.finishing import Finisher
from dnsserver.recursion import Recursors
from dnsserver.tcp import BATCH_BYTES, BUFFER_BYTES, TcpConnection, TcpListener
from tests.dnsserver.fakes import FakeDirectory, decode, query
from tests.dnsserver.test_server import framed

WEB = query("web.service.svcmesh")
FAR = query("far.query.svcmesh")
LARGE = query("many.service.svcmesh", "SRV")


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reads = True
        self.ends: list[str] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.writes.append(data)

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def is_closing(self) -> bool:
        return bool(self.ends)

    def close(self) -> None:
        self.ends.append("closed")

    def abort(self) -> None:
        self.ends.append("aborted")

    @property
    def responses(self) -> list[bytes]:
        """All that was written, message by message."""
        data, found = b"".join(self.writes), []
        while data:
            (length,) = struct.unpack_from(">H", data)
            found.append(data[2 : 2 + length])
            assert len(found[-1]) == length
            data = data[2 + length :]
        return found


class Bench:
    """A connection over a wire."""

    def __init__(self, limits: ServerLimits) -> None:
        self.counters = DnsCounters()
        self.directory = FakeDirectory()
        self.directory.add_instance(self.directory.add_node("n1", "10.0.0.1"), "web", 80)
        self.directory.add_many("many", 40)
        config, rng = DnsConfig(), Random(1)
        responder = Responder(self.directory, config, self.counters, rng)
        finisher = Finisher()
        finisher.use(responder, Recursors(config.recursors, self.counters, rng))
        self.listener = TcpListener(responder, finisher, self.counters, limits, set())
        self.wire = Wire()
        self.connection = TcpConnection(self.listener)
        self.connection.connection_made(self.wire)

    def hold_answers(self) -> asyncio.Event:
        """Let others be asked for `FAR`; they answer when the event is set."""
        event = asyncio.Event()

        async def ask() -> QueryAnswer | None:
            await event.wait()
            return QueryAnswer("web", self.directory.service("web", None), "dc1", is_kept=False)

        self.directory.queries["far"] = AskOthers(ask)
        return event

    async def send(self, data: bytes) -> int:
        """Give the connection as much as it reads; return how much that was."""
        sent = 0
        while sent < len(data):
            for _ in range(2000):
                if self.wire.reads:
                    break
                await asyncio.sleep(0)
            else:
                break
            room = self.connection.get_buffer(-1)
            count = min(len(room), len(data) - sent)
            room[:count] = data[sent : sent + count]
            sent += count
            self.connection.buffer_updated(count)
        return sent

    async def turns(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    def lose(self) -> None:
        self.connection.connection_lost(None)


UNTIMED = ServerLimits(batch_s=1e6, tcp_idle_timeout_s=1e6)
"""On a busy machine, too, only what is counted ends anything."""


def run(scenario: Callable[[Bench], Awaitable[None]], limits: ServerLimits = UNTIMED) -> None:
    async def main() -> None:
        bench = Bench(limits)
        await scenario(bench)
        bench.lose()
        await bench.turns()

    asyncio.run(main())


def test_what_comes_together_is_answered_in_one_write() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.send(b"".join(framed(bytes((0, number)) + WEB[2:]) for number in range(20)))
        assert len(bench.wire.writes) == 1
        assert [response[1] for response in bench.wire.responses] == list(range(20))

    run(scenario)


def test_a_batch_ends_for_others_to_have_their_turn() -> None:
    async def scenario(bench: Bench) -> None:
        room = bench.connection.get_buffer(-1)
        room[: 7 * len(framed(WEB))] = framed(WEB) * 7
        bench.connection.buffer_updated(7 * len(framed(WEB)))
        counts = []
        while len(bench.wire.responses) < 7:
            counts.append(len(bench.wire.responses))
            assert not bench.wire.reads
            await asyncio.sleep(0)
        assert counts == [3, 6]
        assert bench.wire.reads

    run(scenario, replace(UNTIMED, batch_queries=3))


def test_a_batch_of_large_answers_ends_early() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.send(framed(LARGE) * 100)
        await bench.turns()
        responses = bench.wire.responses
        assert len(responses) == 100
        assert max(map(len, bench.wire.writes)) < BATCH_BYTES + len(responses[0]) + 100

    run(scenario)


MESSAGES = st.one_of(
    st.just(WEB),
    st.just(b""),
    st.binary(max_size=40),
    st.integers(4090, 4110).map(lambda size: WEB.ljust(size, b"\0")),
    st.integers(8180, 8210).map(lambda size: WEB.ljust(size, b"\0")),
    st.just(WEB.ljust(65535, b"\0")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(MESSAGES, max_size=12), st.lists(st.integers(1, 5000), min_size=1, max_size=30))
@example([WEB.ljust(65535, b"\0"), WEB], [1, 2, 3, 4096])
@example([b"", b"", WEB], [1])
def test_messages_are_the_same_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    async def scenario(bench: Bench) -> None:
        alone = Responder(bench.directory, DnsConfig(), DnsCounters(), Random(1))
        expected = [alone.respond_tcp(message, 0.0) for message in messages]
        data, at, number = b"".join(map(framed, messages)), 0, 0
        while at < len(data):
            piece = data[at : at + cuts[number % len(cuts)]]
            assert await bench.send(piece) == len(piece)
            at, number = at + len(piece), number + 1
        await bench.turns()
        assert bench.wire.responses == [one for one in expected if one is not None]
        assert bench.wire.reads
        assert bench.counters.tcp_queries == len(messages)

    run(scenario)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_garbage_has_no_effect_but_errors(data: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.send(data)
        await bench.turns()
        assert all(len(response) >= 12 for response in bench.wire.responses)
        assert bench.wire.ends == []

    run(scenario)


def test_who_does_not_read_is_not_read_from() -> None:
    async def scenario(bench: Bench) -> None:
        assert bench.wire.high == BATCH_BYTES
        bench.connection.pause_writing()
        sent = await bench.send(framed(WEB) * 5000)
        assert sent <= BUFFER_BYTES
        assert not bench.wire.writes
        bench.connection.resume_writing()
        await bench.send((framed(WEB) * 5000)[sent:])
        await bench.turns()
        assert len(bench.wire.responses) == 5000

    run(scenario)


def test_answers_under_way_are_bounded_and_nobody_else_waits_for_them() -> None:
    async def scenario(bench: Bench) -> None:
        event = bench.hold_answers()
        await bench.send(framed(FAR) + framed(WEB) + framed(FAR))
        # RFC 7766 section 6.2.1.1: the one that could be answered is not held up.
        assert [decode(one).question for one in bench.wire.responses] == [decode(WEB).question]
        sent = await bench.send(framed(FAR) * 400)
        assert sent <= BUFFER_BYTES + 5 * len(framed(FAR))
        assert not bench.wire.reads
        event.set()
        await bench.send((framed(FAR) * 400)[sent:])
        for _ in range(2000):
            await asyncio.sleep(0)
        assert len(bench.wire.responses) == 403
        assert bench.wire.reads

    run(scenario, replace(UNTIMED, tcp_pending_max=5))


def test_who_has_said_all_still_gets_what_is_under_way() -> None:
    async def scenario(bench: Bench) -> None:
        event = bench.hold_answers()
        await bench.send(framed(FAR))
        assert bench.connection.eof_received()
        await bench.turns()
        assert bench.wire.ends == []
        event.set()
        await bench.turns()
        assert len(bench.wire.responses) == 1
        assert bench.wire.ends == ["closed"]
        assert not bench.counters.dropped

    run(scenario)


def test_an_end_inside_a_message_is_counted_when_the_others_are_answered() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.send(framed(WEB) + framed(WEB)[:20])
        bench.connection.eof_received()
        assert len(bench.wire.responses) == 1
        assert bench.wire.ends == ["closed"]
        assert bench.counters.dropped == {"tcp_reset": 1}

    run(scenario)


def test_what_is_under_way_is_given_up_with_the_connection() -> None:
    async def scenario(bench: Bench) -> None:
        event = bench.hold_answers()
        await bench.send(framed(FAR))
        bench.wire.abort()
        bench.connection.connection_lost(ConnectionResetError())
        event.set()
        await bench.turns()
        assert not bench.wire.writes
        assert bench.counters.dropped == {"tcp_reset": 1}
        assert bench.counters.tcp_connections == 0

    run(scenario)


@pytest.mark.parametrize("is_writable", [True, False])
def test_who_waits_for_others_is_not_idle_unless_by_not_reading(is_writable: bool) -> None:
    async def scenario(bench: Bench) -> None:
        bench.hold_answers()
        await bench.send(framed(FAR))
        if not is_writable:
            bench.connection.pause_writing()
        for _ in range(20 if is_writable else 10_000):
            await asyncio.sleep(0.001)
            if bench.wire.ends:
                break
        assert bench.wire.ends == ([] if is_writable else ["aborted"])

    run(scenario, replace(UNTIMED, tcp_idle_timeout_s=0.001))


def test_a_connection_too_many_takes_the_place_of_the_one_that_is_idle_for_longest() -> None:
    async def scenario(bench: Bench) -> None:
        wires = [bench.wire, *(Wire() for _ in range(3))]
        for wire in wires[1:]:
            # The clock of the loop has gone on.
            await asyncio.sleep(0.002)
            TcpConnection(bench.listener).connection_made(wire)
        assert [wire.ends for wire in wires] == [["aborted"], ["aborted"], [], []]
        assert bench.counters.tcp_connections == 2
        assert bench.counters.dropped == {"tcp_limit": 2}

    run(scenario, replace(UNTIMED, tcp_connections_max=2))


def test_a_connection_too_many_is_not_served_while_all_others_are_busy() -> None:
    async def scenario(bench: Bench) -> None:
        bench.hold_answers()
        await bench.send(framed(FAR))
        wire = Wire()
        TcpConnection(bench.listener).connection_made(wire)
        assert (bench.wire.ends, wire.ends) == ([], ["aborted"])
        assert bench.counters.tcp_connections == 1
        assert bench.counters.dropped == {"tcp_limit": 1}

    run(scenario, replace(UNTIMED, tcp_connections_max=1))
