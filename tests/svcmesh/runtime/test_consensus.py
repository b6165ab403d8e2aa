"""Raft's shell over real sockets and files: three servers in one process."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import msgpack
import pytest

from svcmesh.consensus.disk import MemoryDisk, RaftDisk
from svcmesh.consensus.raft import (
    LogIndex,
    Membership,
    Message,
    RaftConfig,
    ServerId,
    SnapshotMeta,
    Term,
    pack_message,
    unpack_message_untrusted,
)
from svcmesh.consensus.service import OutcomeUnknownError
from svcmesh.errors import DecodeError, StorageError
from svcmesh.runtime import consensus as shell
from svcmesh.runtime import proposals, raftsnapshots
from svcmesh.runtime.consensus import Consensus, NoLeaderError

IDS = [ServerId(f"s{n}") for n in range(3)]
STEADY = RaftConfig(election_timeout_s=10.0, heartbeat_s=0.03, lease_s=7.0)
"""For what needs no election: no pause of a busy machine ends a leadership."""
QUICK = RaftConfig(election_timeout_s=1.0, heartbeat_s=0.05, lease_s=0.6)
"""For what does."""


class Register:
    """A state machine: [key, value] sets, and says what was there."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.applied: list[int] = []

    def apply(self, index: int, command: bytes) -> object:
        key, value = msgpack.unpackb(command)
        before = self.values.get(key)
        self.values[key] = value
        self.applied.append(index)
        return before

    def freeze(self) -> Iterator[bytes]:
        return iter([msgpack.packb(self.values)])

    def load(self, state: Iterable[bytes]) -> dict[str, int]:
        try:
            values: dict[str, int] = msgpack.unpackb(b"".join(state))
        except ValueError as error:
            raise DecodeError("register", str(error)) from error
        return values

    def restore(self, loaded: dict[str, int]) -> None:
        self.values = loaded


class Network:
    """Hands messages over in the loop's next turn, between servers that are up and not cut off."""

    def __init__(self) -> None:
        self.servers: dict[ServerId, Consensus] = {}
        self.cut: set[ServerId] = set()

    def link(self, sender: ServerId) -> "Link":
        return Link(self, sender)

    def reaches(self, sender: ServerId, to: ServerId) -> bool:
        return to in self.servers and not {sender, to} & self.cut


class Link:
    def __init__(self, network: Network, sender: ServerId) -> None:
        self._network, self._sender = network, sender

    def send(self, to: ServerId, message: Message) -> None:
        packed = pack_message(message)
        asyncio.get_running_loop().call_soon(self._deliver, to, packed)

    def _deliver(self, to: ServerId, packed: list[object]) -> None:
        if self._network.reaches(self._sender, to):
            message = unpack_message_untrusted(msgpack.unpackb(msgpack.packb(packed)))
            self._network.servers[to].handle_message(self._sender, message)

    async def send_snapshot_part(
        self, to: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> bool:
        await asyncio.sleep(0)
        return self._network.reaches(self._sender, to) and await self._network.servers[
            to
        ].handle_snapshot_part(self._sender, term, offset, part, is_last=is_last)


class Group:
    """Servers with their files below a folder; None: in memory."""

    def __init__(self, folder: Path | None, config: RaftConfig) -> None:
        self._folder, self._config = folder, config
        self.network = Network()
        self.machines: dict[ServerId, Register] = {}

    def start(self, server: ServerId) -> Consensus:
        disk = MemoryDisk() if self._folder is None else RaftDisk(self._folder / server)
        self.machines[server] = Register()
        running = Consensus(
            server, self.machines[server], disk, self.network.link(server), config=self._config
        )
        self.network.servers[server] = running
        return running

    async def stop(self, server: ServerId) -> None:
        await self.network.servers.pop(server).close()

    async def leader(self) -> Consensus:
        servers = self.network.servers
        await until(lambda: any(s.has_lease for s in servers.values()))
        return next(s for s in servers.values() if s.has_lease)

    async def grow(self) -> Consensus:
        """Found a group with the first server, and add the others."""
        first = self.start(IDS[0])
        first.found()
        await self.leader()
        for server in IDS[1:]:
            self.start(server)
            await until(lambda: not first.raft.log.members_index > first.raft.log.commit)
            voters = set(first.raft.members.voters)
            assert first.change_members(Membership.of(voters | {server})) is None
            await until(
                lambda server=server: first.raft.match_of(server) == first.raft.log.last_index  # type: ignore[misc]  # a default has no type
            )
        return first


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.005)


@asynccontextmanager
async def group(folder: Path | None, config: RaftConfig = STEADY) -> AsyncIterator[Group]:
    servers = Group(folder, config)
    try:
        yield servers
    finally:
        for server in list(servers.network.servers):
            await servers.stop(server)


def put(key: str, value: int) -> bytes:
    return bytes(msgpack.packb([key, value]))


def test_a_founder_grows_a_group_and_every_server_applies_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with group(tmp_path) as servers:
            first = await servers.grow()
            results = await asyncio.gather(*(first.propose(put("k", n)) for n in range(100)))
            assert results == [None, *range(99)]
            await until(lambda: all(m.values == {"k": 99} for m in servers.machines.values()))

    asyncio.run(main())


def test_all_of_it_is_there_after_a_restart_of_all(tmp_path: Path) -> None:
    async def main() -> None:
        async with group(tmp_path, QUICK) as servers:
            first = await servers.grow()
            await first.propose(put("k", 1))
            for server in IDS:
                await servers.stop(server)
            for server in IDS:
                assert servers.start(server).has_state
            leader = await servers.leader()
            await leader.barrier()
            assert servers.machines[leader.id].values == {"k": 1}

    asyncio.run(main())


def test_the_others_go_on_when_the_leader_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with group(tmp_path, QUICK) as servers:
            first = await servers.grow()
            await first.propose(put("k", 1))
            await servers.stop(first.id)
            leader = await servers.leader()
            assert await leader.propose(put("k", 2)) == 1

    asyncio.run(main())


def test_a_leader_that_is_cut_off_promises_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with group(tmp_path, QUICK) as servers:
            first = await servers.grow()
            servers.network.cut = {first.id}
            waiting = asyncio.create_task(first.propose(put("k", 1)))
            reading = asyncio.create_task(first.barrier())
            with pytest.raises(OutcomeUnknownError):
                await waiting
            with pytest.raises(NoLeaderError):
                await reading
            with pytest.raises(NoLeaderError):
                await first.propose(put("k", 1))

    asyncio.run(main())


class Settling:
    """Something to be done before a read, until it is."""

    def __init__(self) -> None:
        self.is_settled = False
        self.asked = asyncio.Event()
        self.done = asyncio.Event()

    async def settle(self) -> None:
        self.asked.set()
        await self.done.wait()
        self.is_settled = True


@pytest.mark.parametrize("by_lease", [False, True])
def test_a_follower_reads_what_the_leader_has_acknowledged(tmp_path: Path, by_lease: bool) -> None:
    async def main() -> None:
        async with group(tmp_path) as servers:
            first = await servers.grow()
            follower = servers.network.servers[IDS[1]]
            await until(lambda: follower.leader == first.id)
            for value in range(20):
                await first.propose(put("k", value))
                await follower.barrier(by_lease=by_lease)
                assert servers.machines[IDS[1]].values["k"] == value

    asyncio.run(main())


def test_a_followers_read_waits_until_the_leader_has_settled(tmp_path: Path) -> None:
    async def main() -> None:
        async with group(tmp_path) as servers:
            first = await servers.grow()
            follower = servers.network.servers[IDS[1]]
            await until(lambda: follower.leader == first.id)
            settling = Settling()
            first.require(settling)
            reading = asyncio.create_task(follower.barrier(by_lease=True))
            await settling.asked.wait()
            await first.propose(put("k", 1))
            assert not reading.done()
            settling.done.set()
            await reading
            assert servers.machines[IDS[1]].values["k"] == 1

    asyncio.run(main())


def test_a_proposal_that_nobody_confirms_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "PROPOSAL_TIMEOUT_S", 0.05)

    async def main() -> None:
        async with group(tmp_path) as servers:
            first = await servers.grow()
            servers.network.cut = set(IDS[1:])
            with pytest.raises(OutcomeUnknownError, match="no majority"):
                await first.propose(put("k", 1))

    asyncio.run(main())


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_server_that_was_away_gets_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_ENTRIES", 50)
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_LOG_BYTES", 100)
    monkeypatch.setattr(raftsnapshots, "TRAILING_ENTRIES", 10)

    async def main() -> None:
        async with group(None if in_memory else tmp_path) as servers:
            first = await servers.grow()
            await servers.stop(IDS[2])
            for n in range(200):
                await first.propose(put(f"k{n}", n))
            await until(lambda: first.raft.log.first_index > 100)
            servers.start(IDS[2])
            await until(lambda: len(servers.machines[IDS[2]].values) == 200)
            # None if the snapshot has all of it.
            applied = servers.machines[IDS[2]].applied
            assert not applied or applied == [*range(applied[0], first.applied + 1)]

    asyncio.run(main())


def test_a_log_that_was_compacted_is_read_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_ENTRIES", 50)
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_LOG_BYTES", 100)
    monkeypatch.setattr(raftsnapshots, "TRAILING_ENTRIES", 10)

    async def main() -> None:
        async with group(tmp_path, QUICK) as servers:
            first = servers.start(IDS[0])
            first.found()
            await servers.leader()
            for n in range(200):
                await first.propose(put("k", n))
            await until(lambda: first.raft.log.snapshot.index > 100)
            await servers.stop(IDS[0])
            again = servers.start(IDS[0])
            assert again.applied > LogIndex(100)
            await servers.leader()
            await again.barrier()
            assert servers.machines[IDS[0]].values == {"k": 199}

    asyncio.run(main())


def test_what_was_applied_during_a_snapshot_is_in_the_next_though_nothing_more_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_ENTRIES", 50)
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_LOG_BYTES", 100)
    may_write = threading.Event()
    write_snapshot = MemoryDisk.write_snapshot

    def write_late(disk: MemoryDisk, meta: SnapshotMeta, state: Iterable[bytes]) -> None:
        if meta.index > 1:
            assert may_write.wait(60)
        write_snapshot(disk, meta, state)

    monkeypatch.setattr(MemoryDisk, "write_snapshot", write_late)

    async def main() -> None:
        async with group(None) as servers:
            first = servers.start(IDS[0])
            first.found()
            await servers.leader()
            for n in range(200):
                await first.propose(put("k", n))
            # One is under way, and all that is to come has come.
            assert first.raft.log.snapshot.index <= 1
            may_write.set()
            await until(lambda: first.applied - first.raft.log.snapshot.index < 50)

    asyncio.run(main())


def test_the_lease_waits_until_what_earlier_terms_acknowledged_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "APPLY_ENTRIES", 1)
    monkeypatch.setattr(shell, "APPLY_S_MAX", -1.0)

    async def main() -> None:
        async with group(tmp_path, QUICK) as servers:
            first = servers.start(IDS[0])
            first.found()
            await servers.leader()
            await asyncio.gather(*(first.propose(put(f"k{n}", n)) for n in range(100)))
            await servers.stop(IDS[0])
            again = servers.start(IDS[0])
            async with asyncio.timeout(60):
                while not again.has_lease:  # noqa: ASYNC110  # every turn of the loop is looked at
                    await asyncio.sleep(0)
            assert len(servers.machines[IDS[0]].values) == 100

    asyncio.run(main())


def test_the_loop_gets_its_turn_between_any_two_entries_that_take_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "APPLY_S_MAX", -1.0)

    async def main() -> None:
        async with group(tmp_path) as servers:
            first = servers.start(IDS[0])
            first.found()
            await servers.leader()
            seen = [first.applied]
            writes = asyncio.gather(*(first.propose(put(f"k{n}", n)) for n in range(50)))
            while not writes.done():
                seen.append(first.applied)
                await asyncio.sleep(0)
            steps = [after - before for before, after in pairwise(seen)]
            assert (sum(steps), max(steps)) == (50, 1)

    asyncio.run(main())


def test_a_few_large_entries_make_a_log_long_and_are_not_kept_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftsnapshots, "LOG_BYTES_MAX", 100_000)
    monkeypatch.setattr(raftsnapshots, "TRAILING_BYTES", 25_000)

    async def main() -> None:
        async with group(tmp_path) as servers:
            first = servers.start(IDS[0])
            first.found()
            await servers.leader()
            for n in range(30):
                await first.propose(put("k" * 10_000, n))
            await until(lambda: first.raft.log.snapshot.index > 8)
            await until(lambda: (tmp_path / IDS[0] / "log").stat().st_size < 150_000)
            log = first.raft.log
            assert log.snapshot.index - log.first_index + 1 == 2

    asyncio.run(main())


def test_a_disk_that_refuses_ends_the_server_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("cannot write: No space left on device")

    async def main() -> None:
        async with group(tmp_path) as servers:
            first = servers.start(IDS[0])
            first.found()
            await servers.leader()
            monkeypatch.setattr(RaftDisk, "append", refuse)
            with pytest.raises(OutcomeUnknownError):
                await first.propose(put("k", 1))
            with pytest.raises(NoLeaderError):
                await first.propose(put("k", 1))
            # It hears of nobody any more, itself included.
            assert (first.is_leader, first.leader) == (False, None)
            with pytest.raises(NoLeaderError):
                await first.barrier()
            with pytest.raises(NoLeaderError):
                first.transfer(IDS[1])
            with pytest.raises(NoLeaderError):
                first.change_members(Membership((IDS[0],)))

    asyncio.run(main())
    assert "takes no part in the consistent store any more" in caplog.text
