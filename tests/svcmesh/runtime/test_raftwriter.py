"""What is told to be on disk is, in order, whether a thread or the loop has written it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from svcmesh.consensus.disk import RaftDisk
from svcmesh.consensus.raft import Entry, EntryKind, HardState, LogIndex, Save, SaveToken, Term
from svcmesh.errors import StorageError
from svcmesh.runtime import raftwriter
from svcmesh.runtime.raftwriter import LoopAllowance, RaftWriter


def save(number: int) -> Save:
    entry = Entry(LogIndex(number), Term(1), EntryKind.COMMAND, b"x")
    return Save(SaveToken(number), HardState(Term(1)), (entry,))


class SlowDisk(RaftDisk):
    """Takes its time, and notes on which thread it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.delay_s = 0.0
        self.on_loop: list[bool] = []
        self.failure: StorageError | None = None

    def append(self, frames: bytes) -> None:
        self.on_loop.append(threading.current_thread() is threading.main_thread())
        if self.failure is not None:
            raise self.failure
        time.sleep(self.delay_s)
        super().append(frames)


class Bench:
    """A writer, and what it has told."""

    def __init__(self, folder: Path) -> None:
        self.disk = SlowDisk(folder)
        self.disk.load()
        self.saved: list[int] = []
        self.failures: list[StorageError] = []
        self.writer = RaftWriter(
            self.disk, on_saved=self.saved.append, on_failure=self.failures.append
        )

    async def save(self, *numbers: int) -> None:
        """Ask for saves in one turn, and wait for them."""
        for number in numbers:
            self.writer.save(save(number))
        await self.until(lambda: self.saved[-1:] == [numbers[-1]] or bool(self.failures))

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_so():  # noqa: ASYNC110 -- there is no event to wait for
                await asyncio.sleep(0.001)

    def entries(self) -> list[int]:
        again = RaftDisk(self.disk._folder)
        found = [entry.index for entry in again.load().entries]
        again.close()
        return found


def run(folder: Path, scenario: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        bench = Bench(folder)
        try:
            await scenario(bench)
        finally:
            bench.writer.close()
            bench.disk.close()

    asyncio.run(main())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk counts as slow."""
    monkeypatch.setattr(raftwriter, "SLOW_S", 60.0)


def test_saves_of_one_turn_are_one_write(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.save(1, 2, 3)
        assert bench.saved == [3]
        assert len(bench.disk.on_loop) == 1
        assert bench.entries() == [1, 2, 3]

    run(tmp_path, scenario)


@pytest.mark.usefixtures("quick")
def test_a_quick_disk_is_written_by_the_loop(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for number in range(1, 4):
            await bench.save(number)
        assert bench.disk.on_loop == [True, True, True]
        assert bench.entries() == [1, 2, 3]

    run(tmp_path, scenario)


def test_a_slow_disk_is_left_to_the_thread(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.disk.delay_s = 0.02
        for number in range(1, 5):
            await bench.save(number)
        assert bench.disk.on_loop == [True, False, False, False]
        assert bench.entries() == [1, 2, 3, 4]

    run(tmp_path, scenario)


@pytest.mark.usefixtures("quick")
def test_what_is_large_is_left_to_the_thread(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.save(*range(1, 20_000))
        assert bench.disk.on_loop == [False]

    run(tmp_path, scenario)


@pytest.mark.usefixtures("quick")
def test_nothing_is_told_before_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    async def scenario(bench: Bench) -> None:
        append = RaftDisk.append

        def noted(disk: RaftDisk, frames: bytes) -> None:
            assert len(bench.saved) == len(synced)
            append(disk, frames)
            synced.append(len(frames))

        monkeypatch.setattr(RaftDisk, "append", noted)
        for number in range(1, 6):
            bench.writer.save(save(number))
            assert len(bench.saved) == len(synced)
            await bench.until(lambda number=number: bench.saved[-1:] == [number])  # type: ignore[misc]  # a default has no type
        assert len(synced) == 5

    run(tmp_path, scenario)


@pytest.mark.usefixtures("quick")
def test_the_loop_does_not_overtake_the_thread(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.save(1)
        entered, may_go_on = threading.Event(), threading.Event()

        def job() -> None:
            entered.set()
            may_go_on.wait(60)

        waiting = asyncio.create_task(bench.writer.run(job))
        await bench.until(entered.is_set)
        bench.writer.save(save(2))
        await asyncio.sleep(0.02)
        assert bench.saved == [1]
        may_go_on.set()
        await waiting
        await bench.until(lambda: bench.saved == [1, 2])
        assert bench.disk.on_loop == [True, False]
        await bench.save(3)
        assert bench.disk.on_loop[-1]

    run(tmp_path, scenario)


@pytest.mark.usefixtures("quick")
def test_the_loop_does_not_wait_for_the_disk_while_a_snapshot_is_written(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.save(1)
        entered, may_go_on = threading.Event(), threading.Event()

        def job() -> None:
            entered.set()
            may_go_on.wait(60)

        beside = asyncio.create_task(bench.writer.run(job, in_order=False))
        await bench.until(entered.is_set)
        await bench.save(2)
        may_go_on.set()
        await beside
        await bench.save(3)
        assert bench.disk.on_loop == [True, False, True]
        assert bench.entries() == [1, 2, 3]

    run(tmp_path, scenario)


@pytest.mark.usefixtures("quick")
def test_a_job_comes_after_the_saves_of_its_turn(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.save(1)
        bench.writer.save(save(2))
        sizes: list[int] = []
        await bench.writer.run(lambda: sizes.append(bench.disk.log_bytes))
        assert bench.saved == [1, 2]
        assert sizes == [bench.disk.log_bytes]

    run(tmp_path, scenario)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("on_loop", [False, True])
def test_a_refusal_is_told_and_nothing_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_loop: bool
) -> None:
    if not on_loop:
        monkeypatch.setattr(raftwriter, "LOOP_BYTES_MAX", 0)

    async def scenario(bench: Bench) -> None:
        bench.disk.failure = StorageError("no space")
        await bench.save(2)
        assert bench.disk.on_loop[-1] is on_loop
        assert bench.failures == [bench.disk.failure]
        bench.disk.failure = None
        bench.writer.save(save(3))
        await asyncio.sleep(0.02)
        assert 3 not in bench.saved

    run(tmp_path, scenario)


@pytest.mark.parametrize("took_s", [0.004, 0.02, 0.5])
def test_slow_saves_hold_up_the_loop_for_a_hundredth_of_its_time(took_s: float) -> None:
    allowance, now, held_up_s = LoopAllowance(), 0.0, 0.0
    while now < 1000.0:
        if allowance.is_given(now):
            allowance.note(now, now + took_s)
            held_up_s += took_s
        now += took_s
    assert 0 < held_up_s <= 0.01 * now + took_s


def test_quick_saves_cost_nothing() -> None:
    allowance = LoopAllowance()
    for number in range(1000):
        now = number * 0.001
        assert allowance.is_given(now)
        allowance.note(now, now + 0.0005)
