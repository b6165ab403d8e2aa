"""The state machine on top of Raft: the public names."""

from svcmesh.consensus.store.commands import (
    Answer,
    CommandError,
    CommandKind,
    encode_command,
)
from svcmesh.consensus.store.keys import CompactedError, KeySpace
from svcmesh.consensus.store.records import VALUE_BYTES_MAX, KvEntry, Row, Session
from svcmesh.consensus.store.state import AUTOPILOT_UNSET, LoadedState, StateLoader
from svcmesh.consensus.store.store import SESSIONS, Store, Topic
from svcmesh.consensus.store.transactions import READS, WRITES, run_transaction

__all__ = [
    "AUTOPILOT_UNSET",
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
    "LoadedState",
    "Row",
    "Session",
    "StateLoader",
    "Store",
    "Topic",
    "encode_command",
    "run_transaction",
]
