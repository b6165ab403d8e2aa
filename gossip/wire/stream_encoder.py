"""One direction of a TCP exchange, written (gossip protocol, 4 and 6).

[label, from the dialling side] [encryption frame] [compress] message and what follows it
"""

from collections.abc import Iterator
from typing import assert_never

from gossip.config import PoolConfig
from gossip.wire.body import pack
from gossip.wire.codec import encode_message
from gossip.wire.crypto import ENCRYPTION_OVERHEAD_BYTES, Keyring, NonceSource
from gossip.wire.framing import compress_body, label_header
from gossip.wire.lzw import LzwEncoder
from gossip.wire.messages import (
    Ack,
    ErrorReply,
    Ping,
    PushPull,
    PushPullNode,
    StreamMessage,
    UserMessage,
)
from gossip.wire.numbers import ENCRYPT

_NODES_PER_SLICE = 256
_COMPRESSED_BYTES_PER_SLICE = 8192


class StreamEncoder:
    """Writes streams for one pool."""

    def __init__(
        self,
        pool: PoolConfig,
        keyring: Keyring | None,
        *,
        new_nonce: NonceSource,
        compress: bool = False,
    ) -> None:
        self._pool, self._keyring, self._compress = pool, keyring, compress
        self._new_nonce = new_nonce

    def encode(self, message: StreamMessage, *, dialled: bool) -> Iterator[bytes]:
        """Yield the stream in pieces, each after at most a few milliseconds of work.

        A piece may be empty: a caller with an event loop lets others run after every one.
        `dialled` says whether we opened the connection, and so write the label.
        """
        if dialled and self._pool.label:
            yield label_header(self._pool.label)
        pieces = _message_pieces(message)
        if self._compress:
            pieces = _compressed(pieces)
        if self._keyring is None or not self._pool.verify_outgoing:
            yield from pieces
            return
        plaintext = bytearray()
        for piece in pieces:
            plaintext += piece
            yield b""
        header = frame_header(len(plaintext) + ENCRYPTION_OVERHEAD_BYTES)
        yield header
        yield self._keyring.encrypt(
            bytes(plaintext), aad=header + self._pool.label.encode(), nonce=self._new_nonce()
        )


def frame_header(payload_bytes: int) -> bytes:
    """Type and length in front of an encrypted payload; part of its authenticated data."""
    return bytes((ENCRYPT,)) + payload_bytes.to_bytes(4, "big")


def _message_pieces(message: StreamMessage) -> Iterator[bytes]:
    match message:
        case Ping() | Ack() | ErrorReply():
            yield encode_message(message)
        case UserMessage(payload):
            yield b"\x08" + pack({"UserMsgLen": len(payload)})
            yield payload
        case PushPull():
            header = {
                "Join": message.join,
                "Nodes": len(message.nodes),
                "UserStateLen": len(message.user_state),
            }
            yield b"\x06" + pack(header)
            for start in range(0, len(message.nodes), _NODES_PER_SLICE):
                nodes = message.nodes[start : start + _NODES_PER_SLICE]
                yield b"".join(map(_pack_node, nodes))
            if message.user_state:
                yield message.user_state
        case _:
            assert_never(message)


def _pack_node(node: PushPullNode) -> bytes:
    return pack(
        {
            "Addr": node.addr,
            "Incarnation": node.incarnation,
            "Meta": node.meta,
            "Name": node.name,
            "Port": node.port,
            "State": node.state,
            "Vsn": node.vsn,
        }
    )


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    encoder = LzwEncoder()
    done = bytearray()
    for piece in pieces:
        for start in range(0, len(piece), _COMPRESSED_BYTES_PER_SLICE):
            done += encoder.feed(piece[start : start + _COMPRESSED_BYTES_PER_SLICE])
            yield b""
    done += encoder.finish()
    yield compress_body(bytes(done))
