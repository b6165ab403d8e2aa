"""The numbers that tell messages and layers apart (gossip protocol, 2 and 10.1)."""

from typing import Final

# memberlist's message types.
PING: Final = 0
INDIRECT_PING: Final = 1
ACK: Final = 2
SUSPECT: Final = 3
ALIVE: Final = 4
DEAD: Final = 5
PUSH_PULL: Final = 6
COMPOUND: Final = 7
USER: Final = 8
COMPRESS: Final = 9
ENCRYPT: Final = 10
NACK: Final = 11
CRC: Final = 12
ERROR: Final = 13
LABEL: Final = 244

# Serf's, inside user messages, user state and query payloads.
SERF_LEAVE: Final = 0
SERF_JOIN: Final = 1
SERF_STATE: Final = 2
SERF_USER_EVENT: Final = 3
SERF_QUERY: Final = 4
SERF_QUERY_RESPONSE: Final = 5
SERF_CONFLICT_RESPONSE: Final = 6
SERF_KEY_REQUEST: Final = 7
SERF_KEY_RESPONSE: Final = 8
SERF_RELAY: Final = 9

TAGS_MAGIC: Final = 0xFF
"""First byte of metadata that holds tags (10.2)."""
COORDINATE_VERSION: Final = 1
"""First byte of an ack's payload (11.2)."""
