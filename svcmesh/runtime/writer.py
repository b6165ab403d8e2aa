"""Group commit: many writers wait for one pass of fsyncs, made off the event loop."""

import asyncio
from collections.abc import Mapping

from svcmesh.errors import StorageError
from svcmesh.storage import DataDir


class GroupCommitter:
    """Commits plans to the data directory in batches.

    What arrives while a batch is being written forms the next one; of two plans for one file the
    later wins. A caller's plan is durable when its call returns.
    """

    def __init__(self, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._plan: dict[str, bytes | None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def commit(self, plan: Mapping[str, bytes | None]) -> None:
        """Make `plan` durable.

        Raises:
            StorageError: The disk refused it.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Re-inserted, so that the order of the files is the order of the latest plans.
        for name, content in plan.items():
            self._plan.pop(name, None)
            self._plan[name] = content
        self._waiting.append(done)
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        await done

    async def flush(self) -> None:
        """Wait until everything handed in so far is on disk."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                plan, self._plan = self._plan, {}
                waiting, self._waiting = self._waiting, []
                error: StorageError | None = None
                try:
                    await asyncio.to_thread(self._data_dir.commit, plan)
                except StorageError as caught:
                    error = caught
                for done in waiting:
                    if done.cancelled():
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(StorageError(str(error)))
        finally:
            self._task = None
