"""Snapshots for operators, on every agent: made where the leader is, or where this agent asks.

A server makes the file on a thread, in a temporary file without a name, and hands it out in
pieces; another agent passes the pieces on. To restore, an agent checks the file whole, then brings
the state into the log in pieces; the last one puts it in force, on all servers at one place.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Final
from uuid import uuid4

from svcmesh.consensus.archive import PIECE_BYTES, read_archive_untrusted, write_archive
from svcmesh.consensus.service import (
    NoLeaderError,
    OutcomeUnknownError,
    ReadMode,
    SavedSnapshot,
    StoreError,
)
from svcmesh.consensus.store import CommandKind, Store
from svcmesh.errors import StorageError, SvcmeshError
from svcmesh.rpc import RpcClosedError, RpcError, RpcPool, RpcRefusedError, RpcTimeoutError
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.passing import REFUSED, Server, for_rpc
from svcmesh.runtime.store import StoreService

OPEN, READ, CLOSE = "snapshot.open", "snapshot.read", "snapshot.close"

OPEN_MAX: Final = 4
"""Snapshots that a server holds for other agents."""
IDLE_S: Final = 60.0
"""One that nobody reads from for so long is closed."""
MAKING_S_MAX: Final = 300.0
PIECE_S_MAX: Final = 30.0
RESTORE_PIECE_BYTES: Final = 64 * 1024
"""In one entry of the log: every server works on it at once."""

Address = tuple[str, int]


@dataclass(slots=True)
class _Held:
    """A file that another agent reads."""

    file: BinaryIO
    size_bytes: int
    used_at: float


class SnapshotService:
    """Saves and restores; `consensus` and `store` are a server's."""

    def __init__(
        self,
        service: StoreService,
        pool: RpcPool,
        servers: Callable[[], Sequence[Server]],
        find_leader: Callable[[], Awaitable[str | None]],
        *,
        consensus: Consensus | None,
        store: Store | None,
    ) -> None:
        """`servers` gives those that are alive, `find_leader` the id of the one that leads."""
        self._service, self._pool = service, pool
        self._servers, self._find_leader = servers, find_leader
        self._consensus, self._store = consensus, store
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, _Held] = {}
        self._making = 0
        """How many are on the way to be held."""
        self._looking: asyncio.TimerHandle | None = None
        """For those that nobody reads from; armed while any is held."""

    async def save(self, mode: ReadMode) -> SavedSnapshot:
        """Everything as it is now, as a file in pieces; `pieces` is to be closed.

        Raises:
            NoLeaderError: It cannot be had as fresh as that.
            StoreError: The server refused.
        """
        consensus = self._consensus
        if consensus is not None and (mode is ReadMode.STALE or consensus.is_leader):
            file, found = await self._make(mode)
            return SavedSnapshot(
                found["index"],
                found["has_leader"],
                found["last_contact_ms"],
                found["bytes"],
                _pieces(file),
            )
        server = await self._whom_to_ask(mode)
        found = await self._call(server.address, OPEN, mode.value, timeout_s=MAKING_S_MAX)
        try:
            return SavedSnapshot(
                int(found["index"]),
                bool(found["has_leader"]),
                int(found["last_contact_ms"]),
                int(found["bytes"]),
                self._fetch(server.address, str(found["id"]), int(found["bytes"])),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise StoreError("a server answered with something else") from error

    async def restore(self, file: IO[bytes]) -> None:
        """Replace everything by what a snapshot file says, on all servers at one place in the log.

        Raises:
            ArchiveError: It is none, or damaged. Nothing was done.
            NoLeaderError, StoreError: Nothing was done.
            OutcomeUnknownError: It may have happened or not.
            OSError: The disk refuses.
        """
        with await asyncio.to_thread(read_archive_untrusted, file) as archive:
            if not archive.meta.is_ours:
                raise StoreError(
                    "the snapshot is Consul's own: move its keys by `kv export` and `kv import`"
                )
            restore_id = str(uuid4())
            await self._write_safely(CommandKind.RESTORE_BEGIN, [restore_id])
            pieces = archive.state(RESTORE_PIECE_BYTES)
            while piece := await asyncio.to_thread(next, pieces, b""):
                await self._write_safely(CommandKind.RESTORE_PART, [restore_id, piece])
        await self._service.write(CommandKind.RESTORE_END, [restore_id])

    async def _write_safely(self, kind: CommandKind, body: list[object]) -> None:
        """Write what changes nothing yet: whatever became of it, the state is as it was."""
        try:
            await self._service.write(kind, body)
        except OutcomeUnknownError as error:
            raise StoreError(f"nothing was restored: {error}") from error

    # -- on a server ----------------------------------------------------------------------------

    async def _make(self, mode: ReadMode) -> tuple[BinaryIO, dict[str, Any]]:
        """A file of what is applied here, and what to say of it."""
        consensus, store = self._consensus, self._store
        if consensus is None or store is None:
            raise NoLeaderError
        if mode is not ReadMode.STALE:
            await consensus.barrier()
        meta, parts = consensus.raft.snapshot_meta(consensus.applied), store.freeze()
        found = {
            "index": max(1, meta.index),
            "has_leader": consensus.leader is not None,
            "last_contact_ms": 0 if consensus.is_leader else consensus.last_contact_ms,
        }
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # the caller's

        def write() -> None:
            elsewhere = consensus.on_loop.parts(parts)
            write_archive(file, meta, elsewhere, now_ms=time.time_ns() // 1_000_000)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            file.close()
            raise StoreError(f"cannot write the snapshot: {error.strerror}") from error
        except StorageError as error:
            file.close()
            raise StoreError(f"cannot make the snapshot: {error}") from error
        except BaseException:
            file.close()
            raise
        found["bytes"] = file.tell()
        file.seek(0)
        return file, found

    async def handle_open(self, body: Any, _: float) -> object:  # noqa: ANN401 -- not looked at yet
        """`snapshot.open`: mode; [id, size] and more of a new file."""
        if not isinstance(body, str) or body not in set(ReadMode):
            raise RpcError(REFUSED, f"{OPEN}: expected a mode")
        self._close_idle()
        if len(self._held) + self._making >= OPEN_MAX:
            raise RpcError(REFUSED, "too many snapshots are being saved at once")
        mode = ReadMode(body)
        if mode is not ReadMode.STALE and (
            self._consensus is None or not self._consensus.is_leader
        ):
            return await for_rpc(_no_leader())
        self._making += 1
        try:
            file, found = await for_rpc(self._make(mode))
        finally:
            self._making -= 1
        held_id = str(uuid4())
        self._held[held_id] = _Held(file, found["bytes"], self._loop.time())
        self._look_later()
        return {**found, "id": held_id}

    async def handle_read(self, body: Any, _: float) -> object:  # noqa: ANN401 -- not looked at yet
        """`snapshot.read`: [id, offset]; bytes."""
        match body:
            case [str() as held_id, int() as offset] if (
                held := self._held.get(held_id)
            ) is not None and 0 <= offset <= held.size_bytes:
                held.used_at = self._loop.time()
                held.file.seek(offset)
                return await asyncio.to_thread(held.file.read, PIECE_BYTES)
            case _:
                raise RpcError(REFUSED, "the snapshot is not held any more")

    async def handle_close(self, body: Any, _: float) -> object:  # noqa: ANN401 -- not looked at yet
        """`snapshot.close`: id."""
        held = self._held.pop(body, None) if isinstance(body, str) else None
        if held is not None:
            held.file.close()
        return True

    def close(self) -> None:
        """Close all files."""
        if self._looking is not None:
            self._looking.cancel()
        for held in self._held.values():
            held.file.close()
        self._held.clear()

    def _look_later(self) -> None:
        if self._looking is None and self._held:
            self._looking = self._loop.call_later(IDLE_S, self._look)

    def _look(self) -> None:
        self._looking = None
        self._close_idle()
        self._look_later()

    def _close_idle(self) -> None:
        now = self._loop.time()
        for held_id, held in list(self._held.items()):
            if now - held.used_at > IDLE_S:
                held.file.close()
                del self._held[held_id]

    # -- on another agent -------------------------------------------------------------------------

    async def _whom_to_ask(self, mode: ReadMode) -> Server:
        servers = self._servers()
        if mode is ReadMode.STALE and servers:
            return servers[0]
        leader = await self._find_leader()
        for server in servers:
            if server.id == leader:
                return server
        raise NoLeaderError

    async def _fetch(
        self, address: Address, held_id: str, size_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        offset = 0
        try:
            while offset < size_bytes:
                piece = await self._call(address, READ, [held_id, offset], timeout_s=PIECE_S_MAX)
                if not isinstance(piece, bytes) or not piece:
                    raise StoreError("the snapshot ends too early")
                yield piece
                offset += len(piece)
        finally:
            with suppress(SvcmeshError):
                await self._call(address, CLOSE, held_id, timeout_s=PIECE_S_MAX)

    async def _call(self, address: Address, method: str, body: object, *, timeout_s: float) -> Any:  # noqa: ANN401 -- the answer
        try:
            return await self._pool.call(address, method, body, timeout_s=timeout_s)
        except RpcError as error:
            if error.code == REFUSED:
                raise StoreError(error.text) from error
            raise NoLeaderError from error
        except (RpcRefusedError, RpcClosedError, RpcTimeoutError) as error:
            raise NoLeaderError from error


async def _pieces(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


async def _no_leader() -> None:
    raise NoLeaderError
