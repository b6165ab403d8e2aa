"""Every bound on what the network may make us hold or do (gossip protocol, 13.3 and 14.3).

Those about one packet or one stream are enforced in this package; those about state over time
belong to the layers above, which read them here so that the whole list stands in one place.
"""

MIB = 1024 * 1024

# One datagram.
DATAGRAM_BYTES_MAX = 65536
"""Receive buffer; no datagram is longer."""
PACKET_EXPANSION_BYTES_MAX = 64 * 1024
"""Output of decompressing a datagram; the reference has no bound."""
PACKET_LAYERS_MAX = 3
"""Compound and compress layers around one message; senders need 2."""
PACKET_PARTS_MAX = 1024
"""Parts of all compounds of one datagram together."""
COMPOUND_PARTS_MAX = 255
"""Parts of one compound: its count is one byte."""
LABEL_BYTES_MAX = 255

# One body.
ARRAY_ITEMS_MAX = 1024
"""Items of an array in a body. msgpack reserves memory for an array by its claimed length, at
each of up to 1024 nesting levels, so "as long as the bytes present" would not be a bound."""
NAME_BYTES_MAX = 255
META_BYTES_MAX = 512
FILTER_EXPRESSION_BYTES_MAX = 256

# One stream.
FRAME_BYTES_MAX = 20 * MIB
"""Encryption frame, as claimed by its length field."""
STREAM_BYTES_MAX = 2 * FRAME_BYTES_MAX
"""Everything one direction of a stream may carry."""
STREAM_EXPANSION_BYTES_MAX = 40 * MIB
"""Output of decompressing a stream."""
PUSH_PULL_NODES_MAX = 65536
USER_STATE_BYTES_MAX = 20 * MIB
USER_MESSAGE_BYTES_MAX = 20 * MIB

# Serf's part of a push/pull.
EVENT_SLOTS_MAX = 512
EVENTS_PER_SLOT_MAX = 256
EVENT_BYTES_MAX = 9216
"""Name and payload of one user event together."""
STATUS_LTIMES_MAX = 2 * PUSH_PULL_NODES_MAX
"""Names in one Serf state: Serf remembers the failed and left for longer. All are merged at once,
so the bound is also one on how long the event loop may stand still."""

# Over time: enforced by the machines above.
STREAMS_MAX = 128
"""Concurrent incoming streams."""
LAMPORT_JUMP_MAX = 1 << 32
"""Lamport times further ahead than this are ignored."""
LAMPORT_TIME_MAX = 1 << 63
INCARNATION_MARGIN = 1 << 24
"""Accusations this close to the top of u32 are ignored: refuting them would wrap."""
