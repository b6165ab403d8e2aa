"""What TTL checks said last, on disk: at once when it is news, a moment later when it is not."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from svcmesh.errors import StorageError
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir, TtlState

logger = logging.getLogger("agent.checks")

SAVE_PAUSE_S: Final = 2.0
"""How much later a report is on disk that only renews its check."""


class TtlStateKeeper:
    """Writes the states of TTL checks; `state(check_id)` gives the one of now, None for none."""

    def __init__(
        self,
        data_dir: DataDir,
        committer: GroupCommitter,
        state: Callable[[str], TtlState | None],
    ) -> None:
        self._data_dir, self._committer, self._state = data_dir, committer, state
        self._loop = asyncio.get_running_loop()
        self._renewed: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Write what was to be written soon."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._saving is not None:
            await self._saving
        await self._save_renewed()

    def save_soon(self, check_id: str) -> None:
        """Let the state be on disk within about `SAVE_PAUSE_S`."""
        self._renewed[check_id] = None
        if self._timer is None:
            self._timer = self._loop.call_later(SAVE_PAUSE_S, self._on_timer)

    async def save(self, check_id: str) -> None:
        """Make the state durable.

        Raises:
            StorageError: The disk refused.
        """
        self._renewed.pop(check_id, None)
        await self._committer.commit(self._plan([check_id]))

    def _on_timer(self) -> None:
        self._timer = None
        self._saving = self._loop.create_task(self._save_renewed())

    async def _save_renewed(self) -> None:
        renewed, self._renewed = self._renewed, {}
        if not renewed:
            return
        try:
            await self._committer.commit(self._plan(renewed))
        except StorageError as error:
            logger.error("%s", error)

    def _plan(self, check_ids: Iterable[str]) -> dict[str, bytes | None]:
        plan: dict[str, bytes | None] = {}
        for check_id in check_ids:
            # A check that is gone meanwhile was forgotten with its definition.
            if (state := self._state(check_id)) is not None:
                plan |= self._data_dir.ttl_state_file(check_id, state)
        return plan
