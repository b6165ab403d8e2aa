"""A sealed snapshot: a header, meta data, the state, and a SHA-256 of all before.

Written and read in pieces, so its size is no matter. Blocking.
"""

import hashlib
import io
import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import msgpack

from svcmesh.consensus.raft.types import LogIndex, Membership, SnapshotMeta, Term
from svcmesh.errors import DecodeError

HEADER: Final = b"svcmesh raft snapshot 1\n"
PIECE_BYTES: Final = 256 * 1024
META_BYTES_MAX: Final = 1024 * 1024

_DIGEST_BYTES: Final = 32
_LENGTH: Final = struct.Struct(">I")


class SealedSnapshot:
    """A sealed snapshot in a file, from which it is read; closes it in the end."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the meta data; what is there besides is not looked at yet.

        Raises:
            DecodeError: It is none.
        """
        self._file = file
        self.size_bytes = file.seek(0, os.SEEK_END)
        """Of the whole file."""
        file.seek(0)
        header = file.read(len(HEADER) + _LENGTH.size)
        if not header.startswith(HEADER) or len(header) < len(HEADER) + _LENGTH.size:
            raise DecodeError("raft-snapshot", "this is no snapshot")
        (length,) = _LENGTH.unpack_from(header, len(HEADER))
        if length > META_BYTES_MAX:
            raise DecodeError("raft-snapshot", "the meta data is too large")
        packed = file.read(length)
        self._start = len(header) + length
        if self._start + _DIGEST_BYTES > self.size_bytes:
            raise DecodeError("raft-snapshot", "it is cut short")
        try:
            index, term, members = msgpack.unpackb(packed)
            self.meta = SnapshotMeta(
                LogIndex(int(index)), Term(int(term)), Membership.decode_untrusted(members)
            )
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise DecodeError("raft-snapshot", str(error)) from error
        self._digest = hashlib.sha256(header + packed)

    def __enter__(self) -> "SealedSnapshot":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def state(self) -> Iterator[bytes]:
        """The state in pieces; only after the last one it is known to be whole.

        Raises:
            DecodeError: It is damaged.
        """
        digest = self._digest.copy()
        at, end = self._start, self.size_bytes - _DIGEST_BYTES
        while at < end:
            piece = self.read(at, min(PIECE_BYTES, end - at))
            if not piece:
                break
            digest.update(piece)
            yield piece
            at += len(piece)
        if self.read(end, _DIGEST_BYTES) != digest.digest():
            raise DecodeError("raft-snapshot", "the checksum is wrong")

    def read(self, at: int, count: int) -> bytes:
        """Bytes of the file as it is."""
        self._file.seek(at)
        return self._file.read(count)


def sealed(meta: SnapshotMeta, state: Iterable[bytes]) -> Iterator[bytes]:
    """Give a snapshot as it stands in a file, in pieces."""
    packed = msgpack.packb([meta.index, meta.term, meta.members.encode()])
    digest = hashlib.sha256()
    for part in (HEADER, _LENGTH.pack(len(packed)), packed):
        digest.update(part)
        yield part
    for part in state:
        digest.update(part)
        yield part
    yield digest.digest()


def sealed_in_memory(content: bytes) -> SealedSnapshot:
    """Open a snapshot that is no file.

    Raises:
        DecodeError: It is none.
    """
    return SealedSnapshot(io.BytesIO(content))
