"""What an agent keeps of itself is on disk soon after it has changed, told of or not."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

from gossip import Gossip
from gossip.serf.lamport import LamportTimes
from gossip.types import Address, Incarnation, LamportTime, MemberName, Peer
from svcmesh.config import load_config
from svcmesh.errors import StorageError
from svcmesh.runtime.ownstate import OwnState
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import INDEX_BLOCK, LAN_FILES, DataDir

DEADLINE_S = 30.0
"""Generous: a test ends as soon as it may."""


def times(number: int) -> LamportTimes:
    return LamportTimes(LamportTime(number), LamportTime(number), LamportTime(number))


class Member:
    """What is asked of a member of the pool."""

    def __init__(self) -> None:
        self.clocks, self.incarnation = times(1), Incarnation(7)
        self.known: list[Peer] = []

    def peers(self) -> list[Peer]:
        return self.known


class Disk(DataDir):
    """One in memory, which may be full."""

    def __init__(self) -> None:
        super().__init__(None)
        self.is_full = False
        self.refusals = 0
        self.index_reserved = 0

    def commit(self, plan: Mapping[str, bytes | None]) -> None:
        if self.is_full:
            self.refusals += 1
            raise StorageError("No space left on device")
        super().commit(plan)
        self.index_reserved = int(plan.get("index") or self.index_reserved)


class Run:
    """An agent's own state that is kept up to date; `index` is the catalog's."""

    def __init__(self) -> None:
        self.disk, self.member, self.index = Disk(), Member(), 0
        config = load_config({"dev": True}, [])
        self.state = OwnState(config, self.disk, GroupCommitter(self.disk))
        self.state.watch(self.state.lan, cast(Gossip, self.member))
        self.index = self.state.index_start

    async def __aenter__(self) -> "Run":
        self._task = asyncio.create_task(self.state.run(lambda: self.index))
        await self.until(lambda: self.disk.clocks(LAN_FILES) == times(1))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110 -- it is asked, and does not tell
                await asyncio.sleep(0.01)


def test_clocks_that_moved_are_kept_though_nobody_tells_of_them() -> None:
    async def scenario() -> None:
        async with Run() as run:
            run.member.clocks = times(5)
            await run.until(lambda: run.disk.clocks(LAN_FILES) == times(5))

    asyncio.run(scenario())


def test_members_that_changed_are_kept_when_it_is_told() -> None:
    async def scenario() -> None:
        async with Run() as run:
            run.member.known = [Peer(MemberName("n2"), Address("10.0.0.2", 8301))]
            run.state.note_change()
            await run.until(lambda: run.disk.peers(LAN_FILES) == (run.member.known, False))

    asyncio.run(scenario())


def test_an_index_is_reserved_before_those_that_are_have_been_given_out() -> None:
    async def scenario() -> None:
        async with Run() as run:
            run.index = reserved = run.disk.index_reserved
            await run.until(lambda: run.disk.index_reserved >= reserved + INDEX_BLOCK)

    asyncio.run(scenario())


def test_what_a_full_disk_refused_is_kept_when_there_is_room() -> None:
    async def scenario() -> None:
        async with Run() as run:
            run.disk.is_full = True
            run.member.clocks = times(5)
            await run.until(lambda: run.disk.refusals > 0)
            run.disk.is_full = False
            await run.until(lambda: run.disk.clocks(LAN_FILES) == times(5))

    asyncio.run(scenario())
