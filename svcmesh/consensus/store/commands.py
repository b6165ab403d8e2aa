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

Decoded = Any
"""What msgpack has decoded; whoever takes it looks at its types, or `decode_command` has."""


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

_SHAPES: Final[dict[CommandKind, tuple[type, ...]]] = {
    CommandKind.SET: (str, bytes, int),
    CommandKind.CAS: (str, bytes, int, int),
    CommandKind.SEQUENCE: (str, bytes, int, str),
    CommandKind.LOCK: (str, bytes, int, str),
    CommandKind.UNLOCK: (str, bytes, int, str),
    CommandKind.DELETE: (str,),
    CommandKind.DELETE_CAS: (str, int),
    CommandKind.DELETE_TREE: (str,),
    CommandKind.SESSION_DESTROY: (str, bool),
    CommandKind.RESTORE_BEGIN: (str,),
    CommandKind.RESTORE_PART: (str, bytes),
    CommandKind.RESTORE_END: (str,),
}
"""The fields of a body, where they are always the same. A stranger's body must not get further:
what is once in the state is in every server's."""

_OPERATION: Final = (str, str, bytes, int, int, str)
_SESSION: Final = (str, str, str, list, list, int, str, str, int, int)
_SESSION_WITH_OLDER_CHECKS: Final = (*_SESSION, list)


def encode_command(kind: CommandKind, body: object, *, wall_ms: int) -> bytes:
    """As it stands in the log."""
    return bytes(msgpack.packb([kind.value, wall_ms, body]))


def decode_command(data: bytes) -> tuple[CommandKind, int, Decoded]:
    """Read what `encode_command` of this or an older version wrote.

    Raises:
        CommandError: It is none that this version knows.
    """
    try:
        kind, wall_ms, body = msgpack.unpackb(data, strict_map_key=False)
        command = _KINDS[kind]
        if not _has_shape(command, body):
            raise CommandError(f"{kind}: the body has another shape")
        return command, int(wall_ms), body
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise CommandError(f"a command that this version does not know: {error}") from error


def is_transaction(body: Decoded) -> bool:
    """Whether it is a list of operations."""
    return isinstance(body, list) and all(_is_like(each, _OPERATION) for each in body)


def _has_shape(kind: CommandKind, body: Decoded) -> bool:
    match kind:
        case CommandKind.TRANSACTION:
            return is_transaction(body)
        case CommandKind.SESSION_CREATE:
            if _is_like(body, _SESSION_WITH_OLDER_CHECKS):
                return _has_checks([*body[3], *body[-1]], body[4])
            return _is_like(body, _SESSION) and _has_checks(body[3], body[4])
        case CommandKind.AUTOPILOT_SET:
            return (
                isinstance(body, list)
                and len(body) == 2
                and isinstance(body[0], dict)
                and type(body[1]) in (int, type(None))
            )
        case _:
            return _is_like(body, _SHAPES[kind])


def _is_like(fields: Decoded, types: tuple[type, ...]) -> bool:
    return isinstance(fields, list) and tuple(map(type, fields)) == types


def _has_checks(node_checks: list[Any], service_checks: list[Any]) -> bool:
    return all(type(check) is str for check in node_checks) and all(
        _is_like(pair, (str, str)) for pair in service_checks
    )
