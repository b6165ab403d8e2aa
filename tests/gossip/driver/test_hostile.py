"""Strangers on the port: floods, slow and endless streams, garbage, too many connections."""

import asyncio
import logging
import socket
import time
from collections import Counter
from random import Random

import pytest

from gossip.config import PoolConfig
from gossip.driver import streams as streams_module
from gossip.driver.drops import LOG_INTERVAL_S, DropLog
from gossip.types import MemberName, SeqNo
from gossip.wire import Progress, StreamDecoder, StreamEncoder, encode_message
from gossip.wire.messages import Ack, ErrorReply, Ping, StreamMessage, UserMessage
from tests.gossip.driver.pool import (
    FAST_UNACQUAINTED,
    Witness,
    open_descriptors,
    started,
    until,
)
from tests.gossip.wire.vectors import PACKETS, VECTORS


def encoded(message: StreamMessage) -> bytes:
    encoder = StreamEncoder(PoolConfig(), None, new_nonce=lambda: bytes(12))
    return b"".join(encoder.encode(message, dialled=True))


async def talk(member: Witness, data: bytes, *, half_close: bool = True) -> bytes:
    """Send `data` on a connection of its own and read until the member closes it."""
    reader, writer = await asyncio.open_connection(*member.gossip.address)
    try:
        writer.write(data)
        if half_close:
            writer.write_eof()
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def reply_of(data: bytes) -> StreamMessage:
    decoder = StreamDecoder(PoolConfig(), None, dialled=True)
    decoder.feed(data)
    assert decoder.advance() is Progress.DONE
    return decoder.message


def test_a_ping_by_stream_is_answered_and_one_for_another_name_is_not() -> None:
    async def scenario() -> None:
        async with started("a") as a:
            answer = await talk(a, encoded(Ping(SeqNo(7), MemberName("a"))))
            silence = await talk(a, encoded(Ping(SeqNo(7), MemberName("b"))))

            assert reply_of(answer) == Ack(SeqNo(7))
            assert silence == b""

    asyncio.run(scenario())


def test_an_unreadable_layer_is_answered_with_an_error_even_if_much_is_unread() -> None:
    async def scenario() -> None:
        async with started("a") as a:
            answer = await talk(a, b"\x0a\xff\xff\xff\xff" + bytes(200_000))

            assert isinstance(reply_of(answer), ErrorReply)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x63", "unknown-type"),
        (b"\x06\xc1", "bad-body"),
        (b"\x06\x81\xa5Nodes\xff", "too-many-nodes"),
        (b"\x00\x81", "stream-cut"),
        (b"\xf4\x01x\x00\x80", "wrong-label"),
        (b"", "stream-cut"),
    ],
)
def test_a_bad_stream_is_closed_without_an_answer_and_counted(data: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with started("a") as a:
            assert await talk(a, data) == b""
            assert a.gossip.counters[f"dropped.{reason}"] == 1

    asyncio.run(scenario())


def test_a_silent_and_a_trickling_stream_are_closed_at_the_deadline() -> None:
    async def scenario() -> None:
        async with started("a") as a:

            async def trickle() -> None:
                reader, writer = await asyncio.open_connection(*a.gossip.address)
                writer.write(b"\x08\x81\xaaUserMsgLen\xcd\x27\x10")
                reading = asyncio.create_task(reader.read())
                while not reading.done():
                    writer.write(b"x")
                    await asyncio.wait([reading], timeout=0.05)
                await asyncio.gather(reading, return_exceptions=True)
                writer.close()

            await asyncio.gather(talk(a, b"", half_close=False), trickle())

            assert a.gossip.counters["dropped.stream-timeout"] == 2

    asyncio.run(scenario())


def test_connections_beyond_128_are_closed_at_once_and_the_member_goes_on() -> None:
    async def scenario() -> None:
        quiet = FAST_UNACQUAINTED
        async with started("a", config=quiet) as a, started("b", config=quiet) as b:
            held = [socket.create_connection(a.gossip.address) for _ in range(140)]
            await until(lambda: a.gossip.counters["dropped.too-many-streams"] == 12)
            for sock in held:
                sock.close()
            result = await b.gossip.join([a.where])

            assert a.gossip.counters["streams_in"] == 129
            assert result.contacted == 1

    asyncio.run(scenario())


def test_streams_share_a_bound_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "HELD_BYTES_MAX", 1_000_000)
    message = encoded(UserMessage(b"\x80" * 700_000))

    async def scenario() -> None:
        async with started("a") as a:
            reader, writer = await asyncio.open_connection(*a.gossip.address)
            writer.write(message[:600_000])
            await until(lambda: a.gossip.counters["stream_bytes_in"] == 600_000)
            await talk(a, message)
            assert a.gossip.counters["dropped.stream-memory"] == 1
            writer.write(message[600_000:])
            assert await reader.read() == b""
            await until(lambda: a.events)
            # What the refused stream held is free again.
            await talk(a, message)
            assert a.gossip.counters["dropped.stream-memory"] == 1
            writer.close()

    asyncio.run(scenario())


def test_a_large_stream_does_not_stall_the_loop() -> None:
    async def scenario() -> None:
        async with started("a", compress=True) as a:
            data = b"".join(
                StreamEncoder(PoolConfig(), None, new_nonce=lambda: b"", compress=True).encode(
                    UserMessage(b"\x80" + Random(1).randbytes(150_000)), dialled=True
                )
            )
            sending = asyncio.create_task(talk(a, data))
            stalls = []
            while not sending.done():
                # Processor time: what the machine does besides is not our stall.
                before = time.thread_time()
                await asyncio.sleep(0)
                stalls.append(time.thread_time() - before)

            assert len(a.events) > 0
            assert len(stalls) > 20  # it was decoded in slices
            assert sorted(stalls)[-3] < 0.05

    asyncio.run(scenario())


def test_garbage_on_both_ports_leaves_a_member_that_still_joins() -> None:
    rng = Random(7)

    def mutated() -> bytes:
        data = bytearray(rng.choice(VECTORS).data[:1400])
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.randint(1, len(data))])

    async def scenario() -> None:
        descriptors = open_descriptors()
        async with started("a") as a, started("b") as b:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for sent in range(3000):
                sock.sendto(mutated(), a.gossip.address)
                if sent % 100 == 0:
                    await asyncio.sleep(0)
            sock.close()
            for _ in range(50):
                await talk(a, mutated())
            await b.gossip.join([a.where])
            await until(lambda: b.statuses().get("a") is not None and "b" in a.statuses())

            assert a.gossip.counters["packets_in"] > 1000
            assert sum(n for key, n in a.gossip.counters.items() if key[:8] == "dropped.") > 500
        assert open_descriptors() == descriptors

    asyncio.run(scenario())


def test_real_packets_of_other_agents_do_no_harm() -> None:
    async def scenario() -> None:
        async with started("a") as a:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for vector in PACKETS:
                sock.sendto(vector.data, a.gossip.address)
            sock.sendto(encode_message(Ping(SeqNo(1), MemberName("a"))), a.gossip.address)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(60):
                # Stale claims among them are answered, before the ping is.
                while (await loop.sock_recv(sock, 2000))[0] not in (2, 7):
                    pass
            sock.close()

    asyncio.run(scenario())


def test_a_flood_of_drops_writes_one_line_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    counters: Counter[str] = Counter()
    drops = DropLog(counters)
    with caplog.at_level(logging.DEBUG):
        for index in range(100_000):
            drops.record(
                "bad-body",
                now=index * 2.5 * LOG_INTERVAL_S / 100_000,
                source="x",
                detail="\n\x1b[31m",
            )

    assert counters == {"dropped.bad-body": 100_000}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "bad-body: 40000" in caplog.records[1].getMessage()
    assert all(record.getMessage().isprintable() for record in caplog.records)
