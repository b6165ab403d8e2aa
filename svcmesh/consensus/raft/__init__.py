"""Raft as a machine without I/O: the public names."""

from svcmesh.consensus.raft.codec import pack_message, unpack_message_untrusted
from svcmesh.consensus.raft.config import RaftConfig
from svcmesh.consensus.raft.effects import (
    Committed,
    Effect,
    MembersChanged,
    ReadFailed,
    ReadReady,
    Role,
    RoleChanged,
    Save,
    Send,
    SendSnapshot,
    SnapshotInstalled,
)
from svcmesh.consensus.raft.machine import Busy, NotLeader, Raft
from svcmesh.consensus.raft.messages import Message, ReadRequest
from svcmesh.consensus.raft.types import (
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    Membership,
    ReadId,
    SaveToken,
    ServerId,
    SnapshotMeta,
    Term,
)

__all__ = [
    "Busy",
    "Committed",
    "Effect",
    "Entry",
    "EntryKind",
    "HardState",
    "LogIndex",
    "MembersChanged",
    "Membership",
    "Message",
    "NotLeader",
    "Raft",
    "RaftConfig",
    "ReadFailed",
    "ReadId",
    "ReadReady",
    "ReadRequest",
    "Role",
    "RoleChanged",
    "Save",
    "SaveToken",
    "Send",
    "SendSnapshot",
    "ServerId",
    "SnapshotInstalled",
    "SnapshotMeta",
    "Term",
    "pack_message",
    "unpack_message_untrusted",
]
