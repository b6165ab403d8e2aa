"""Datagrams that a host refuses are told apart from those that are lost (IP_RECVERR)."""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gossip.config import PoolConfig
from gossip.driver.drops import DropLog
from gossip.driver.packets import PacketSocket
from gossip.driver.sockets import AddressFamily, listen
from gossip.types import Address
from gossip.wire import PacketCodec
from gossip.wire.messages import PacketMessage
from tests.gossip.driver.pool import needs_ipv6, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports them")


@dataclass
class Listener:
    """A packet socket, and what it told."""

    address: Address
    refused: list[Address] = field(default_factory=list)
    received: list[PacketMessage] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    packets: PacketSocket = field(init=False)


@asynccontextmanager
async def listening(host: str) -> AsyncIterator[Listener]:
    family = AddressFamily(host)
    streams, datagrams, port = listen(Address(host, 0), family)
    streams.close()
    listener = Listener(Address(host, port))
    listener.packets = PacketSocket(
        datagrams,
        family,
        PacketCodec(PoolConfig(), None, new_nonce=lambda: b"", compress=False),
        receive=lambda message, _source: listener.received.append(message),
        refused=listener.refused.append,
        finish_batch=lambda: None,
        counters=listener.counters,
        drops=DropLog(listener.counters),
    )
    try:
        yield listener
    finally:
        listener.packets.close()


def nobody(host: str) -> Address:
    """An address where nobody listens any more."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return Address(host, sock.getsockname()[1])


@pytest.mark.parametrize(
    ("bind", "target"),
    [
        ("127.0.0.1", "127.0.0.2"),
        pytest.param("::1", "::1", marks=needs_ipv6),
        pytest.param("::", "127.0.0.3", marks=needs_ipv6),
    ],
)
def test_a_refused_datagram_names_whom_it_was_sent_to(bind: str, target: str) -> None:
    async def scenario() -> None:
        async with listening(bind) as sender:
            to = nobody(target)
            sender.packets.send(to, [b"\x08\x80"], crc=False)
            await until(lambda: bool(sender.refused))
            assert sender.refused == [to]
            assert sender.counters["packets_refused"] == 1

    asyncio.run(scenario())


def test_a_refusal_costs_the_next_receiver_no_datagram() -> None:
    async def scenario() -> None:
        async with listening("127.0.0.1") as sender, listening("127.0.0.2") as other:
            for _ in range(10):
                sender.packets.send(nobody("127.0.0.3"), [b"\x08\x80"], crc=False)
                sender.packets.send(other.address, [b"\x08\x80"], crc=False)
            await until(lambda: len(other.received) == 10)
            await until(lambda: sender.counters["packets_refused"] == 10)

    asyncio.run(scenario())


def test_a_storm_of_refusals_is_told_once_for_each_address_and_batch() -> None:
    async def scenario() -> None:
        async with listening("127.0.0.1") as sender:
            to = nobody("127.0.0.3")
            for _ in range(50):
                sender.packets.send(to, [b"\x08\x80"], crc=False)
            await until(lambda: sender.counters["packets_refused"] == 50)
            assert len(sender.refused) < 5
            assert set(sender.refused) == {to}

    asyncio.run(scenario())
