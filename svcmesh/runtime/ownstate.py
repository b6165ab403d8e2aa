"""What an agent keeps of itself from run to run: who it is, how far it has counted, whom it knew.

Registrations are `local.py`'s, keys `keyring.py`'s.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from gossip import Gossip
from gossip.types import Incarnation
from svcmesh.config import AgentConfig
from svcmesh.runtime.keeping import StateKeeper
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import INDEX_BLOCK, DataDir

HOUSEKEEPING_S: Final = 1.0
"""How often a changed incarnation and the index are looked after; changed peers are at once."""

SAVE_PAUSE_S: Final = 0.1
"""Between two writes of the peers, however fast they change."""


class OwnState:
    """Takes up what earlier runs left, and keeps the disk up to date from `run` on.

    Invariant: nothing that may not be used twice (epoch, incarnation, index) is given out before
    it is reserved on disk.
    """

    def __init__(self, config: AgentConfig, data_dir: DataDir, committer: GroupCommitter) -> None:
        """Take up the identity of earlier runs and reserve what this run may use.

        Raises:
            StorageError: The data directory refuses.
        """
        self.node_id = config.node_id or data_dir.node_id() or str(uuid4())
        data_dir.save_node_id(self.node_id)
        wall_ms = time.time_ns() // 1_000_000
        self.epoch = data_dir.next_epoch(wall_ms=wall_ms)
        self.incarnation = Incarnation(data_dir.next_incarnation(wall_s=wall_ms // 1000))
        self.index_start = data_dir.next_index_block(wall_ms=wall_ms)
        self.peers, left_before = data_dir.peers()
        self.clocks = data_dir.clocks()
        stays = not left_before or config.rejoin_after_leave
        self.replays = self.clocks is not None and stays
        """Whether events that were missed while we were down are wanted."""
        self.rejoins = bool(self.peers) and stays
        """Whether members of the last run are looked for."""
        self.has_left = False
        """Whether this run ended by leaving; the next one then looks for nobody."""
        self._data_dir = data_dir
        self._keeper = StateKeeper(committer)
        self._index_reserved = self.index_start + INDEX_BLOCK
        self._peers_file: dict[str, bytes | None] = {}
        self._changed = asyncio.Event()

    def note_change(self) -> None:
        """Have `run` save soon: members or the epoch have changed."""
        self._changed.set()

    async def run(self, gossip: Gossip, index: Callable[[], int]) -> None:
        """Keep the disk up to date, until cancelled. `index` is the catalog's."""
        while True:
            is_noted = await self._next_change()
            await self.save(gossip, index())
            if is_noted:
                await asyncio.sleep(SAVE_PAUSE_S)

    async def _next_change(self) -> bool:
        """Wait for `note_change`, or `HOUSEKEEPING_S`; False then."""
        # Not wait_for: it can swallow a cancellation (Python 3.11).
        try:
            async with asyncio.timeout(HOUSEKEEPING_S):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def save(self, gossip: Gossip, index: int) -> None:
        """Bring what is on disk up to date; what it refuses is tried again the next time."""
        peers = gossip.peers()
        if self.has_left or peers != self.peers:
            self.peers = peers
            self._peers_file = self._data_dir.peers_file(peers, left=self.has_left)
        reserved = self._index_reserved
        if index > reserved - INDEX_BLOCK // 2:
            reserved += INDEX_BLOCK
        is_kept = await self._keeper.keep(
            {
                **self._data_dir.epoch_file(self.epoch),
                **self._data_dir.incarnation_file(int(gossip.incarnation)),
                **self._data_dir.clocks_file(gossip.clocks),
                **self._data_dir.index_file(reserved),
                **self._peers_file,
            }
        )
        if is_kept:
            self._index_reserved = reserved
