"""External records and prepared queries on a server's disk, so that they outlive all agents.

An agent that stops has lost nothing: its peers have the same records. When all of a data center
stop, what its servers have on disk is what there is. One journal, written in the background; who
has to know that a write is durable waits for `saved`.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from svcmesh.catalog.saving import unpack_untrusted
from svcmesh.errors import StorageError
from svcmesh.journal import Journal
from svcmesh.runtime.catalog import CatalogRuntime

logger = logging.getLogger("agent.catalog")

FILE_NAME: Final = "external.journal"
VALUES_MAX: Final = 500
"""Values of one write, a few milliseconds' work to put into bytes."""
REST_S: Final = 0.05
"""Between two writes for which nobody waits: changes of that time share an fsync."""
RETRY_S: Final = 1.0
"""After the disk has refused."""
REPEAT_LOG_S: Final = 60.0


class ExternalFile:
    """Writes what changes of a catalog's external records, from `start` to `close`."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / FILE_NAME)
        self._catalog: CatalogRuntime | None = None
        self._refused: dict[str, bytes | None] = {}
        """What the disk did not take: it is written with the next changes."""
        self._is_changed = asyncio.Event()
        self._is_awaited = asyncio.Event()
        """Somebody waits, or we are to end."""
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._complained_at: float | None = None

    def start(self, catalog: CatalogRuntime) -> None:
        """Give the catalog what earlier runs have saved, and keep what changes from now on.

        Raises:
            StorageError: The file cannot be read.
        """
        try:
            values = self._journal.load()
        except OSError as error:
            raise StorageError(f"cannot read {FILE_NAME}: {error.strerror}") from error
        for warning in self._journal.warnings:
            logger.error("data_dir: %s", warning)
        records, versions, broken = unpack_untrusted(values.items())
        if broken:
            logger.error("data_dir: %s: %d values are not readable", FILE_NAME, broken)
        if broken or self._journal.lost_lines:
            # Nobody can say what is missing: the peers know.
            versions = []
        self._catalog = catalog
        catalog.restore_external(records, versions)
        if records:
            logger.info("external records on disk: %d", len(records))
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._note_end)

    def note_change(self) -> None:
        """Have it written soon."""
        self._is_changed.set()

    async def saved(self) -> None:
        """Wait until everything that has been written up to now is durable.

        Raises:
            StorageError: The disk refuses. The records are in force all the same, and other
                servers may have them on disk.
        """
        if self._task is None or self._task.done():
            raise StorageError(f"{FILE_NAME} is not written any more")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._is_changed.set()
        self._is_awaited.set()
        await done

    async def close(self) -> None:
        """Write what is left, and end."""
        self._is_closing = True
        self._is_changed.set()
        self._is_awaited.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._is_closing:
            await self._is_changed.wait()
            self._is_changed.clear()
            self._is_awaited.clear()
            rest_s = REST_S if await self._write_all() else RETRY_S
            # Let changes gather, unless somebody waits for one.
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await self._is_awaited.wait()
        await self._write_all()

    async def _write_all(self) -> bool:
        """Write until nothing is left; False when the disk refuses."""
        waiting, self._waiting = self._waiting, []
        problem: StorageError | None = None
        while problem is None and (changes := self._take()):
            problem = await self._write(changes)
        self._answer(problem, waiting)
        return problem is None

    @staticmethod
    def _answer(problem: StorageError | None, waiting: list[asyncio.Future[None]]) -> None:
        for done in waiting:
            if done.done():
                continue
            if problem is None:
                done.set_result(None)
            else:
                done.set_exception(StorageError(str(problem)))

    def _take(self) -> dict[str, bytes | None]:
        assert self._catalog is not None
        refused, self._refused = self._refused, {}
        # Names are put again, so that their order is that of the latest changes.
        for name, value in self._catalog.replica.take_unsaved(VALUES_MAX).items():
            refused.pop(name, None)
            refused[name] = value
        return refused

    async def _write(self, changes: dict[str, bytes | None]) -> StorageError | None:
        try:
            await asyncio.to_thread(self._journal.commit, changes)
        except OSError as error:
            self._refused = changes
            self._is_changed.set()
            problem = StorageError(f"cannot write {FILE_NAME}: {error.strerror}")
            self._complain(problem)
            return problem
        if self._complained_at is not None:
            self._complained_at = None
            logger.info("%s can be written again: nothing is lost", FILE_NAME)
        return None

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s is not written any more", FILE_NAME, exc_info=error)
        self._answer(StorageError(f"{FILE_NAME} is not written any more"), self._waiting)

    def _complain(self, problem: StorageError) -> None:
        now = asyncio.get_running_loop().time()
        if self._complained_at is None or now - self._complained_at >= REPEAT_LOG_S:
            self._complained_at = now
            logger.error("%s; external records are in memory only until it can", problem)
