"""Raft's snapshots in the shell: when one is made and how, one for a follower, one that comes in.

The state is taken in parts on the loop and written on another thread, so nothing waits for it. What
a snapshot of the leader's changes is `consensus.py`'s: here it is only received.
"""

import asyncio
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from svcmesh.consensus.disk import CHUNK_BYTES, MemoryDisk, RaftDisk
from svcmesh.consensus.raft import LogIndex, Raft, SendSnapshot, ServerId, SnapshotMeta, Term
from svcmesh.consensus.raft.log import RaftLog
from svcmesh.consensus.sealing import SealedSnapshot, sealed
from svcmesh.errors import StorageError
from svcmesh.runtime.onloop import OnLoop
from svcmesh.runtime.raftwriter import RaftWriter

logger = logging.getLogger("raft")

SNAPSHOT_ENTRIES: Final = 16_384
"""Entries applied since the last snapshot before there is a new one ..."""
SNAPSHOT_LOG_BYTES: Final = 4 * 1024 * 1024
"""... if the log has grown to this, and to half the size of the snapshot."""
TRAILING_ENTRIES: Final = 4096
TRAILING_BYTES: Final = 16 * 1024 * 1024
"""Entries kept for followers that lag a little, and their bytes."""
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
"""A log of this size, and half the snapshot's, is too long however few entries it has."""

SNAPSHOT_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024


class SnapshotParts(Protocol):
    """How parts of a snapshot reach another server."""

    async def send_snapshot_part(
        self, to: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> bool:
        """Bring a part of a snapshot there; False when that failed."""


class Replica(Protocol):
    """The server whose snapshots these are."""

    raft: Raft
    applied: LogIndex
    """The last entry in the state machine."""

    def freeze(self) -> Iterator[bytes]:
        """The state that `applied` stands for, in parts that are taken on the loop."""

    @property
    def is_closed(self) -> bool:
        """Whether it has stopped."""


class SnapshotMaker:
    """Makes a server's snapshots, and sends the latest. Its methods belong to the loop."""

    def __init__(
        self, replica: Replica, disk: RaftDisk | MemoryDisk, writer: RaftWriter, on_loop: OnLoop
    ) -> None:
        self.size_bytes = 0
        """Of the latest one, if this run has seen it."""
        self._replica, self._disk, self._writer = replica, disk, writer
        self._on_loop, self._loop = on_loop, asyncio.get_running_loop()
        self._is_making = False

    @property
    def is_due(self) -> bool:
        """Whether the log is long enough for a new one."""
        raft, log_bytes = self._replica.raft, self._disk.log_bytes
        applied_since = self._replica.applied - raft.log.snapshot.index
        worth_bytes = self.size_bytes // 2
        if applied_since <= 0:
            return False
        return log_bytes > max(LOG_BYTES_MAX, worth_bytes) or (
            applied_since >= SNAPSHOT_ENTRIES and log_bytes > max(SNAPSHOT_LOG_BYTES, worth_bytes)
        )

    def begin_if_due(self) -> bool:
        """Whether the caller is to run `make` now, as a task."""
        if self._is_making or not self.is_due:
            return False
        self._is_making = True
        return True

    async def make(self) -> None:
        """Make one, and another for as long as what was applied meanwhile makes it due.

        The next entry would see to that too, but it may be long in coming.
        """
        try:
            while not self._replica.is_closed and self.is_due:
                await self._make_one()
        except StorageError as error:
            # The log goes on growing; the next one may succeed.
            logger.error("no snapshot: %s", error)
        finally:
            self._is_making = False

    async def _make_one(self) -> None:
        replica = self._replica
        meta = replica.raft.snapshot_meta(replica.applied)
        state = self._on_loop.parts(replica.freeze())
        sizes: list[int] = []
        began_at = self._loop.time()
        await self._writer.run(
            lambda: self._disk.write_snapshot(meta, _counted(state, sizes)), in_order=False
        )
        # A later one may have come from the leader meanwhile.
        if meta.index <= replica.raft.log.snapshot.index or replica.is_closed:
            return
        replica.raft.compact(meta.index, trailing=trailing_entries(replica.raft.log, meta.index))
        self.size_bytes = sum(sizes)
        self.rewrite_log()
        # Only then its size says whether the next one is due.
        await self._writer.run(_nothing)
        logger.info(
            "snapshot: index=%d bytes=%d seconds=%.2f",
            meta.index, self.size_bytes, self._loop.time() - began_at,
        )  # fmt: skip

    def rewrite_log(self) -> None:
        """Have the log on disk begin where the one in memory does."""
        raft = self._replica.raft
        log = raft.log
        entries = tuple(log.between(LogIndex(log.first_index - 1), log.last_index))
        self._writer.rewrite(raft.hard_state, entries)

    async def send(self, ask: SendSnapshot, transport: SnapshotParts) -> tuple[LogIndex, bool]:
        """Bring the latest one to a follower: which it was, and whether all of it was taken."""
        index = LogIndex(0)
        try:
            with await asyncio.to_thread(self._open) as snapshot:
                index, size_bytes = snapshot.meta.index, snapshot.size_bytes
                for offset in range(0, size_bytes, CHUNK_BYTES):
                    part = await asyncio.to_thread(snapshot.read, offset, CHUNK_BYTES)
                    is_last = offset + CHUNK_BYTES >= size_bytes
                    if not await transport.send_snapshot_part(
                        ask.to, ask.term, offset, part, is_last=is_last
                    ):
                        return index, False
        except (StorageError, OSError) as error:
            logger.error("no snapshot for %s: %s", ask.to, error)
            return index, False
        return index, True

    def _open(self) -> SealedSnapshot:
        """The latest snapshot; on a thread. One is made if there is none.

        The log begins where the group was founded then, but that follower is not there.
        """
        replica = self._replica
        if replica.raft.log.snapshot.index:
            return self._disk.open_snapshot()

        def begin() -> tuple[SnapshotMeta, Iterator[bytes]]:
            return replica.raft.snapshot_meta(replica.applied), replica.freeze()

        meta, parts = self._on_loop.call(begin)
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed with what is returned
        for part in sealed(meta, self._on_loop.parts(parts)):
            file.write(part)
        return SealedSnapshot(file)


def trailing_entries(log: RaftLog, index: LogIndex) -> int:
    """How many entries up to `index` are kept for followers that lag."""
    size = 0
    first = max(log.first_index, LogIndex(index - TRAILING_ENTRIES + 1))
    entries = log.between(LogIndex(first - 1), index)
    for count, entry in enumerate(reversed(entries)):
        size += len(entry.data)
        if size > TRAILING_BYTES:
            return count
    return len(entries)


@dataclass(slots=True)
class Incoming:
    """A snapshot that is being received, in a file without a name; whoever has it closes it."""

    sender: ServerId
    term: Term
    file: BinaryIO
    size_bytes: int = 0

    async def load(self, load: Callable[[Iterable[bytes]], Any]) -> tuple[SealedSnapshot, Any]:
        """The whole snapshot, and what a state machine's `load` makes of it, on a thread.

        Raises:
            DecodeError: It is none, or damaged.
        """
        snapshot = SealedSnapshot(self.file)
        return snapshot, await asyncio.to_thread(load, snapshot.state())


class SnapshotInbox:
    """Puts a snapshot of the leader's together; the latest that was begun, and no other."""

    def __init__(self) -> None:
        self._incoming: Incoming | None = None

    def take(
        self, sender: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> Incoming | bool:
        """Take a part; whether it fits what came before. After the last one, the whole."""
        try:
            if offset == 0:
                self.drop()
                # Without a name: whatever happens, nothing is left behind.
                self._incoming = Incoming(sender, term, tempfile.TemporaryFile())  # noqa: SIM115  # closed when it has come, or is dropped
            incoming = self._incoming
            if (
                incoming is None
                or (incoming.sender, incoming.term, incoming.size_bytes) != (sender, term, offset)
                or offset + len(part) > SNAPSHOT_BYTES_MAX
            ):
                return False
            incoming.file.write(part)
        except OSError as error:
            logger.error("a snapshot from %.60r cannot be kept: %s", sender, error.strerror)
            self.drop()
            return False
        incoming.size_bytes += len(part)
        if not is_last:
            return True
        self._incoming = None
        return incoming

    def drop(self) -> None:
        """Forget what has come so far."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.file.close()


def _nothing() -> None:
    """A job by which all before it is known to be done."""


def _counted(parts: Iterable[bytes], sizes: list[int]) -> Iterable[bytes]:
    for part in parts:
        sizes.append(len(part))
        yield part
