"""A few real members on loopback addresses, and waiting for what they come to see."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gossip import (
    Address,
    Event,
    Gossip,
    GossipConfig,
    Incarnation,
    Keyring,
    LamportTimes,
    Member,
    MemberName,
    MemberStatus,
    PoolConfig,
    SerfConfig,
    local,
)

DEADLINE_S = 60.0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
FAST = GossipConfig(
    swim=replace(
        local(),
        probe_interval_s=0.1,
        probe_timeout_s=0.05,
        gossip_interval_s=0.02,
        retransmit_mult=6,  # so that a rumor is not used up on one member before the other is told
        tcp_timeout_s=1.0,
        suspicion_mult=2,
        suspicion_max_mult=2,
    ),
    serf=SerfConfig(broadcast_timeout_s=1.0, leave_propagate_delay_s=0.1),
)
FAST_UNACQUAINTED = replace(FAST, swim=replace(FAST.swim, crash_evidence=False))
"""Nobody dials to see whether another can be reached: every stream is one that the test knows."""
FAST_LABELLED = replace(FAST, pool=PoolConfig(label="pool"))


class Witness:
    """A member and the events it told."""

    gossip: Gossip

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.on_event: Callable[[Event], None] | None = None

    def take(self, event: Event) -> None:
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)

    @property
    def where(self) -> str:
        return str(self.gossip.address)

    def statuses(self) -> dict[str, MemberStatus]:
        return {member.name: member.status for member in self.gossip.members()}

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def started(
    name: str = "n1",
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    config: GossipConfig = FAST,
    keys: list[bytes] | None = None,
    tags: Mapping[str, str] | None = None,
    admit: Callable[[Sequence[Member]], str | None] | None = None,
    compress: bool = False,
    incarnation: int = 1,
    on_event: Callable[[Event], None] | None = None,
    save_keys: Callable[[Sequence[bytes]], Awaitable[None]] | None = None,
    clocks: LamportTimes | None = None,
) -> AsyncIterator[Witness]:
    witness = Witness()
    witness.gossip = await Gossip.create(
        config,
        name=MemberName(name),
        bind=Address(host, port),
        tags=tags or {},
        incarnation=Incarnation(incarnation),
        keyring=Keyring(keys) if keys else None,
        on_event=on_event or witness.take,
        save_keys=save_keys,
        clocks=clocks,
        admit=admit,
        compress=compress,
    )
    try:
        yield witness
    finally:
        await witness.gossip.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what must become true soon; look often."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.005)


def open_descriptors() -> int:
    # What other tests left to be collected is not to go while one counts.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
