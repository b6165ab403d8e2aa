"""The state machine on top of Raft: the public names."""

from svcmesh.consensus.store.commands import (
    Answer,
    CommandError,
    CommandKind,
    encode_command,
)
from svcmesh.consensus.store.keys import CompactedError, KeySpace
from svcmesh.consensus.store.records import VALUE_BYTES_MAX, KvEntry, Session
from svcmesh.consensus.store.store import SESSIONS, Store, Topic, decode_state_untrusted
from svcmesh.consensus.store.transactions import READS, WRITES, run_transaction

__all__ = [
    "READS",
    "SESSIONS",
    "VALUE_BYTES_MAX",
    "WRITES",
    "Answer",
    "CommandError",
    "CommandKind",
    "CompactedError",
    "KeySpace",
    "KvEntry",
    "Session",
    "Store",
    "Topic",
    "decode_state_untrusted",
    "encode_command",
    "run_transaction",
]
