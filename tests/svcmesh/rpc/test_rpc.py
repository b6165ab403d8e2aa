"""Calls between agents over real sockets, and what strangers may do to a connection."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import msgpack
import pytest

from svcmesh.rpc import (
    AcceptRules,
    Bounds,
    DialRules,
    Methods,
    RpcClosedError,
    RpcError,
    RpcPool,
    RpcRefusedError,
    RpcServer,
    RpcTimeoutError,
)
from svcmesh.rpc.pool import NOTES_MAX

Address = tuple[str, int]


class Callee:
    """The methods of the tests."""

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.noted = asyncio.Event()
        self.seconds_left: list[float] = []
        self.hold = asyncio.Event()

    @property
    def methods(self) -> Methods:
        return Methods(
            {"echo": self.echo, "refuse": self.refuse, "wait": self.wait, "break": self.fail},
            {"tell": self.tell},
        )

    async def echo(self, body: object, seconds_left: float) -> object:
        self.seconds_left.append(seconds_left)
        return body

    async def refuse(self, body: object, _: float) -> object:
        raise RpcError("no-leader", f"nobody for {body}")

    async def wait(self, body: object, _: float) -> object:
        await self.hold.wait()
        return body

    async def fail(self, body: object, _: float) -> object:
        raise LookupError("a bug")

    def tell(self, body: object) -> None:
        self.notes.append(body)
        self.noted.set()


@asynccontextmanager
async def served(bounds: Bounds | None = None) -> AsyncIterator[tuple[Callee, RpcServer, Address]]:
    callee = Callee()
    server = RpcServer(callee.methods, bounds=bounds)
    address = await server.start("127.0.0.1", 0)
    try:
        yield callee, server, address
    finally:
        await server.close()


Scenario = Callable[[Callee, RpcServer, RpcPool, Address], Coroutine[None, None, None]]


def run(scenario: Scenario, bounds: Bounds | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), served(bounds) as (callee, server, address):
            pool = RpcPool()
            try:
                await scenario(callee, server, pool, address)
            finally:
                await pool.close()

    asyncio.run(main())


def test_many_calls_at_once_get_their_own_answers_and_the_deadline_travels() -> None:
    async def scenario(callee: Callee, _: RpcServer, pool: RpcPool, to: Address) -> None:
        calls = [pool.call(to, "echo", [n, b"x" * n], timeout_s=5) for n in range(500)]
        assert await asyncio.gather(*calls) == [[n, b"x" * n] for n in range(500)]
        assert all(4 < left <= 5 for left in callee.seconds_left)

    run(scenario)


def test_errors_of_a_method_come_back_with_their_code() -> None:
    async def scenario(_: Callee, __: RpcServer, pool: RpcPool, to: Address) -> None:
        for method, code in (("refuse", "no-leader"), ("nothing", "unknown-method")):
            with pytest.raises(RpcError) as raised:
                await pool.call(to, method, "me", timeout_s=5)
            assert raised.value.code == code

    run(scenario)


def test_a_method_that_breaks_answers_so_and_leaves_the_connection_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(_: Callee, __: RpcServer, pool: RpcPool, to: Address) -> None:
        with pytest.raises(RpcError, match="internal error"):
            await pool.call(to, "break", None, timeout_s=5)
        assert await pool.call(to, "echo", 1, timeout_s=5) == 1

    run(scenario)
    assert "a call failed" in caplog.text


def test_nobody_at_the_address_means_nothing_was_done() -> None:
    async def scenario(_: Callee, server: RpcServer, pool: RpcPool, to: Address) -> None:
        await server.close()
        with pytest.raises(RpcRefusedError):
            await pool.call(to, "echo", 1, timeout_s=5)

    run(scenario)


def test_without_an_answer_in_time_the_outcome_is_unknown() -> None:
    async def scenario(callee: Callee, server: RpcServer, pool: RpcPool, to: Address) -> None:
        with pytest.raises(RpcTimeoutError):
            await pool.call(to, "wait", 1, timeout_s=0.05)
        waiting = asyncio.create_task(pool.call(to, "wait", 2, timeout_s=5))
        await pool.call(to, "echo", 1, timeout_s=5)
        await server.close()
        with pytest.raises(RpcClosedError):
            await waiting

    run(scenario)


def test_a_dropped_connection_ends_the_calls_that_wait_and_is_dialled_anew() -> None:
    async def scenario(callee: Callee, _: RpcServer, pool: RpcPool, to: Address) -> None:
        waiting = asyncio.create_task(pool.call(to, "wait", 2, timeout_s=5))
        await pool.call(to, "echo", 1, timeout_s=5)
        pool.drop(to)
        with pytest.raises(RpcClosedError):
            await waiting
        assert await pool.call(to, "echo", 3, timeout_s=5) == 3

    run(scenario)


def test_notes_wait_for_the_connection_a_bounded_number_of_them() -> None:
    async def scenario(callee: Callee, _: RpcServer, pool: RpcPool, to: Address) -> None:
        for number in range(NOTES_MAX + 3):
            pool.note(to, "tell", number)
        await pool.call(to, "echo", 1, timeout_s=5)
        pool.note(to, "tell", "later")
        await pool.call(to, "echo", 1, timeout_s=5)
        assert callee.notes == [*range(NOTES_MAX), "later"]
        assert pool.counters["dropped.notes"] == 3

    run(scenario)


@pytest.mark.parametrize("turns", range(4))
def test_who_arrives_while_the_server_closes_is_hung_up_on(
    turns: int, recwarn: pytest.WarningsRecorder
) -> None:
    gc.collect()
    recwarn.clear()

    async def scenario(_: Callee, server: RpcServer, __: RpcPool, to: Address) -> None:
        with socket.create_connection(to, timeout=60) as peer:
            for _turn in range(turns):
                await asyncio.sleep(0)
            await server.close()
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""

    run(scenario)
    gc.collect()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack(">I", 2**31), "frame-too-large"),
        (struct.pack(">I", 3) + b"\xc1\xc1\xc1", "frame-unreadable"),
        (struct.pack(">I", 1) + msgpack.packb(7), "frame-unreadable"),
        (struct.pack(">I", 4) + msgpack.packb([9, 1, 2]), "frame-unreadable"),
    ],
)
def test_what_is_no_frame_costs_the_connection_only(data: bytes, reason: str) -> None:
    async def scenario(_: Callee, server: RpcServer, pool: RpcPool, to: Address) -> None:
        reader, writer = await asyncio.open_connection(*to)
        writer.write(data)
        # What follows the `ready` that everybody is told is the end.
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        assert server.counters[f"dropped.{reason}"] == 1
        assert await pool.call(to, "echo", 1, timeout_s=5) == 1

    run(scenario)


def test_half_a_frame_waits_without_harm() -> None:
    async def scenario(_: Callee, __: RpcServer, pool: RpcPool, to: Address) -> None:
        _, writer = await asyncio.open_connection(*to)
        writer.write(struct.pack(">I", 1000) + b"half")
        assert await pool.call(to, "echo", 1, timeout_s=5) == 1
        writer.close()

    run(scenario)


def test_a_peer_that_does_not_read_costs_bounded_memory() -> None:
    async def scenario(_: Callee, server: RpcServer, pool: RpcPool, to: Address) -> None:
        _, writer = await asyncio.open_connection(*to)
        body = b"x" * 100_000
        packed = msgpack.packb([0, 1, "echo", body, 1000])
        frame = struct.pack(">I", len(packed)) + packed
        while not server.counters["dropped.unsent"]:
            writer.write(frame)
            await asyncio.sleep(0)
        assert await pool.call(to, "echo", 1, timeout_s=5) == 1
        writer.transport.abort()

    run(scenario, Bounds(unsent_bytes_max=1_000_000))


def test_calls_beyond_the_bound_are_refused_and_the_others_answered() -> None:
    async def scenario(callee: Callee, _: RpcServer, pool: RpcPool, to: Address) -> None:
        waiting = [asyncio.create_task(pool.call(to, "wait", n, timeout_s=5)) for n in range(3)]
        done, held = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        (refused,) = done
        assert isinstance(error := refused.exception(), RpcError)
        assert error.code == "overloaded"
        callee.hold.set()
        assert sorted(await asyncio.gather(*held)) == [0, 1]

    run(scenario, Bounds(calls_max=2))


def test_a_server_that_wants_other_connections_answers_what_waits_on_the_old_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("svcmesh.rpc.connection.LEAVING_S", 0.3)

    async def scenario(callee: Callee, server: RpcServer, pool: RpcPool, to: Address) -> None:
        waiting = asyncio.create_task(pool.call(to, "wait", 2, timeout_s=5))
        await pool.call(to, "echo", 1, timeout_s=5)
        server.reconfigure(AcceptRules(server_names=("server.dc1.consul",)))
        while pool.counters["dialled"] < 2:
            assert await pool.call(to, "echo", 1, timeout_s=5) == 1
        await asyncio.sleep(0.4)
        assert len(server.connections) == 2, "the old one is still needed"
        callee.hold.set()
        assert await waiting == 2
        while len(server.connections) > 1:
            await pool.call(to, "echo", 1, timeout_s=5)

    run(scenario)


def test_who_hangs_on_to_an_old_connection_is_not_heard_there_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("svcmesh.rpc.connection.LEAVING_S", 0.3)

    async def scenario(_: Callee, server: RpcServer, pool: RpcPool, to: Address) -> None:
        reader, writer = await asyncio.open_connection(*to)
        hello = msgpack.packb([4, "hello", ""])
        writer.write(struct.pack(">I", len(hello)) + hello)
        await reader.readexactly(4)
        server.reconfigure(AcceptRules(server_names=("server.dc1.consul",)))
        await reader.read()
        writer.close()

    run(scenario)


def test_a_connection_that_was_dialled_by_former_rules_is_not_used() -> None:
    async def scenario(_: Callee, server: RpcServer, pool: RpcPool, to: Address) -> None:
        calling = asyncio.create_task(pool.call(to, "echo", 1, timeout_s=5))
        while not pool.counters["dialled"]:  # noqa: ASYNC110 -- nobody would set an event
            await asyncio.sleep(0)
        pool.reconfigure(DialRules(datacenter="dc2"))
        assert await calling == 1
        assert pool.counters["dialled"] == 2

    run(scenario)


def test_every_call_has_its_own_deadline_whatever_others_wait_for() -> None:
    async def scenario(_: Callee, __: RpcServer, pool: RpcPool, to: Address) -> None:
        loop = asyncio.get_running_loop()

        async def times_out(timeout_s: float) -> float:
            began_at = loop.time()
            with pytest.raises(RpcTimeoutError):
                await pool.call(to, "wait", 1, timeout_s=timeout_s)
            return loop.time() - began_at

        await pool.call(to, "echo", 1, timeout_s=60)
        timeouts_s = (5.0, 0.2, 0.05, 0.3, 0.05)
        waiting = [asyncio.create_task(times_out(one)) for one in timeouts_s]
        done, pending = await asyncio.wait(waiting, timeout=2.5)
        assert pending == {waiting[0]}
        assert all(
            task.result() >= timeout_s
            for task, timeout_s in zip(waiting, timeouts_s, strict=True)
            if task in done
        )
        waiting[0].cancel()
        await asyncio.wait(pending)

    run(scenario)
