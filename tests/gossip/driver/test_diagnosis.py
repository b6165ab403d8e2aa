"""Measuring how members are reached, and seeing who encrypts, on real sockets."""

import asyncio
import socket
from dataclasses import replace

import pytest

from gossip import Address, MemberName, PoolConfig, StateError
from gossip.driver.diagnosis import PINGS
from gossip.driver.seals import ADDRESSES_MAX, Seals
from tests.gossip.driver.pool import FAST, started, until

B = MemberName("b")
OLD, NEW = b"o" * 16, b"n" * 32


@pytest.mark.parametrize("keys", [None, [OLD]])
def test_a_healthy_member_is_reached_in_every_way(keys: list[bytes] | None) -> None:
    async def scenario() -> None:
        async with started("a", keys=keys) as a, started("b", keys=keys) as b:
            await a.gossip.join([b.where])
            found = await a.gossip.diagnose(B)
            assert found.udp_rtt_s is not None
            assert 0 < found.udp_rtt_s < 1
            assert found.tcp_rtt_s is not None
            assert (found.udp_lost, found.tcp_error) == (0, "")
            assert found.datagram_bytes == FAST.swim.udp_buffer_bytes
            assert not any(key.startswith("dropped.") for key in b.gossip.counters)

    asyncio.run(scenario())


def test_a_member_that_is_gone_is_reached_in_none() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b:
            await a.gossip.join([b.where])
            await b.gossip.close()
            found = await a.gossip.diagnose(B)
            assert (found.udp_rtt_s, found.udp_lost, found.datagram_bytes) == (None, PINGS, 0)
            assert found.tcp_rtt_s is None
            assert "refused" in found.tcp_error

    asyncio.run(scenario())


def test_a_member_whose_datagrams_are_lost_still_shows_by_tcp() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b:
            await a.gossip.join([b.where])
            # What closes the datagram socket alone: nobody answers there, and the listener does.
            b.gossip._packets.close()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
                silent.bind(b.gossip.address)
                found = await a.gossip.diagnose(B)
            assert found.udp_rtt_s is None
            assert found.tcp_rtt_s is not None

    asyncio.run(scenario())


def test_an_unknown_member_cannot_be_examined() -> None:
    async def scenario() -> None:
        async with started("a") as a:
            with pytest.raises(StateError):
                await a.gossip.diagnose(B)

    asyncio.run(scenario())


def test_it_shows_with_which_key_a_member_sends() -> None:
    async def scenario() -> None:
        lenient = replace(FAST, pool=PoolConfig(verify_incoming=False))
        silent = replace(FAST, pool=PoolConfig(verify_incoming=False, verify_outgoing=False))
        for config, keys, expected in (
            (lenient, [NEW, OLD], NEW),
            (lenient, [OLD, NEW], OLD),
            (silent, [OLD, NEW], None),
        ):
            async with (
                started("a", keys=[NEW, OLD], config=lenient) as a,
                started("b", keys=keys, config=config) as b,
            ):
                await a.gossip.join([b.where])
                found = await a.gossip.diagnose(B)
                assert found.udp_rtt_s is not None
                assert a.gossip.seal_key(found.address) == expected

    asyncio.run(scenario())


def test_seals_are_bounded_and_change_with_the_last_packet() -> None:
    seals = Seals()
    first = Address("10.0.0.1", 1)
    seals.note(first, None)
    seals.note(first, OLD)
    assert seals.key(first) == OLD
    for number in range(ADDRESSES_MAX):
        seals.note(Address("10.0.0.2", number), None)
    assert seals.key(first) is None


def test_late_answers_do_not_reach_the_machine_and_do_no_harm() -> None:
    async def scenario() -> None:
        async with started("a") as a, started("b") as b:
            await a.gossip.join([b.where])
            await asyncio.gather(*(a.gossip.diagnose(B) for _ in range(5)))
            await until(lambda: a.statuses() == b.statuses())

    asyncio.run(scenario())
