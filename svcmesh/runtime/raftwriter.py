"""The thread that owns Raft's disk: jobs in order, saves that wait for each other in one fsync.

The loop does what needs the interpreter's lock: the thread gets bytes, writes them and waits.
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


class _Framed(NamedTuple):
    """A save as it will stand in the log."""

    token: SaveToken
    frame: bytes


class RaftWriter:
    """Writes on a thread of its own, until `close`.

    `on_saved` is called on the loop with the token of the last save that is on disk, `on_failure`
    when the disk has refused: nothing is written any more then.
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
        self._jobs: SimpleQueue[_Framed | Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="raft-writer", daemon=True)
        self._thread.start()

    def save(self, save: Save) -> None:
        """Write it, then tell `on_saved`."""
        self._jobs.put(_Framed(save.token, frame_of(save.hard_state, save.entries)))

    def rewrite(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        """Write the log anew, after what was asked for before."""
        self._jobs.put(lambda: self._disk.rewrite(hard_state, entries))

    async def run(self, job: Callable[[], None], *, in_order: bool = True) -> None:
        """Do something to the disk, after what was asked for before or beside it.

        Raises:
            StorageError: It refused.
        """
        if not in_order:
            await asyncio.to_thread(job)
            return
        done: asyncio.Future[None] = self._loop.create_future()

        def run() -> None:
            try:
                job()
            except StorageError as error:
                self._tell(_fail, done, error)
            else:
                self._tell(_finish, done)

        self._jobs.put(run)
        await done

    def close(self) -> None:
        """Finish what was asked for, and end; blocking."""
        self._jobs.put(None)
        self._thread.join()

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
                    self._disk.append([save.frame for save in saves])
                    self._tell(self._on_saved, saves[-1].token)
                    saves = []
                if job is None:
                    return
                job()
            except StorageError as error:
                self._tell(self._on_failure, error)
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
