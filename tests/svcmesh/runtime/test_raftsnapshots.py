"""When a snapshot is due, what of the log is kept beside it, and how one is put together."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from random import Random
from typing import Any

import pytest

from svcmesh.consensus.disk import MemoryDisk
from svcmesh.consensus.raft import (
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    Membership,
    Raft,
    RaftConfig,
    SendSnapshot,
    ServerId,
    SnapshotMeta,
    Term,
)
from svcmesh.consensus.sealing import sealed
from svcmesh.errors import DecodeError
from svcmesh.runtime import raftsnapshots
from svcmesh.runtime.onloop import OnLoop
from svcmesh.runtime.raftsnapshots import (
    Incoming,
    SnapshotInbox,
    SnapshotMaker,
    trailing_entries,
)
from svcmesh.runtime.raftwriter import RaftWriter

OWN, OTHER = ServerId("own"), ServerId("other")
TERM = Term(1)
FOUNDING = SnapshotMeta(LogIndex(0), Term(0), Membership((OWN,)))


class Applied:
    """A server that has applied all of its log."""

    is_closed = False

    def __init__(self, count: int) -> None:
        entries = [Entry(LogIndex(n), TERM, EntryKind.COMMAND, b"x") for n in range(1, count + 1)]
        self.raft = Raft(
            RaftConfig(), OWN, hard_state=HardState(TERM), snapshot=FOUNDING, entries=entries,
            now=0.0, rng=Random(1),
        )  # fmt: skip
        self.raft.log.commit = self.applied = LogIndex(count)

    def freeze(self) -> Iterator[bytes]:
        return iter([b"state at ", str(self.applied).encode()])


class Bench:
    """A maker, its server and its disk."""

    def __init__(self, count: int, *, log_bytes: int) -> None:
        self.replica, self.disk = Applied(count), MemoryDisk()
        self.disk.log_bytes = log_bytes
        self.writer = RaftWriter(self.disk, on_saved=lambda _: None, on_failure=lambda _: None)
        self.maker = SnapshotMaker(self.replica, self.disk, self.writer, OnLoop())


class Parts:
    """Takes the first parts of a snapshot, as many as it may."""

    def __init__(self, taken_max: int = 1000) -> None:
        self.taken: list[bytes] = []
        self._taken_max = taken_max

    async def send_snapshot_part(
        self, to: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> bool:
        assert (to, term, offset) == (OTHER, TERM, sum(map(len, self.taken)))
        if len(self.taken) >= self._taken_max:
            return False
        self.taken.append(part)
        return True


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_ENTRIES", 50)
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_LOG_BYTES", 1000)
    monkeypatch.setattr(raftsnapshots, "LOG_BYTES_MAX", 10_000)
    monkeypatch.setattr(raftsnapshots, "TRAILING_ENTRIES", 10)
    monkeypatch.setattr(raftsnapshots, "CHUNK_BYTES", 16)


def run(
    scenario: Callable[[Bench], Coroutine[Any, Any, None]], count: int = 100, log_bytes: int = 2000
) -> None:
    async def main() -> None:
        bench = Bench(count, log_bytes=log_bytes)
        try:
            await scenario(bench)
        finally:
            await asyncio.to_thread(bench.writer.close)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("count", "log_bytes", "last_bytes", "is_due"),
    [
        (0, 20_000, 0, False),
        (49, 2000, 0, False),
        (50, 1000, 0, False),
        (50, 1001, 0, True),
        # Not worth its writing: twice as long as the log.
        (50, 1001, 4000, False),
        (50, 2001, 4000, True),
        # A few large entries.
        (1, 10_001, 0, True),
        (1, 10_001, 30_000, False),
    ],
)
def test_a_snapshot_is_due_when_the_log_is_long_and_worth_it(
    count: int, log_bytes: int, last_bytes: int, is_due: bool
) -> None:
    async def scenario(bench: Bench) -> None:
        bench.maker.size_bytes = last_bytes
        assert bench.maker.is_due is is_due

    run(scenario, count, log_bytes)


def test_one_is_made_at_a_time_and_the_log_begins_behind_it() -> None:
    async def scenario(bench: Bench) -> None:
        maker, log = bench.maker, bench.replica.raft.log
        assert maker.begin_if_due()
        assert not maker.begin_if_due()
        await maker.make()
        assert (log.snapshot.index, log.first_index, log.last_index) == (100, 91, 100)
        with bench.disk.open_snapshot() as kept:
            assert (kept.meta.index, b"".join(kept.state())) == (100, b"state at 100")
        assert (maker.size_bytes, bench.disk.log_bytes) == (len(b"state at 100"), 10)
        assert not maker.begin_if_due()

    run(scenario)


def test_one_that_was_overtaken_by_the_leaders_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaders = SnapshotMeta(LogIndex(200), TERM, FOUNDING.members)

    async def scenario(bench: Bench) -> None:
        log = bench.replica.raft.log

        def overtake(disk: MemoryDisk, meta: SnapshotMeta, state: Iterable[bytes]) -> None:
            assert (meta.index, b"".join(state)) == (100, b"state at 100")
            log.reset(leaders)
            bench.replica.applied = leaders.index

        monkeypatch.setattr(MemoryDisk, "write_snapshot", overtake)
        assert bench.maker.begin_if_due()
        await bench.maker.make()
        assert (log.snapshot, bench.disk.log_bytes) == (leaders, 2000)

    run(scenario)


def test_entries_for_followers_that_lag_are_bounded_in_number_and_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Applied(100).raft.log
    assert trailing_entries(log, LogIndex(100)) == trailing_entries(log, LogIndex(50)) == 10
    assert trailing_entries(log, LogIndex(4)) == 4
    monkeypatch.setattr(raftsnapshots, "TRAILING_BYTES", 3)
    assert trailing_entries(log, LogIndex(100)) == 3


@pytest.mark.parametrize("is_on_disk", [False, True])
def test_a_follower_is_sent_the_latest_or_one_that_is_made_for_it(is_on_disk: bool) -> None:
    async def scenario(bench: Bench) -> None:
        if is_on_disk:
            assert bench.maker.begin_if_due()
            await bench.maker.make()
        transport = Parts()
        assert await bench.maker.send(SendSnapshot(OTHER, TERM), transport) == (100, True)
        meta = SnapshotMeta(LogIndex(100), TERM, FOUNDING.members)
        assert b"".join(transport.taken) == b"".join(sealed(meta, [b"state at ", b"100"]))
        assert len(transport.taken) > 3

    run(scenario)


def test_a_follower_that_does_not_take_all_has_not_got_it() -> None:
    async def scenario(bench: Bench) -> None:
        transport = Parts(taken_max=2)
        assert await bench.maker.send(SendSnapshot(OTHER, TERM), transport) == (100, False)

    run(scenario)


CONTENT = b"".join(sealed(FOUNDING, [b"some", b"state"]))


def test_an_inbox_gives_the_whole_after_the_last_part() -> None:
    async def main() -> None:
        inbox = SnapshotInbox()
        assert inbox.take(OTHER, TERM, 0, CONTENT[:7], is_last=False) is True
        whole = inbox.take(OTHER, TERM, 7, CONTENT[7:], is_last=True)
        assert isinstance(whole, Incoming)
        with whole.file:
            snapshot, loaded = await whole.load(b"".join)
        assert (snapshot.meta, loaded) == (FOUNDING, b"somestate")

    asyncio.run(main())


def test_what_came_damaged_is_refused() -> None:
    async def main() -> None:
        damaged = CONTENT[:-40] + b"!" + CONTENT[-39:]
        whole = SnapshotInbox().take(OTHER, TERM, 0, damaged, is_last=True)
        assert isinstance(whole, Incoming)
        with whole.file, pytest.raises(DecodeError):
            await whole.load(b"".join)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sender", "term", "offset"), [(OWN, TERM, 7), (OTHER, Term(2), 7), (OTHER, TERM, 8)]
)
def test_a_part_that_does_not_follow_is_refused(sender: ServerId, term: Term, offset: int) -> None:
    inbox = SnapshotInbox()
    assert inbox.take(OTHER, TERM, 7, b"without a beginning", is_last=True) is False
    inbox.take(OTHER, TERM, 0, CONTENT[:7], is_last=False)
    assert inbox.take(sender, term, offset, CONTENT[7:], is_last=True) is False
    inbox.drop()


def test_one_that_begins_anew_takes_the_place_of_the_other() -> None:
    inbox = SnapshotInbox()
    inbox.take(OTHER, TERM, 0, b"of another time", is_last=False)
    inbox.take(OTHER, TERM, 0, CONTENT[:7], is_last=False)
    whole = inbox.take(OTHER, TERM, 7, CONTENT[7:], is_last=True)
    assert isinstance(whole, Incoming)
    with whole.file:
        assert whole.size_bytes == len(CONTENT)


def test_one_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raftsnapshots, "SNAPSHOT_BYTES_MAX", 10)
    inbox = SnapshotInbox()
    assert inbox.take(OTHER, TERM, 0, b"ten bytes.", is_last=False) is True
    assert inbox.take(OTHER, TERM, 10, b"!", is_last=True) is False
    inbox.drop()
