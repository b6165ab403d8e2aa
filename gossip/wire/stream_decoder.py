"""One direction of a TCP exchange, read as it arrives (gossip protocol, 4 and 6).

The reader is fed chunks and advanced in slices, so that neither a slow peer nor a large state
holds anything up. Time limits are the shell's; every bound on size is here.
"""

from collections.abc import Callable, Generator
from enum import Enum
from typing import Final, cast

from msgpack import OutOfData, Unpacker

from gossip.config import PoolConfig
from gossip.errors import DecodeError
from gossip.types import Incarnation
from gossip.wire import limits, numbers, reasons
from gossip.wire.body import blob, fields_untrusted, flag, i64, new_unpacker, text, u16, u32
from gossip.wire.codec import ack_from_body, ping_from_body
from gossip.wire.crypto import Keyring
from gossip.wire.fields import given_name, wire_address, wire_meta
from gossip.wire.framing import check_label, compressed_bytes_from_body
from gossip.wire.lzw import LzwDecoder
from gossip.wire.messages import (
    ErrorReply,
    PushPull,
    PushPullNode,
    StreamMessage,
    UserMessage,
)
from gossip.wire.stream_encoder import frame_header

_NODES_PER_SLICE: Final = 256
_CODES_PER_SLICE: Final = 4096
_PUSH_PULL: Final = (b"Nodes", b"UserStateLen", b"Join")
_NODE: Final = (b"Name", b"Addr", b"Port", b"Meta", b"Incarnation", b"State", b"Vsn")
_USER_MESSAGE: Final = (b"UserMsgLen",)
_ERROR: Final = (b"Error",)
_MEMBER_STATES: Final = range(4)
_FRAME_HEADER_BYTES: Final = 5

_REQUESTS: Final = (numbers.PING, numbers.PUSH_PULL, numbers.USER)
_REPLIES: Final = (numbers.ACK, numbers.PUSH_PULL, numbers.ERROR)


class StreamLayerError(DecodeError):
    """An outer layer of a request is unreadable, and the peer deserves to hear it (6.4)."""


class Progress(Enum):
    """What a decoder needs next."""

    NEED_BYTES = "need bytes"
    BUSY = "busy"
    """Nothing; advance it again after letting others run."""
    DONE = "done"


class _Source:
    """Bytes that are there, and whether more may come."""

    def __init__(self, *, is_whole: bool, data: bytes = b"") -> None:
        self.buffer = bytearray(data)
        self.is_whole = is_whole

    def take(self, count: int) -> Generator[Progress, None, bytes]:
        while len(self.buffer) < count:
            if self.is_whole:
                raise DecodeError(reasons.STREAM_CUT)
            yield Progress.NEED_BYTES
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def take_all(self) -> bytes:
        data = bytes(self.buffer)
        self.buffer.clear()
        return data


class StreamDecoder:
    """Reads one message from one direction of one connection.

    `dialled` says whether we opened the connection: then this is the reply, which has no label,
    and requests are not understood. After a `DecodeError` the decoder is of no further use.
    """

    def __init__(self, pool: PoolConfig, keyring: Keyring | None, *, dialled: bool) -> None:
        self.skipped_nodes: list[DecodeError] = []
        """Why nodes of a push/pull were left out: one bad entry must not block a join."""
        self._pool, self._keyring, self._dialled = pool, keyring, dialled
        self._source = _Source(is_whole=False)
        self._received_bytes = 0
        self._expanded_bytes = 0
        self._message: StreamMessage | None = None
        self._run = self._decode_untrusted()

    @property
    def message(self) -> StreamMessage:
        """The message, once `advance` said that it is done."""
        assert self._message is not None
        return self._message

    @property
    def held_bytes(self) -> int:
        """About how much memory this stream takes, for the shell's common budget."""
        return self._received_bytes + self._expanded_bytes

    def feed(self, chunk: bytes) -> None:
        """Hand in bytes as they arrive.

        Raises:
            DecodeError: The stream is longer than any may be.
        """
        self._received_bytes += len(chunk)
        if self._received_bytes > limits.STREAM_BYTES_MAX:
            raise DecodeError(reasons.STREAM_TOO_LONG)
        self._source.buffer += chunk

    def feed_end(self) -> None:
        """The peer will send no more."""
        self._source.is_whole = True

    def advance(self) -> Progress:
        """Do a few milliseconds of work at most.

        Raises:
            StreamLayerError: As its class says.
            DecodeError: The message is bad, or cut by the end of the stream.
        """
        try:
            return next(self._run)
        except StopIteration as finished:
            if self._message is None:
                self._message = finished.value
            return Progress.DONE

    def _decode_untrusted(self) -> Generator[Progress, None, StreamMessage]:
        if not self._dialled:
            yield from self._take_label()
        source = yield from self._decrypted()
        kind = (yield from source.take(1))[0]
        if kind == numbers.COMPRESS:
            source = yield from self._expanded(source)
            kind = (yield from source.take(1))[0]
        if kind not in (_REPLIES if self._dialled else _REQUESTS):
            raise DecodeError(reasons.UNKNOWN_TYPE, f"type {kind} in a stream")
        reader = _Reader(source)
        match kind:
            case numbers.PING:
                return ping_from_body((yield from reader.unpack()))
            case numbers.ACK:
                return ack_from_body((yield from reader.unpack()))
            case numbers.ERROR:
                return ErrorReply(text(fields_untrusted((yield from reader.unpack()), _ERROR)[0]))
            case numbers.USER:
                return (yield from _user_message(reader))
            case _:
                return (yield from self._push_pull(reader))

    def _take_label(self) -> Generator[Progress, None, None]:
        """Take off the header of a dialled stream, unless it begins without one."""
        found = b""
        source = self._source
        first = yield from source.take(1)
        if first[0] == numbers.LABEL:
            size = (yield from source.take(1))[0]
            if not size:
                raise DecodeError(reasons.BAD_LABEL)
            found = yield from source.take(size)
        else:
            source.buffer[:0] = first
        check_label(
            found,
            expected=self._pool.label.encode(),
            skip_check=self._pool.skip_inbound_label_check,
        )

    def _decrypted(self) -> Generator[Progress, None, _Source]:
        """The plaintext, whole if it was a frame."""
        source = self._source
        first = yield from source.take(1)
        if first[0] != numbers.ENCRYPT:
            if self._keyring is not None and self._pool.verify_incoming:
                raise StreamLayerError(reasons.NOT_ENCRYPTED, "this pool is encrypted")
            source.buffer[:0] = first
            return source
        if self._keyring is None:
            raise StreamLayerError(reasons.UNEXPECTEDLY_ENCRYPTED, "this pool has no keys")
        size = int.from_bytes((yield from source.take(_FRAME_HEADER_BYTES - 1)), "big")
        if size > limits.FRAME_BYTES_MAX:
            raise StreamLayerError(reasons.FRAME_TOO_LONG, f"{size} bytes")
        payload = yield from source.take(size)
        aad = frame_header(size) + self._pool.label.encode()
        try:
            plaintext = self._keyring.decrypt_untrusted(payload, aad=aad)
        except DecodeError as error:
            if error.reason in (reasons.BAD_ENCRYPTION, reasons.DECRYPT_FAILED):
                raise StreamLayerError(error.reason, "the stream cannot be decrypted") from error
            raise
        yield Progress.BUSY
        return _Source(is_whole=True, data=plaintext)

    def _expanded(self, source: _Source) -> Generator[Progress, None, _Source]:
        body = yield from _Reader(source).unpack()
        try:
            decoder = LzwDecoder(
                compressed_bytes_from_body(body),
                output_bytes_max=limits.STREAM_EXPANSION_BYTES_MAX,
            )
            while not decoder.advance(codes_max=_CODES_PER_SLICE):
                self._expanded_bytes = len(decoder.output)
                yield Progress.BUSY
        except DecodeError as error:
            raise StreamLayerError(error.reason, "the stream cannot be decompressed") from error
        if not decoder.output:
            raise DecodeError(reasons.EMPTY, "compression of nothing")
        return _Source(is_whole=True, data=bytes(decoder.output))

    def _push_pull(self, reader: "_Reader") -> Generator[Progress, None, PushPull]:
        header = fields_untrusted((yield from reader.unpack()), _PUSH_PULL)
        node_count, state_bytes, join = i64(header[0]), i64(header[1]), flag(header[2])
        if not 0 <= node_count <= limits.PUSH_PULL_NODES_MAX:
            raise DecodeError(reasons.TOO_MANY_NODES, f"{node_count} nodes")
        if not 0 <= state_bytes <= limits.USER_STATE_BYTES_MAX:
            raise DecodeError(reasons.USER_STATE_TOO_LONG, f"{state_bytes} bytes")
        nodes: list[PushPullNode] = []
        for index in range(node_count):
            if index % _NODES_PER_SLICE == _NODES_PER_SLICE - 1:
                yield Progress.BUSY
            body = yield from reader.unpack()
            try:
                nodes.append(_node(body))
            except DecodeError as error:
                if error.reason not in _SKIPPED_NODE_REASONS:
                    raise
                self.skipped_nodes.append(error)
        user_state = yield from reader.take(state_bytes)
        return PushPull(join, tuple(nodes), user_state)


_SKIPPED_NODE_REASONS: Final = frozenset(
    (reasons.BAD_NAME, reasons.BAD_ADDRESS, reasons.BAD_META, reasons.BAD_VSN)
)


def _node(body: object) -> PushPullNode:
    values = fields_untrusted(body, _NODE)
    state = i64(values[5])
    if state not in _MEMBER_STATES:
        raise DecodeError(reasons.BAD_STATE, f"state {state}")
    vsn = blob(values[6])
    if len(vsn) not in (0, 6):  # the empty one is for the version check (section 7) to judge
        raise DecodeError(reasons.BAD_VSN, f"{len(vsn)} versions")
    return PushPullNode(
        name=given_name(values[0]),
        addr=wire_address(values[1]),
        port=u16(values[2]),
        meta=wire_meta(values[3]),
        incarnation=Incarnation(u32(values[4])),
        state=state,
        vsn=vsn,
    )


def _user_message(reader: "_Reader") -> Generator[Progress, None, UserMessage]:
    size = i64(fields_untrusted((yield from reader.unpack()), _USER_MESSAGE)[0])
    if not 0 <= size <= limits.USER_MESSAGE_BYTES_MAX:
        raise DecodeError(reasons.USER_MESSAGE_TOO_LONG, f"{size} bytes")
    return UserMessage((yield from reader.take(size)))


class _Reader:
    """Takes msgpack objects and raw bytes, in turn, from a source that may still be filling.

    The unpacker keeps an object it has begun, so nothing is parsed twice.
    """

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._unpacker: Unpacker = new_unpacker(
            max(limits.STREAM_BYTES_MAX, limits.STREAM_EXPANSION_BYTES_MAX)
        )

    def unpack(self) -> Generator[Progress, None, object]:
        unpack: Callable[[], object] = self._unpacker.unpack
        while True:
            try:
                if self._source.buffer:
                    self._unpacker.feed(self._source.take_all())
                return unpack()
            except OutOfData:
                if self._source.is_whole:
                    raise DecodeError(reasons.STREAM_CUT) from None
            except Exception as error:  # msgpack has no common root for what bad input raises
                raise DecodeError(reasons.BAD_BODY, repr(error)) from error
            yield Progress.NEED_BYTES

    def take(self, count: int) -> Generator[Progress, None, bytes]:
        data = bytearray(cast("bytes", self._unpacker.read_bytes(count)))
        data += yield from self._source.take(count - len(data))
        return bytes(data)
