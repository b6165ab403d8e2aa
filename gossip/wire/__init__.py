"""Bytes to messages and back: the wire format of memberlist and Serf. No I/O, no clock.

`PacketCodec` is for datagrams, `StreamEncoder` and `StreamDecoder` for TCP, `Keyring` for
encryption; the functions read and write single messages. Reading gives a message or raises
`DecodeError`, whatever the bytes are.
"""

from gossip.wire.codec import decode_message_untrusted, encode_message
from gossip.wire.crypto import ENCRYPTION_OVERHEAD_BYTES, NONCE_BYTES, Keyring, NonceSource
from gossip.wire.packet import DecodedPacket, PacketCodec
from gossip.wire.serf import decode_serf_untrusted, encode_serf
from gossip.wire.serf_values import (
    decode_coordinate_untrusted,
    decode_filter_untrusted,
    decode_tags_untrusted,
    encode_coordinate,
    encode_filter,
    encode_tags,
)
from gossip.wire.stream_decoder import Progress, StreamDecoder, StreamLayerError
from gossip.wire.stream_encoder import StreamEncoder

__all__ = [
    "ENCRYPTION_OVERHEAD_BYTES",
    "NONCE_BYTES",
    "DecodedPacket",
    "Keyring",
    "NonceSource",
    "PacketCodec",
    "Progress",
    "StreamDecoder",
    "StreamEncoder",
    "StreamLayerError",
    "decode_coordinate_untrusted",
    "decode_filter_untrusted",
    "decode_message_untrusted",
    "decode_serf_untrusted",
    "decode_tags_untrusted",
    "encode_coordinate",
    "encode_filter",
    "encode_message",
    "encode_serf",
    "encode_tags",
]
