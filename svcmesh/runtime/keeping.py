"""Keeping the agent's small files up to date with memory, while a disk refuses as well."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from svcmesh.errors import StorageError
from svcmesh.runtime.writer import GroupCommitter

logger = logging.getLogger("agent")

REPEAT_LOG_S: Final = 60.0
"""A disk that goes on refusing is a line in the log once in this time."""


class StateKeeper:
    """Writes what differs from what is on disk.

    Invariant: `_kept` has the content of every file whose last write succeeded.
    """

    def __init__(self, committer: GroupCommitter) -> None:
        self._committer = committer
        self._kept: dict[str, bytes | None] = {}
        self._complained_at: float | None = None

    async def keep(self, wanted: Mapping[str, bytes | None]) -> bool:
        """Make `wanted` durable; False when the disk refuses, and the next call tries again."""
        plan = {name: one for name, one in wanted.items() if self._kept.get(name) != one}
        if not plan:
            return True
        try:
            await self._committer.commit(plan)
        except StorageError as error:
            self._complain(error)
            return False
        self._kept |= plan
        if self._complained_at is not None:
            self._complained_at = None
            logger.info("data_dir can be written again: nothing is lost")
        return True

    def _complain(self, error: StorageError) -> None:
        now = asyncio.get_running_loop().time()
        if self._complained_at is None or now - self._complained_at >= REPEAT_LOG_S:
            self._complained_at = now
            logger.error("%s; the agent goes on and tries again", error)
