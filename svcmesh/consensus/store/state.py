"""The state as bytes: what a snapshot holds, written in parts and read in parts.

A msgpack stream: the head (a map), then `[kind, rows]` for entries, deletions, history, and parts
of another state that is being restored. Format 1 had nothing but entries, without a kind.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from svcmesh.consensus.store.commands import Decoded
from svcmesh.consensus.store.keys import Change, KeySpace
from svcmesh.consensus.store.records import Row, Session
from svcmesh.errors import DecodeError

FORMAT: Final = 2
FORMATS: Final = (1, 2)
ROWS_PER_PART: Final = 500
ITEM_BYTES_MAX: Final = 512 * 1024 * 1024

_NIL: Final = msgpack.packb(None)

ENTRIES, DELETIONS, HISTORY, RESTORING = "k", "d", "h", "r"

AUTOPILOT_DEFAULTS: Final[dict[str, Any]] = {
    "cleanup_dead_servers": True,
    "disable_upgrade_migration": False,
    "last_contact_threshold": "200ms",
    "max_trailing_logs": 250,
    "min_quorum": 0,
    "redundancy_zone_tag": "",
    "server_stabilization_time": "10s",
    "upgrade_version_tag": "",
}
"""Three are of Consul Enterprise: kept and shown as Consul does, for tools that set them all."""
AUTOPILOT_UNSET: Final = 1
"""The index of settings that nobody has written yet."""

_ROW_TYPES: Final = (str, bytes, int, int, str, int, int)
_SESSION_TYPES: Final = (str, str, str, tuple, tuple, int, str, str, int, int, tuple)


def encode_state(
    head: dict[str, Any], keys: KeySpace, restoring: Iterable[bytes]
) -> Iterator[bytes]:
    """Give a state in parts.

    The head and what is listed is taken now; keys may change between two parts, which the walk over
    them does not see. Whoever asks for a part and whoever changes keys is the same thread.
    """
    walk = keys.walk()
    changes, deletions = keys.history(), keys.deletions()
    packed_head = msgpack.packb({**head, "format": FORMAT})
    raw = list(restoring)

    def parts() -> Iterator[bytes]:
        yield packed_head
        for entries in walk.parts():
            yield msgpack.packb([ENTRIES, entries])
        for kind, rows in ((DELETIONS, deletions), (HISTORY, changes)):
            for start in range(0, len(rows), ROWS_PER_PART):
                yield msgpack.packb([kind, rows[start : start + ROWS_PER_PART]])
        for part in raw:
            yield msgpack.packb([RESTORING, part])

    return parts()


@dataclass(frozen=True, slots=True)
class LoadedState:
    """A state that was read, and belongs to nobody yet."""

    head: dict[str, Any]
    sessions: list[Session]
    keys: KeySpace
    restoring: list[bytes]


class StateReader:
    """Takes a state apart, in pieces of any size; rows are not looked at."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=ITEM_BYTES_MAX)
        self.head: dict[str, Any] | None = None
        self.sessions: list[Session] = []

    def feed_untrusted(self, data: bytes | memoryview) -> Iterator[tuple[Any, Any]]:
        """Take the next bytes; what is whole by now: kinds and rows.

        Raises:
            DecodeError: They are of no state; this reader is of no use any more.
        """
        try:
            self._unpacker.feed(data)
            for item in self._unpacker:
                if self.head is None:
                    self._take_head(item)
                elif self.head["format"] == 1:
                    yield ENTRIES, item
                else:
                    kind, rows = item
                    yield kind, rows
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise DecodeError("store-state", str(error) or type(error).__name__) from error

    def finish(self) -> dict[str, Any]:
        """The head, when all of the state was fed.

        Raises:
            DecodeError: It is not whole.
        """
        # Whatever is missing, this would become a part of it, or end up in its place.
        self._unpacker.feed(_NIL)
        try:
            is_whole = list(self._unpacker) == [None]
        except (ValueError, TypeError, msgpack.UnpackException):
            is_whole = False
        if self.head is None or not is_whole:
            raise DecodeError("store-state", "it is cut short")
        return self.head

    def _take_head(self, head: Decoded) -> None:
        if not isinstance(head, dict) or head.get("format") not in FORMATS:
            raise DecodeError("store-state", "not a state of this version")
        self.sessions = _check_head(head)
        self.head = head


class StateLoader:
    """Builds a state from pieces of any size."""

    def __init__(self) -> None:
        self._reader = StateReader()
        self._keys = KeySpace()
        self._restoring: list[bytes] = []

    def feed_untrusted(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            DecodeError: They are of no state; this loader is of no use any more.
        """
        try:
            for kind, rows in self._reader.feed_untrusted(data):
                self._take_rows(kind, rows)
        except (ValueError, TypeError) as error:
            raise DecodeError("store-state", str(error)) from error

    def finish(self) -> LoadedState:
        """The state, when all of it was fed.

        Raises:
            DecodeError: It is not whole.
        """
        head = self._reader.finish()
        index = head["key_index"]
        self._keys.finish_loading(
            index=index,
            floor=head.get("history_floor", index),
            forgotten=head.get("forgotten_index", index),
        )
        return LoadedState(head, self._reader.sessions, self._keys, self._restoring)

    def _take_rows(self, kind: Decoded, rows: Decoded) -> None:
        match kind:
            case "k":
                self._keys.load([_row(packed) for packed in rows])
            case "d":
                self._keys.load_deletions([_deletion(packed) for packed in rows])
            case "h":
                self._keys.load_history([_change(packed) for packed in rows])
            case "r" if type(rows) is bytes:
                self._restoring.append(rows)
            case _:
                raise ValueError("a part of another kind")


def _row(packed: Decoded) -> Row:
    if tuple(map(type, packed)) != _ROW_TYPES:
        raise ValueError("an entry of another shape")
    return tuple(packed)


def _deletion(packed: Decoded) -> tuple[str, int]:
    key, index = packed
    if (type(key), type(index)) != (str, int):
        raise ValueError("a deletion of another shape")
    return key, index


def _change(packed: Decoded) -> Change:
    index, key, before = packed
    if (type(index), type(key)) != (int, str):
        raise ValueError("a change of another shape")
    return index, key, None if before is None else _row(before)


def _check_head(head: dict[str, Any]) -> list[Session]:
    """The sessions in a head, if all of it has the right shape."""
    sessions = [Session.unpack(packed) for packed in head["sessions"]]
    for session in sessions:
        names = [*session.check_ids, *(namespace for _, namespace in session.service_checks)]
        if tuple(map(type, session)) != _SESSION_TYPES or not all(type(n) is str for n in names):
            raise ValueError("a session of another shape")
    for name in ("index", "key_index", "session_index", "autopilot_index"):
        if type(head[name]) is not int:
            raise ValueError(f"{name} is no number")
    for name in ("history_floor", "forgotten_index"):
        if type(head.get(name, 0)) is not int:
            raise ValueError(f"{name} is no number")
    for name in ("delays", "sequences"):
        if any((type(k), type(v)) != (str, int) for k, v in dict(head[name]).items()):
            raise ValueError(f"{name} of another shape")
    for name, value in dict(head["autopilot"]).items():
        if type(value) is not type(AUTOPILOT_DEFAULTS.get(name)):
            raise ValueError(f"an unknown setting: {name}")
    match head.get("restoring"):
        case None | [str(), int()]:
            pass
        case _:
            raise ValueError("a restoration of another shape")
    return sessions
