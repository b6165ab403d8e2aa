"""Raft's disk: saves of one turn of the loop in one fsync, on a thread or, where it is quick, here.

A thread costs a write two changes of threads and a fight for the interpreter's lock: more than the
fsync of a good disk. So the loop waits for the disk itself, as long as all slow waits together are
a hundredth of its time at most; while it has no time left for that, or a snapshot is being written,
a thread does.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

from svcmesh.consensus.disk import MemoryDisk, RaftDisk, frame_of
from svcmesh.consensus.raft import Entry, HardState, Save, SaveToken
from svcmesh.errors import StorageError

logger = logging.getLogger("raft")

SLOW_S: Final = 0.002
"""A save that takes longer holds up the loop."""
SLOW_SHARE: Final = 0.01
"""Of its time, that the loop may be held up by slow saves."""
LOOP_BYTES_MAX: Final = 256 * 1024
"""More than this in one save is for the thread in any case."""


class LoopAllowance:
    """Whether the loop may wait for the disk. Times are seconds on one clock."""

    def __init__(self) -> None:
        self._given_at = 0.0

    def is_given(self, now: float) -> bool:
        """Whether it may wait for one save now, however long that takes."""
        return now >= self._given_at

    def note(self, began_at: float, ended_at: float) -> None:
        """It has waited: a slow save is paid for by as much time without one."""
        took_s = ended_at - began_at
        if took_s > SLOW_S:
            self._given_at = ended_at + took_s / SLOW_SHARE


class _Framed(NamedTuple):
    """Saves as they will stand in the log, and the last one's token."""

    token: SaveToken
    frames: bytes


class RaftWriter:
    """Writes in the order in which it is asked, until `close`.

    `on_saved` is called on the loop, in a later turn, with the token of the last save that is on
    disk; `on_failure` when the disk has refused: nothing is written any more then.
    """

    def __init__(
        self,
        disk: RaftDisk | MemoryDisk,
        *,
        on_saved: Callable[[SaveToken], None],
        on_failure: Callable[[StorageError], None],
    ) -> None:
        self._disk, self._loop = disk, asyncio.get_running_loop()
        self._on_saved, self._on_failure = on_saved, on_failure
        self._allowance = LoopAllowance()
        self._turn: list[Save] = []
        """Asked for in this turn of the loop."""
        self._handed = 0
        """Jobs that the thread has, and has not reported yet."""
        self._beside = 0
        """Jobs that other threads are at: an fsync may wait for all that they write."""
        self._has_failed = False
        self._jobs: SimpleQueue[_Framed | Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="raft-writer", daemon=True)
        self._thread.start()

    def save(self, save: Save) -> None:
        """Write it, then tell `on_saved`."""
        if not self._turn:
            self._loop.call_soon(self._end_turn)
        self._turn.append(save)

    def rewrite(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        """Write the log anew, after what was asked for before."""
        self._hand(lambda: self._disk.rewrite(hard_state, entries))

    async def run(self, job: Callable[[], None], *, in_order: bool = True) -> None:
        """Do something to the disk, after what was asked for before or beside it.

        Raises:
            StorageError: It refused.
        """
        if not in_order:
            self._beside += 1
            try:
                await asyncio.to_thread(job)
            finally:
                self._beside -= 1
            return
        done: asyncio.Future[None] = self._loop.create_future()

        def run() -> None:
            try:
                job()
            except StorageError as error:
                self._tell(_fail, done, error)
            else:
                self._tell(_finish, done)

        self._hand(run)
        await done

    def close(self) -> None:
        """Finish what was asked for, and end; blocking."""
        self._hand(None)
        self._thread.join()

    # -- on the loop ------------------------------------------------------------------------------

    def _end_turn(self) -> None:
        framed = self._take_turn()
        if framed is None:
            return
        began_at = self._loop.time()
        is_disk_busy = self._handed or self._beside
        is_large = len(framed.frames) > LOOP_BYTES_MAX
        if is_disk_busy or is_large or not self._allowance.is_given(began_at):
            self._handed += 1
            self._jobs.put(framed)
            return
        try:
            self._disk.append(framed.frames)
        except StorageError as error:
            self._handle_failure(error)
            return
        self._allowance.note(began_at, self._loop.time())
        self._on_saved(framed.token)

    def _take_turn(self) -> _Framed | None:
        saves, self._turn = self._turn, []
        if not saves or self._has_failed:
            return None
        frames = [frame_of(save.hard_state, save.entries) for save in saves]
        return _Framed(saves[-1].token, b"".join(frames))

    def _hand(self, job: Callable[[], None] | None) -> None:
        framed = self._take_turn()
        if framed is not None:
            self._handed += 1
            self._jobs.put(framed)
        self._handed += 1
        self._jobs.put(job)

    def _handle_saves(self, token: SaveToken, count: int) -> None:
        self._handed -= count
        self._on_saved(token)

    def _handle_job(self) -> None:
        self._handed -= 1

    def _handle_failure(self, error: StorageError) -> None:
        self._has_failed = True
        self._on_failure(error)

    # -- on the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        saves: list[_Framed] = []
        while True:
            # What has come while the last fsync ran goes into the next one.
            job = self._jobs.get() if not saves or not self._jobs.empty() else _FLUSH
            if isinstance(job, _Framed):
                saves.append(job)
                continue
            try:
                if saves:
                    self._disk.append(b"".join([save.frames for save in saves]))
                    self._tell(self._handle_saves, saves[-1].token, len(saves))
                    saves = []
                if job is None:
                    return
                if job is not _FLUSH:
                    job()
                    self._tell(self._handle_job)
            except StorageError as error:
                self._tell(self._handle_failure, error)
                return

    def _tell(self, callback: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            # The loop has been closed: nobody is left to tell.
            logger.debug("the event loop has ended before the disk")


def _flush() -> None:
    """Nothing but the end of a batch."""


_FLUSH: Final = _flush


def _finish(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: "asyncio.Future[None]", error: StorageError) -> None:
    if not done.done():
        done.set_exception(error)
