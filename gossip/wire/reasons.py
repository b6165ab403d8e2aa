"""The reasons for refusing bytes: short, stable, one metric each.

They are the `reason` of `DecodeError`; its text may say more. Drops that a machine above decides
on have reasons of their own.
"""

# Layers.
EMPTY = "empty"
UNKNOWN_TYPE = "unknown-type"
WRONG_LABEL = "wrong-label"
BAD_LABEL = "bad-label"
NOT_ENCRYPTED = "not-encrypted"
UNEXPECTEDLY_ENCRYPTED = "unexpectedly-encrypted"
BAD_ENCRYPTION = "bad-encryption"
BAD_PADDING = "bad-padding"
DECRYPT_FAILED = "decrypt-failed"
BAD_CRC = "bad-crc"
BAD_COMPRESSION = "bad-compression"
EXPANSION_TOO_LARGE = "expansion-too-large"
COMPOUND_CUT = "compound-cut"
EMPTY_PART = "empty-part"
TOO_MANY_LAYERS = "too-many-layers"
TOO_MANY_PARTS = "too-many-parts"

# Bodies.
BAD_BODY = "bad-body"
BAD_FIELD = "bad-field"
BAD_NAME = "bad-name"
BAD_ADDRESS = "bad-address"
BAD_META = "bad-meta"
BAD_VSN = "bad-vsn"
BAD_STATE = "bad-state"
BAD_TAGS = "bad-tags"
BAD_FILTER = "bad-filter"
BAD_COORDINATE = "bad-coordinate"
TOO_MANY_NAMES = "too-many-names"

# Streams.
STREAM_CUT = "stream-cut"
STREAM_TOO_LONG = "stream-too-long"
FRAME_TOO_LONG = "frame-too-long"
TOO_MANY_NODES = "too-many-nodes"
USER_STATE_TOO_LONG = "user-state-too-long"
USER_MESSAGE_TOO_LONG = "user-message-too-long"
