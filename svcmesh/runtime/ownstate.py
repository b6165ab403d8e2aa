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
from svcmesh.storage import INDEX_BLOCK, LAN_FILES, WAN_FILES, DataDir, PoolFiles

LOOK_S: Final = 1.0
"""How often is looked whether something has been counted on; changed members are saved at once."""

WHOLE_LOOK_S: Final = 30.0
"""How often everything is compared with what is on disk, whether or not something has changed."""

SAVE_PAUSE_S: Final = 0.1
"""Between two writes of the peers, however fast they change."""


class PoolState:
    """What earlier runs knew of one gossip pool, and what this one keeps of it."""

    def __init__(self, data_dir: DataDir, files: PoolFiles, *, rejoin_after_leave: bool) -> None:
        self._data_dir, self._files = data_dir, files
        self._peers, left_before = data_dir.peers(files)
        self.clocks = data_dir.clocks(files)
        stays = not left_before or rejoin_after_leave
        self.known_peers = list(self._peers) if stays else []
        """Members of the last run, to be looked for."""
        self.replays = self.clocks is not None and stays
        """Whether events that were missed while we were down are wanted."""
        self._peers_file: dict[str, bytes | None] = {}

    def plan(self, gossip: Gossip, *, has_left: bool) -> dict[str, bytes | None]:
        """What is to be on disk now."""
        peers = gossip.peers()
        if has_left or peers != self._peers:
            self._peers = peers
            self._peers_file = self._data_dir.peers_file(peers, self._files, left=has_left)
        return self._data_dir.clocks_file(gossip.clocks, self._files) | self._peers_file


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
        """The first to use, in every pool."""
        self.index_start = data_dir.next_index_block(wall_ms=wall_ms)
        rejoin = config.rejoin_after_leave
        self.lan = PoolState(data_dir, LAN_FILES, rejoin_after_leave=rejoin)
        self.wan = PoolState(data_dir, WAN_FILES, rejoin_after_leave=rejoin)
        self.has_left = False
        """Whether this run ended by leaving; the next one then looks for nobody."""
        self._data_dir = data_dir
        self._keeper = StateKeeper(committer)
        self._index_reserved = self.index_start + INDEX_BLOCK
        self._members: list[tuple[PoolState, Gossip]] = []
        self._changed = asyncio.Event()
        self._kept: object = None
        """What `_counted` gave when all was last on disk; None when it is not."""

    def watch(self, pool: PoolState, gossip: Gossip) -> None:
        """Keep what is to be kept of our member of a pool from now on."""
        self._members.append((pool, gossip))

    def note_change(self) -> None:
        """Have `run` save soon: members or the epoch have changed."""
        self._changed.set()

    async def run(self, index: Callable[[], int]) -> None:
        """Keep the disk up to date, until cancelled. `index` is the catalog's."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        whole_look_at = loop.time() + WHOLE_LOOK_S

        def look() -> None:
            # A callback rather than the task's sleep: most often there is nothing to do.
            nonlocal timer
            timer = loop.call_later(LOOK_S, look)
            if (
                self._counted() != self._kept
                or self._needs_index(index())
                or loop.time() >= whole_look_at
            ):
                self._changed.set()

        look()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                whole_look_at = loop.time() + WHOLE_LOOK_S
                await self.save(index())
                await asyncio.sleep(SAVE_PAUSE_S)
        finally:
            if timer is not None:
                timer.cancel()

    def _counted(self) -> list[object]:
        """What moves on without `note_change`."""
        return [(gossip.clocks, gossip.incarnation) for _, gossip in self._members]

    def _needs_index(self, index: int) -> bool:
        return index > self._index_reserved - INDEX_BLOCK // 2

    async def save(self, index: int) -> None:
        """Bring what is on disk up to date; what it refuses is tried again the next time."""
        counted, self._kept = self._counted(), None
        wanted = self._data_dir.epoch_file(self.epoch)
        for pool, gossip in self._members:
            wanted |= pool.plan(gossip, has_left=self.has_left)
        if self._members:
            highest = max(int(gossip.incarnation) for _, gossip in self._members)
            wanted |= self._data_dir.incarnation_file(highest)
        reserved = self._index_reserved
        if self._needs_index(index):
            reserved += INDEX_BLOCK
        if await self._keeper.keep(wanted | self._data_dir.index_file(reserved)):
            self._index_reserved, self._kept = reserved, counted
