"""Messages as what msgpack carries, and back. Reading gives a message or raises `DecodeError`."""

from collections.abc import Callable
from typing import Any, Final

from svcmesh.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from svcmesh.consensus.raft.types import Entry, EntryKind, LogIndex, Membership, ReadId, Term
from svcmesh.errors import DecodeError

Packed = list[Any]
"""A number for the kind, then the fields."""

NUMBER_MAX: Final = 2**63 - 1


def pack_message(message: Message) -> Packed:
    """As a list of numbers, booleans, bytes and lists."""
    match message:
        case VoteRequest(term, last_index, last_term, is_pre, is_transfer):
            return [0, term, last_index, last_term, is_pre, is_transfer]
        case VoteReply(term, is_granted, is_pre):
            return [1, term, is_granted, is_pre]
        case AppendRequest(term, prev_index, prev_term, entries, commit):
            # Where they stand follows from `prev_index`.
            packed = [(entry.term, entry.kind, entry.data) for entry in entries]
            return [2, term, prev_index, prev_term, packed, commit]
        case AppendReply(term, is_ok, index, hint_index, hint_term):
            return [3, term, is_ok, index, hint_index, hint_term]
        case Heartbeat(term, commit, round_):
            return [4, term, commit, round_]
        case HeartbeatReply(term, round_):
            return [5, term, round_]
        case TimeoutNow(term):
            return [6, term]
        case ReadRequest(term, id_, by_lease):
            return [7, term, id_, by_lease]
        case ReadReply(term, id_, index):
            return [8, term, id_, index]


def unpack_message_untrusted(packed: object) -> Message:
    """Read a message.

    Raises:
        DecodeError: It is none.
    """
    if not isinstance(packed, list) or not packed:
        raise DecodeError("raft-message", "a list with a kind")
    kind, *fields = packed
    read = _READERS.get(kind) if isinstance(kind, int) else None
    if read is None:
        raise DecodeError("raft-message", f"unknown kind {kind!r:.20}")
    try:
        return read(*fields)
    except (TypeError, ValueError) as error:
        raise DecodeError("raft-message", str(error)) from error


def _vote_request(
    term: object, last_index: object, last_term: object, is_pre: object, is_transfer: object
) -> Message:
    return VoteRequest(
        _term(term), _index(last_index), _term(last_term), _flag(is_pre), _flag(is_transfer)
    )


def _vote_reply(term: object, is_granted: object, is_pre: object) -> Message:
    return VoteReply(_term(term), _flag(is_granted), _flag(is_pre))


def _append_request(
    term: object, prev_index: object, prev_term: object, packed: object, commit: object
) -> Message:
    previous = _index(prev_index)
    if not isinstance(packed, list):
        raise ValueError("entries are a list")
    entries = tuple(_entry(previous + 1 + n, item) for n, item in enumerate(packed))
    return AppendRequest(_term(term), previous, _term(prev_term), entries, _index(commit))


def _entry(index: int, packed: object) -> Entry:
    match packed:
        case [term, int() as kind, bytes() as data]:
            entry = Entry(LogIndex(index), _term(term), EntryKind(kind), data)
        case _:
            raise ValueError("an entry is [term, kind, bytes]")
    if entry.kind == EntryKind.MEMBERS:
        try:
            Membership.decode_untrusted(data)
        except DecodeError as error:
            raise ValueError(str(error)) from error
    return entry


def _append_reply(
    term: object, is_ok: object, index: object, hint_index: object, hint_term: object
) -> Message:
    return AppendReply(
        _term(term), _flag(is_ok), _index(index), _index(hint_index), _term(hint_term)
    )


def _heartbeat(term: object, commit: object, round_: object) -> Message:
    return Heartbeat(_term(term), _index(commit), _number(round_))


def _heartbeat_reply(term: object, round_: object) -> Message:
    return HeartbeatReply(_term(term), _number(round_))


def _timeout_now(term: object) -> Message:
    return TimeoutNow(_term(term))


def _read_request(term: object, id_: object, by_lease: object) -> Message:
    return ReadRequest(_term(term), ReadId(_number(id_)), _flag(by_lease))


def _read_reply(term: object, id_: object, index: object) -> Message:
    return ReadReply(_term(term), ReadId(_number(id_)), _index(index))


_READERS: Final[dict[int, Callable[..., Message]]] = {
    0: _vote_request,
    1: _vote_reply,
    2: _append_request,
    3: _append_reply,
    4: _heartbeat,
    5: _heartbeat_reply,
    6: _timeout_now,
    7: _read_request,
    8: _read_reply,
}


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= NUMBER_MAX:
        raise ValueError(f"a number from 0 on, not {value!r:.20}")
    return value


def _term(value: object) -> Term:
    return Term(_number(value))


def _index(value: object) -> LogIndex:
    return LogIndex(_number(value))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false, not {value!r:.20}")
    return value
