"""The state machine of the consistent store: commands in, answers out, watches fired.

A function of the log alone: no clock, no randomness, nothing that differs between servers but who
watches. Only what is applied here is ever read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgpack

from svcmesh.consensus.store.commands import Answer, CommandError, CommandKind, decode_command
from svcmesh.consensus.store.keys import KeySpace
from svcmesh.consensus.store.locking import KeyWriter
from svcmesh.consensus.store.records import KvEntry, Session
from svcmesh.consensus.store.sessions import SessionTable
from svcmesh.consensus.store.transactions import run_transaction
from svcmesh.errors import DecodeError
from svcmesh.watches import Watch, WatchRegistry

FORMAT: Final = 1
ENTRIES_PER_PART: Final = 1000
RESTORE_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
SEQUENCE_DIGITS: Final = 10

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


class Topic(NamedTuple):
    """What a query can wait for: ("key", k), ("prefix", p), ("session", id), ("sessions", "")."""

    part: str
    name: str


SESSIONS: Final = Topic("sessions", "")


class Store:
    """Keys, sessions and settings, as the log says. The state machine that Raft runs."""

    def __init__(self) -> None:
        self.keys = KeySpace()
        self.sessions = SessionTable()
        self.autopilot = dict(AUTOPILOT_DEFAULTS)
        self.autopilot_index = 1
        self.index = 0
        """Of the last command that was applied."""
        self._sequences: dict[str, int] = {}
        self._watches: WatchRegistry[Topic] = WatchRegistry()
        self._prefix_lengths: dict[int, int] = {}
        """Lengths of watched prefixes, and how many watches have each."""
        self._restoring: tuple[str, bytearray] | None = None
        self._commands: dict[CommandKind, Callable[[Any, int, int], Any]] = {
            CommandKind.SET: self._set,
            CommandKind.CAS: self._cas,
            CommandKind.SEQUENCE: self._sequence,
            CommandKind.LOCK: self._lock,
            CommandKind.UNLOCK: self._unlock,
            CommandKind.DELETE: self._delete,
            CommandKind.DELETE_CAS: self._delete_cas,
            CommandKind.DELETE_TREE: self._delete_tree,
            CommandKind.TRANSACTION: self._transaction,
            CommandKind.SESSION_CREATE: self._create_session,
            CommandKind.SESSION_DESTROY: self._destroy_session,
            CommandKind.AUTOPILOT_SET: self._set_autopilot,
            CommandKind.RESTORE_BEGIN: self._begin_restore,
            CommandKind.RESTORE_PART: self._restore_part,
            CommandKind.RESTORE_END: self._end_restore,
        }

    # -- Raft's state machine ---------------------------------------------------------------------

    def apply(self, index: int, command: bytes) -> Answer:
        """Apply one command; what it answers. A refused one changes nothing."""
        self.index = index
        self.keys.begin()
        try:
            kind, wall_ms, body = decode_command(command)
            value = self._commands[kind](body, index, wall_ms)
        except (CommandError, ValueError, TypeError) as error:
            # Every server refuses it alike: it says the same everywhere.
            self.keys.undo()
            return ["error", str(error)]
        self._fire_keys(self.keys.take_changed())
        return ["ok", value]

    def freeze(self) -> Iterator[bytes]:
        """The state in parts; what changes later is not in it."""
        head = {
            "format": FORMAT,
            "index": self.index,
            "key_index": self.keys.index,
            "session_index": self.sessions.index,
            "sessions": [session.pack() for session in self.sessions.all()],
            "delays": self.sessions.delays(),
            "sequences": dict(self._sequences),
            "autopilot": dict(self.autopilot),
            "autopilot_index": self.autopilot_index,
        }
        return _parts(msgpack.packb(head), self.keys.freeze())

    def restore(self, state: bytes) -> None:
        """Take a frozen state for the present one.

        Raises:
            DecodeError: It is none; nothing has changed.
        """
        head, entries = decode_state_untrusted(state)
        self.index = head["index"]
        self._take(head, entries, key_index=head["key_index"], session_index=head["session_index"])

    # -- watching -------------------------------------------------------------------------------

    def watch(self, topics: Iterable[Topic], on_change: Callable[[], None]) -> Watch[Topic]:
        """Call `on_change` once, after the next change of any of `topics`."""
        watch = self._watches.add(topics, on_change)
        for topic in watch.topics:
            if topic.part == "prefix":
                length = len(topic.name)
                self._prefix_lengths[length] = self._prefix_lengths.get(length, 0) + 1
        return watch

    def cancel_watch(self, watch: Watch[Topic]) -> None:
        """Forget a watch, fired or not; call it once for every watch."""
        self._watches.cancel(watch)
        for topic in watch.topics:
            if topic.part == "prefix":
                length = len(topic.name)
                self._prefix_lengths[length] -= 1
                if not self._prefix_lengths[length]:
                    del self._prefix_lengths[length]

    def _fire_keys(self, keys: Iterable[str]) -> None:
        if not len(self._watches):
            return
        topics: dict[Topic, None] = {}
        for key in keys:
            topics[Topic("key", key)] = None
            for length in self._prefix_lengths:
                if length <= len(key):
                    topics[Topic("prefix", key[:length])] = None
        self._watches.fire(topics)

    # -- commands on keys -------------------------------------------------------------------------

    def _set(self, body: Any, index: int, wall_ms: int) -> bool:  # noqa: ANN401 -- a decoded body
        key, value, flags = body
        self._writer(index, wall_ms).put(key, value, flags)
        return True

    def _cas(self, body: Any, index: int, wall_ms: int) -> bool:  # noqa: ANN401
        key, value, flags, expected = body
        writer = self._writer(index, wall_ms)
        return writer.compare_and_put(key, value, flags, expected) is not None

    def _sequence(self, body: Any, index: int, wall_ms: int) -> str:  # noqa: ANN401
        prefix, value, flags, session = body
        number = self._sequences.get(prefix, 0)
        # Somebody may have written such a key by hand: it stays.
        while self.keys.get(key := f"{prefix}{number:0{SEQUENCE_DIGITS}d}") is not None or (
            session and self.sessions.is_delayed(key, wall_ms=wall_ms)
        ):
            number += 1
        writer = self._writer(index, wall_ms)
        if session:
            writer.lock(key, value, flags, session)
        else:
            writer.put(key, value, flags)
        self._sequences[prefix] = number + 1
        return key

    def _lock(self, body: Any, index: int, wall_ms: int) -> bool:  # noqa: ANN401
        key, value, flags, session = body
        return self._writer(index, wall_ms).lock(key, value, flags, session) is not None

    def _unlock(self, body: Any, index: int, wall_ms: int) -> bool:  # noqa: ANN401
        key, value, flags, session = body
        return self._writer(index, wall_ms).unlock(key, value, flags, session) is not None

    def _delete(self, body: Any, index: int, _: int) -> bool:  # noqa: ANN401
        (key,) = body
        self.keys.delete(key, index=index)
        return True

    def _delete_cas(self, body: Any, index: int, _: int) -> bool:  # noqa: ANN401
        key, expected = body
        entry = self.keys.get(key)
        # One that is not there is as the caller wants it.
        if entry is not None and entry.modify_index != expected:
            return False
        self.keys.delete(key, index=index)
        return True

    def _delete_tree(self, body: Any, index: int, _: int) -> bool:  # noqa: ANN401
        (prefix,) = body
        self.keys.delete_below(prefix, index=index)
        return True

    def _transaction(self, body: Any, index: int, wall_ms: int) -> list[Any]:  # noqa: ANN401
        results, problems = run_transaction(
            body, self.keys, self.sessions, index=index, wall_ms=wall_ms
        )
        if problems:
            self.keys.undo()
            self.keys.begin()
        return [[[entry.pack(), with_value] for entry, with_value in results], problems]

    def _writer(self, index: int, wall_ms: int) -> KeyWriter:
        return KeyWriter(self.keys, self.sessions, index=index, wall_ms=wall_ms)

    # -- other commands ---------------------------------------------------------------------------

    def _create_session(self, body: Any, index: int, _: int) -> str:  # noqa: ANN401
        session = Session.unpack(body)._replace(create_index=index, modify_index=index)
        if self.sessions.get(session.id) is not None:
            raise CommandError(f"session {session.id} exists")
        self.sessions.add(session)
        self._watches.fire((SESSIONS, Topic("session", session.id)))
        return session.id

    def _destroy_session(self, body: Any, index: int, wall_ms: int) -> bool:  # noqa: ANN401
        session_id, is_delayed = body
        session = self.sessions.remove(session_id, index=index)
        if session is None:
            return False
        writer = self._writer(index, wall_ms)
        for key in self.keys.held_by(session_id):
            if session.behavior == "delete":
                self.keys.delete(key, index=index)
            else:
                writer.release(key)
            if is_delayed and session.lock_delay_ns:
                until_ms = wall_ms + session.lock_delay_ns // 1_000_000
                self.sessions.delay(key, until_ms=until_ms, wall_ms=wall_ms)
        self._watches.fire((SESSIONS, Topic("session", session_id)))
        return True

    def _set_autopilot(self, body: Any, index: int, _: int) -> bool:  # noqa: ANN401
        settings, expected = body
        for name, value in settings.items():
            if type(value) is not type(AUTOPILOT_DEFAULTS.get(name)):
                raise CommandError(f"an unknown setting: {name}")
        if expected is not None and expected != self.autopilot_index:
            return False
        self.autopilot = {**AUTOPILOT_DEFAULTS, **settings}
        self.autopilot_index = index
        return True

    def _begin_restore(self, body: Any, _: int, __: int) -> bool:  # noqa: ANN401
        (restore_id,) = body
        self._restoring = (restore_id, bytearray())
        return True

    def _restore_part(self, body: Any, _: int, __: int) -> bool:  # noqa: ANN401
        restore_id, part = body
        self._check_restoring(restore_id, len(part)).extend(part)
        return True

    def _end_restore(self, body: Any, index: int, _: int) -> bool:  # noqa: ANN401
        (restore_id,) = body
        state = bytes(self._check_restoring(restore_id, 0))
        self._restoring = None
        try:
            head, entries = decode_state_untrusted(state)
        except DecodeError as error:
            raise CommandError(f"snapshot: {error}") from error
        self._take(head, entries, key_index=index, session_index=index)
        return True

    def _check_restoring(self, restore_id: str, more_bytes: int) -> bytearray:
        if self._restoring is None or self._restoring[0] != restore_id:
            raise CommandError("another snapshot is being restored")
        content = self._restoring[1]
        if len(content) + more_bytes > RESTORE_BYTES_MAX:
            self._restoring = None
            raise CommandError("the snapshot is too large")
        return content

    def _take(
        self, head: dict[str, Any], entries: list[KvEntry], *, key_index: int, session_index: int
    ) -> None:
        before = [entry.key for entry in self.keys.freeze()]
        sessions = [Session.unpack(packed) for packed in head["sessions"]]
        gone = [session.id for session in self.sessions.all()]
        self.keys.restore(entries, index=key_index)
        self.sessions.restore(sessions, head["delays"], index=session_index)
        self._sequences = dict(head["sequences"])
        self.autopilot = {**AUTOPILOT_DEFAULTS, **head["autopilot"]}
        self.autopilot_index = head["autopilot_index"]
        self._restoring = None
        if len(self._watches):
            self._fire_keys({*before, *(entry.key for entry in entries)})
            changed = {*gone, *(session.id for session in sessions)}
            self._watches.fire([SESSIONS, *(Topic("session", id_) for id_ in sorted(changed))])


def _parts(head: bytes, entries: list[KvEntry]) -> Iterator[bytes]:
    yield head
    for start in range(0, len(entries), ENTRIES_PER_PART):
        yield msgpack.packb(entries[start : start + ENTRIES_PER_PART])


def decode_state_untrusted(state: bytes) -> tuple[dict[str, Any], list[KvEntry]]:
    """Read what `Store.freeze` gave.

    Raises:
        DecodeError: It is none.
    """
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
    unpacker.feed(state)
    entries: list[KvEntry] = []
    try:
        head = next(unpacker)
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise DecodeError("store-state", "not a state of this version")
        # Not `for part in unpacker`: it would end quietly at a part that is cut short.
        while unpacker.tell() < len(state):
            entries += [_entry_untrusted(packed) for packed in unpacker.unpack()]
        _check_head_untrusted(head)
    except (ValueError, TypeError, KeyError, StopIteration, msgpack.UnpackException) as error:
        raise DecodeError("store-state", str(error)) from error
    return head, entries


_ENTRY_TYPES: Final = (str, bytes, int, int, str, int, int)
_SESSION_TYPES: Final = (str, str, str, tuple, tuple, int, str, str, int, int)


def _entry_untrusted(packed: Any) -> KvEntry:  # noqa: ANN401 -- decoded bytes
    entry = KvEntry(*packed)
    if tuple(map(type, entry)) != _ENTRY_TYPES:
        raise ValueError("an entry of another shape")
    return entry


def _check_head_untrusted(head: dict[str, Any]) -> None:
    for packed in head["sessions"]:
        session = Session.unpack(packed)
        names = [*session.node_checks, *(part for pair in session.service_checks for part in pair)]
        if tuple(map(type, session)) != _SESSION_TYPES or not all(type(n) is str for n in names):
            raise ValueError("a session of another shape")
    for name in ("index", "key_index", "session_index", "autopilot_index"):
        if type(head[name]) is not int:
            raise ValueError(f"{name} is no number")
    for name in ("delays", "sequences"):
        if any((type(k), type(v)) != (str, int) for k, v in dict(head[name]).items()):
            raise ValueError(f"{name} of another shape")
    for name, value in dict(head["autopilot"]).items():
        if type(value) is not type(AUTOPILOT_DEFAULTS.get(name)):
            raise ValueError(f"an unknown setting: {name}")
