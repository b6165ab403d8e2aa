"""Commands: what is written into the log, and what the state machine answers.

A command is msgpack `[kind, wall-clock milliseconds, body]`. The clock is the proposer's: the state
machine has none of its own, or servers would disagree. An answer is `["ok", value]` or
`["error", text]`; both travel from server to server.
"""

from enum import StrEnum
from typing import Any, Final

import msgpack

from svcmesh.errors import SvcmeshError

Answer = list[Any]


class CommandError(SvcmeshError):
    """The state machine refused a command; nothing has changed. The text is Consul's."""


class CommandKind(StrEnum):
    """What a command does; its body."""

    SET = "kv.set"
    """key, value, flags"""
    CAS = "kv.cas"
    """key, value, flags, expected index (0: not there); answers whether it was written"""
    SEQUENCE = "kv.sequence"
    """prefix, value, flags, session or empty; answers the key that was made"""
    LOCK = "kv.lock"
    """key, value, flags, session; answers whether it holds the lock now"""
    UNLOCK = "kv.unlock"
    """key, value, flags, session; answers whether it held the lock"""
    DELETE = "kv.delete"
    """key"""
    DELETE_CAS = "kv.delete-cas"
    """key, expected index"""
    DELETE_TREE = "kv.delete-tree"
    """prefix"""
    TRANSACTION = "txn"
    """list of operations, see `transactions.py`"""
    SESSION_CREATE = "session.create"
    """a packed session"""
    SESSION_DESTROY = "session.destroy"
    """id, whether its locks are delayed"""
    AUTOPILOT_SET = "autopilot.set"
    """settings, expected index or None; answers whether they were written"""
    RESTORE_BEGIN = "restore.begin"
    """an id of the restoration"""
    RESTORE_PART = "restore.part"
    """id, bytes"""
    RESTORE_END = "restore.end"
    """id; everything is replaced"""


_KINDS: Final = {kind.value: kind for kind in CommandKind}


def encode_command(kind: CommandKind, body: object, *, wall_ms: int) -> bytes:
    """As it stands in the log."""
    return bytes(msgpack.packb([kind.value, wall_ms, body]))


def decode_command(data: bytes) -> tuple[CommandKind, int, Any]:
    """Read what `encode_command` of this or an older version wrote.

    Raises:
        CommandError: It is none that this version knows.
    """
    try:
        kind, wall_ms, body = msgpack.unpackb(data, strict_map_key=False)
        return _KINDS[kind], int(wall_ms), body
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise CommandError(f"a command that this version does not know: {error}") from error
