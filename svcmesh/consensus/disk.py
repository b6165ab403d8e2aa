"""Raft's log and snapshots on disk. Blocking: one thread of the shell writes here.

`log` is a header and frames, each written by one call and covered by one fsync:

    u32 length | u32 crc32 of the payload | u32 crc32 of the eight bytes before | payload

The payload is msgpack: [term, voted_for, [[index, term, kind, data], ...]]. An entry takes the
place of the one with its index and of all behind it. A frame that a crash left unfinished at the
end was promised to nobody and is cut off. A damaged frame with whole ones behind it is not
our doing: the log is refused, because what is missing may have been acknowledged.

`snapshot` is a sealed one (`sealing.py`).
"""

import os
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final
from zlib import crc32

import msgpack

from svcmesh.consensus.raft.types import (
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    ServerId,
    SnapshotMeta,
    Term,
)
from svcmesh.consensus.sealing import SealedSnapshot, sealed, sealed_in_memory
from svcmesh.durable import fsync_folder
from svcmesh.errors import DecodeError, StorageError

LOG_HEADER: Final = b"svcmesh raft log 1\n"
FRAME_BYTES_MAX: Final = 256 * 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024
FRAME_ENTRIES: Final = 128
FRAME_BYTES: Final = 1024 * 1024
"""Of a log that is written anew: to pack a frame holds up every other thread."""

_FRAME: Final = struct.Struct(">III")


class CorruptLogError(StorageError):
    """The log or snapshot is damaged in a way that may have lost acknowledged writes."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: {what}. Acknowledged writes may be missing, so this server does not start "
            f"with it. If the other servers are well, stop this one, move {path.parent} away, and "
            "start it again: it fetches everything from them. If they are not, restore a snapshot."
        )


@dataclass(frozen=True, slots=True)
class LoadedState:
    """What a server begins with."""

    hard_state: HardState
    snapshot: SnapshotMeta | None
    """None: there is none, and the log begins at 1."""
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]


class RaftDisk:
    """The files of one server, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        self._snapshot = folder / "snapshot"
        self._snapshot_lock = threading.Lock()
        self._snapshot_index = LogIndex(0)
        self._fd: int | None = None
        self.log_bytes = 0
        """The size of the log file."""

    # -- starting -------------------------------------------------------------------------------

    def load(self) -> LoadedState:
        """Read everything; call it once, first.

        Raises:
            CorruptLogError: Damage that a crash does not explain.
            StorageError: The disk refuses.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            snapshot = self._load_meta()
            content = self._log.read_bytes() if self._log.exists() else b""
            hard_state, entries, sound_bytes = self._parse(content)
            warnings = []
            if sound_bytes < len(content):
                warnings.append(
                    f"{self._log}: {len(content) - sound_bytes} unfinished bytes cut off"
                )
            if sound_bytes == 0:
                self._create(HardState(), ())
            else:
                self._open(sound_bytes, is_cut=sound_bytes < len(content))
        except OSError as error:
            raise StorageError(f"cannot read {self._folder}: {error.strerror}") from error
        if snapshot is not None:
            self._snapshot_index = snapshot.index
        first_index = self._snapshot_index + 1
        if entries and entries[0].index > first_index:
            raise CorruptLogError(self._log, f"entries from {first_index} on are missing")
        return LoadedState(hard_state, snapshot, tuple(entries), tuple(warnings))

    def close(self) -> None:
        """Give the file back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    # -- the log --------------------------------------------------------------------------------

    def append(self, frames: bytes) -> None:
        """Write saves, one behind the other as `frame_of` gives them, with one fsync.

        Raises:
            StorageError: The disk refused. What it holds is unknown: this server must stop.
        """
        assert self._fd is not None
        try:
            _write_all(self._fd, frames)
            os.fdatasync(self._fd)
        except OSError as error:
            raise StorageError(f"cannot write {self._log}: {error.strerror}") from error
        self.log_bytes += len(frames)

    def rewrite(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        """Put a log of these entries in the old one's place.

        Raises:
            StorageError: The disk refused; the old log is there still.
        """
        try:
            self.close()
            self._create(hard_state, entries)
        except OSError as error:
            raise StorageError(f"cannot write {self._log}: {error.strerror}") from error

    def _create(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        beside = self._log.with_name("log.tmp")
        size_bytes = _write_file(beside, chain([LOG_HEADER], _frames_of(hard_state, entries)))
        beside.replace(self._log)
        fsync_folder(self._folder)
        self._open(size_bytes, is_cut=False)

    def _open(self, size_bytes: int, *, is_cut: bool) -> None:
        self._fd = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if is_cut:
            os.ftruncate(self._fd, size_bytes)
            os.fsync(self._fd)
        self.log_bytes = size_bytes

    def _parse(self, content: bytes) -> tuple[HardState, list[Entry], int]:
        """What the log says, and how many bytes of it are sound; 0 when there is no log yet."""
        hard_state, entries = HardState(), list[Entry]()
        if not content.startswith(LOG_HEADER):
            if LOG_HEADER.startswith(content):
                return hard_state, entries, 0
            raise CorruptLogError(self._log, "this is no log")
        at = len(LOG_HEADER)
        while at < len(content):
            payload = _payload_at(content, at)
            if payload is None:
                if _has_frame_behind(content, at + 1):
                    raise CorruptLogError(self._log, f"damaged at byte {at}")
                break
            hard_state, news = _decode_payload(payload, self._log)
            if news:
                first = news[0].index
                if entries and first > entries[-1].index + 1:
                    raise CorruptLogError(self._log, f"a gap before entry {first}")
                if entries:
                    del entries[max(0, first - entries[0].index) :]
                entries += news
            at += _FRAME.size + len(payload)
        return hard_state, entries, at

    # -- snapshots ------------------------------------------------------------------------------

    def write_snapshot(self, meta: SnapshotMeta, state: Iterable[bytes]) -> None:
        """Put a snapshot in the older one's place; one that is older itself changes nothing.

        May be called on another thread than the rest.

        Raises:
            StorageError: The disk refused; the older one is there still.
        """
        beside = self._folder / "snapshot.tmp"
        try:
            with self._snapshot_lock:
                if meta.index < self._snapshot_index:
                    return
                _write_file(beside, sealed(meta, state))
                beside.replace(self._snapshot)
                fsync_folder(self._folder)
                self._snapshot_index = meta.index
        except OSError as error:
            raise StorageError(f"cannot write {self._snapshot}: {error.strerror}") from error

    def open_snapshot(self) -> SealedSnapshot:
        """The latest snapshot, to be read and closed.

        Raises:
            CorruptLogError: It is none; damage further on shows when the state is read.
            StorageError: There is none, or the disk refuses.
        """
        try:
            file = self._snapshot.open("rb")
        except OSError as error:
            raise StorageError(f"cannot read {self._snapshot}: {error.strerror}") from error
        try:
            return SealedSnapshot(file)
        except DecodeError as error:
            file.close()
            raise self.corrupt_snapshot(error) from error

    def corrupt_snapshot(self, error: DecodeError) -> StorageError:
        """What to say when reading the snapshot has failed."""
        return CorruptLogError(self._snapshot, str(error))

    def _load_meta(self) -> SnapshotMeta | None:
        if not self._snapshot.exists():
            return None
        with self.open_snapshot() as snapshot:
            return snapshot.meta


class MemoryDisk:
    """The same without a disk, for `-dev`: nothing survives, nothing fails."""

    def __init__(self) -> None:
        self.log_bytes = 0
        self._content: bytes | None = None

    def load(self) -> LoadedState:
        """There is never anything."""
        return LoadedState(HardState(), None, (), ())

    def close(self) -> None:
        """Forget."""
        self._content = None

    def append(self, frames: bytes) -> None:
        """Count."""
        self.log_bytes += len(frames)

    def rewrite(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        """Count anew."""
        self.log_bytes = sum(len(entry.data) for entry in entries)

    def write_snapshot(self, meta: SnapshotMeta, state: Iterable[bytes]) -> None:
        """Keep it in memory."""
        self._content = b"".join(sealed(meta, state))

    def open_snapshot(self) -> SealedSnapshot:
        """The latest one.

        Raises:
            StorageError: There is none.
        """
        if self._content is None:
            raise StorageError("there is no snapshot")
        return sealed_in_memory(self._content)

    def corrupt_snapshot(self, error: DecodeError) -> StorageError:
        """What to say when reading the snapshot has failed."""
        return StorageError(str(error))


def frame_of(hard_state: HardState, entries: Sequence[Entry]) -> bytes:
    """A save as it stands in the log."""
    payload = msgpack.packb([hard_state.term, hard_state.voted_for, entries])
    start = struct.pack(">II", len(payload), crc32(payload))
    return bytes(start + struct.pack(">I", crc32(start)) + payload)


def _frames_of(hard_state: HardState, entries: Sequence[Entry]) -> Iterator[bytes]:
    """Entries in frames of a bounded size, and at least one frame."""
    first, size_bytes = 0, 0
    for position, entry in enumerate(entries):
        size_bytes += len(entry.data)
        if size_bytes > FRAME_BYTES or position - first >= FRAME_ENTRIES:
            if position > first:
                yield frame_of(hard_state, entries[first:position])
            first, size_bytes = position, len(entry.data)
    yield frame_of(hard_state, entries[first:])


def _payload_at(content: bytes, at: int) -> bytes | None:
    """The payload of the frame that begins at `at`; None when there is no whole one."""
    if at + _FRAME.size > len(content):
        return None
    length, checksum, header_checksum = _FRAME.unpack_from(content, at)
    if header_checksum != crc32(content[at : at + 8]) or length > FRAME_BYTES_MAX:
        return None
    payload = content[at + _FRAME.size : at + _FRAME.size + length]
    return payload if len(payload) == length and crc32(payload) == checksum else None


def _has_frame_behind(content: bytes, start: int) -> bool:
    for at in range(start, len(content) - _FRAME.size):
        length, _, header_checksum = _FRAME.unpack_from(content, at)
        # Most places fail here, cheaply.
        if (
            at + _FRAME.size + length <= len(content)
            and header_checksum == crc32(content[at : at + 8])
            and _payload_at(content, at) is not None
        ):
            return True
    return False


def _decode_payload(payload: bytes, path: Path) -> tuple[HardState, list[Entry]]:
    try:
        term, voted_for, entries = msgpack.unpackb(payload)
        decoded = [
            Entry(LogIndex(index), Term(entry_term), EntryKind(kind), data)
            for index, entry_term, kind, data in entries
        ]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        # The checksum holds, so this was written by another program, or a newer one.
        raise CorruptLogError(path, f"a frame that this version cannot read ({error})") from error
    return HardState(Term(term), ServerId(voted_for) if voted_for else None), decoded


def _write_file(path: Path, parts: Iterable[bytes]) -> int:
    """Write a file, and give its size."""
    size_bytes = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for part in parts:
            _write_all(fd, part)
            size_bytes += len(part)
        os.fsync(fd)
    finally:
        os.close(fd)
    return size_bytes


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
