"""Snapshot files for operators: one gzipped tar, laid out as Consul's, so its tools can check them.

`meta.json` says of when it is, `state.bin` is the state (`store/state.py`), `SHA256SUMS` has the
checksums of both. Written and read in pieces, so the size is no matter. Blocking.
"""

import gzip
import hashlib
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO, BinaryIO, Final

from svcmesh.consensus.raft.types import SnapshotMeta
from svcmesh.errors import SvcmeshError

VERSION: Final = 1
PROGRAM: Final = "svcmesh"
PIECE_BYTES: Final = 256 * 1024
META_BYTES_MAX: Final = 1024 * 1024
STATE_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
COMPRESSION: Final = 6

GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_HEADER_BYTES: Final = 10

META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"


class ArchiveError(SvcmeshError):
    """Not a snapshot file, or a damaged one; the text is Consul's."""


@dataclass(frozen=True, slots=True)
class ArchiveMeta:
    """What a file says of itself."""

    id: str
    index: int
    term: int
    version: int
    size_bytes: int
    """Of the state."""
    is_ours: bool
    """Whether the state is one of ours; Consul's is another."""


class SnapshotArchive:
    """A file that was read and checked; the state waits in a file without a name."""

    def __init__(self, meta: ArchiveMeta, state: BinaryIO) -> None:
        self.meta, self._state = meta, state

    def __enter__(self) -> "SnapshotArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._state.close()

    def state(self, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
        """The state in pieces, from the beginning."""
        self._state.seek(0)
        while piece := self._state.read(piece_bytes):
            yield piece


def write_archive(
    to: IO[bytes], meta: SnapshotMeta, state: Iterable[bytes], *, now_ms: int
) -> None:
    """Write a snapshot file.

    Args:
        to: Where to; it need not be able to seek.
        meta: Of when the state is.
        state: In parts.
        now_ms: The wall clock.
    """
    with tempfile.TemporaryFile() as spool:
        digest = hashlib.sha256()
        for part in state:
            digest.update(part)
            spool.write(part)
        size_bytes = spool.tell()
        spool.seek(0)
        about = {
            "Version": VERSION,
            "ID": f"{meta.term}-{meta.index}-{now_ms}",
            "Index": meta.index,
            "Term": meta.term,
            "Configuration": {
                "Servers": [
                    {
                        "Suffrage": int(server not in meta.members.voters),
                        "ID": server,
                        "Address": "",
                    }
                    for server in meta.members.servers
                ]
            },
            "Size": size_bytes,
            "Program": PROGRAM,
        }
        packed = json.dumps(about, separators=(",", ":")).encode()
        sums = "".join(
            f"{checksum}  {name}\n"
            for checksum, name in (
                (hashlib.sha256(packed).hexdigest(), META),
                (digest.hexdigest(), STATE),
            )
        ).encode()
        with gzip.GzipFile(fileobj=to, mode="wb", compresslevel=COMPRESSION, mtime=0) as zipped:
            tar = tarfile.open(fileobj=zipped, mode="w")  # noqa: SIM115  # not closed, see below
            for name, size, content in (
                (META, len(packed), BytesIO(packed)),
                (STATE, size_bytes, spool),
                (SUMS, len(sums), BytesIO(sums)),
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = size, 0o600, now_ms // 1000
                tar.addfile(entry, content)
            # The end, without Python's padding after it: Consul's reader takes that for a fault.
            zipped.write(bytes(2 * tarfile.BLOCKSIZE))


def read_archive_untrusted(file: IO[bytes]) -> SnapshotArchive:
    """Read a snapshot file and check it whole.

    Raises:
        ArchiveError: It is none, or damaged.
        OSError: The disk refuses.
    """
    header = file.read(GZIP_HEADER_BYTES)
    if len(header) < GZIP_HEADER_BYTES:
        what = "unexpected EOF" if header else "EOF"
        raise ArchiveError(f"failed to decompress snapshot: {what}")
    if not header.startswith(GZIP_MAGIC):
        raise ArchiveError("failed to decompress snapshot: gzip: invalid header")
    file.seek(-len(header), os.SEEK_CUR)
    state: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed with what is returned
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as zipped:
            return SnapshotArchive(_read_tar_untrusted(zipped, state), state)
    except BaseException:
        state.close()
        raise


def _read_tar_untrusted(zipped: gzip.GzipFile, state: BinaryIO) -> ArchiveMeta:
    found: dict[str, bytes] = {}
    sums: dict[str, str] = {}
    name = ""
    try:
        with tarfile.open(fileobj=zipped, mode="r|", bufsize=PIECE_BYTES) as tar:
            for entry in tar:
                name = entry.name
                content = tar.extractfile(entry)
                if content is None or name not in (META, STATE, SUMS):
                    raise _unreadable(f'failed reading snapshot: unexpected file "{name:.100}"')
                if name == STATE:
                    sums[STATE] = _copy(content, state)
                    continue
                if entry.size > META_BYTES_MAX:
                    raise _unreadable(f"failed to read snapshot metadata: {name} is too large")
                found[name] = content.read()
                if len(found[name]) < entry.size:
                    raise EOFError
                sums[name] = hashlib.sha256(found[name]).hexdigest()
        # What follows the tar is read too: the checksum of the compression is at its end.
        while zipped.read(PIECE_BYTES):
            pass
    except (EOFError, tarfile.ReadError, zlib.error, gzip.BadGzipFile) as error:
        is_cut = isinstance(error, EOFError) or "unexpected end" in str(error)
        if name or is_cut:
            why = "unexpected EOF" if is_cut else str(error)
            what = "failed to write" if name == STATE else "failed to read"
            kind = "state" if name == STATE else "metadata"
            raise _unreadable(f"{what} snapshot {kind}: {why}") from error
        raise _unreadable("failed reading snapshot: archive/tar: invalid tar header") from error
    except tarfile.TarError as error:
        raise _unreadable(f"failed reading snapshot: {error}") from error
    _check_sums(found.get(SUMS, b""), sums)
    return _meta(found[META])


def _copy(content: IO[bytes], state: BinaryIO) -> str:
    """Copy the state; its checksum."""
    digest, size_bytes = hashlib.sha256(), 0
    while piece := content.read(PIECE_BYTES):
        size_bytes += len(piece)
        if size_bytes > STATE_BYTES_MAX:
            raise _unreadable("the state is too large")
        digest.update(piece)
        state.write(piece)
    return digest.hexdigest()


def _check_sums(listed: bytes, sums: dict[str, str]) -> None:
    expected: dict[str, str] = {}
    for line in listed.decode(errors="replace").splitlines():
        checksum, _, name = line.partition("  ")
        expected[name] = checksum
    for name in (META, STATE):
        if name not in expected or name not in sums:
            problem = f'file missing for "{name}"' if name in expected else f'list missing "{name}"'
            raise _unreadable(f"failed checking integrity of snapshot: {problem}")
        if expected[name] != sums[name]:
            raise _unreadable(
                f'failed checking integrity of snapshot: hash check failed for "{name}"'
            )


def _meta(packed: bytes) -> ArchiveMeta:
    try:
        about = json.loads(packed)
        return ArchiveMeta(
            str(about["ID"]),
            int(about["Index"]),
            int(about["Term"]),
            int(about["Version"]),
            int(about["Size"]),
            is_ours=about.get("Program") == PROGRAM,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(f"failed to decode snapshot metadata: {error!r}") from error


def _unreadable(what: str) -> ArchiveError:
    return ArchiveError(f"failed to read snapshot file: {what}")
