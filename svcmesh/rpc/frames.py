"""The wire: what is said in frames, and frames cut out of the bytes that come.

The package's docstring has the table of frames. Who holds a connection, and what becomes of one
whose peer sends something else, is `connection.py`'s.
"""

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgpack

from svcmesh.errors import SvcmeshError

Body = Any
"""What msgpack carries; methods check what they get."""

LENGTH: Final = struct.Struct(">I")

SMALL_BYTES: Final = 8 * 1024
"""Frames up to this size are unpacked without a look at what is in them."""


class Kind:
    """First element of a frame."""

    CALL: Final = 0
    ANSWER: Final = 1
    ERROR: Final = 2
    NOTE: Final = 3
    ABOUT: Final = 4


class Word:
    """What is said about the connection itself."""

    HELLO: Final = "hello"
    READY: Final = "ready"
    REFUSED: Final = "refused"
    LEAVING: Final = "leaving"


class FrameError(SvcmeshError):
    """What the peer sent is no frame; nothing after it can be made sense of. `reason` is a word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def pack(parts: list[Body]) -> bytes:
    """Pack a frame, without its length."""
    packed: bytes = msgpack.packb(parts)
    return packed


def pack_about(word: str, text: str = "") -> bytes:
    """Pack a word about the connection, without its length."""
    return pack([Kind.ABOUT, word, text])


def refusal_frame(text: str) -> bytes:
    """Give the bytes that tell somebody who is not let in why."""
    packed = pack_about(Word.REFUSED, text)
    return LENGTH.pack(len(packed)) + packed


def unpack_untrusted(frame: bytes | bytearray, *, containers_max: int | None) -> Body:
    """Unpack a frame; with `containers_max`, one that has as many lists and maps at the most.

    Raises:
        FrameError: It is not msgpack, or has more.
    """
    try:
        if containers_max is None or len(frame) <= SMALL_BYTES:
            return msgpack.unpackb(frame, strict_map_key=False)
        count = containers_max

        def counted(container: Body) -> Body:
            nonlocal count
            count -= 1
            if count < 0:
                raise ValueError("too many lists and maps")
            return container

        return msgpack.unpackb(frame, strict_map_key=False, list_hook=counted, object_hook=counted)
    except (ValueError, TypeError, msgpack.UnpackException):
        # TypeError: a list as the key of a map.
        raise FrameError("frame-unreadable") from None


class FrameBuffer:
    """Cuts frames of at most `bytes_max` out of what comes, and keeps what is left of it."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._unfinished = bytearray()

    def __len__(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._unfinished)

    def clear(self) -> None:
        """Forget what is not whole."""
        self._unfinished = bytearray()

    def feed_untrusted(self, data: bytes) -> Iterator[bytes | bytearray]:
        """Give the frames that `data` completes, to be exhausted before the next call.

        Raises:
            FrameError: A frame is larger than may be; the buffer is of no use any more.
        """
        unfinished = self._unfinished
        source: bytes | bytearray = data
        if unfinished:
            unfinished += data
            source = unfinished
        at, size = 0, len(source)
        while size - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(source, at)
            if length > self._bytes_max:
                raise FrameError("frame-too-large")
            end = at + LENGTH.size + length
            if size < end:
                break
            yield source[at + LENGTH.size : end]
            at = end
        if source is unfinished:
            del unfinished[:at]
        else:
            unfinished += data[at:]
