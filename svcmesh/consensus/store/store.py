"""The state machine of the consistent store: commands in, answers out, watches fired.

A function of the log alone: no clock, no randomness, nothing that differs between servers but who
watches. Only what is applied here is ever read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from svcmesh.consensus.store.commands import (
    Answer,
    CommandError,
    CommandKind,
    Decoded,
    decode_command,
)
from svcmesh.consensus.store.keys import KeySpace
from svcmesh.consensus.store.locking import KeyWriter
from svcmesh.consensus.store.records import Session
from svcmesh.consensus.store.sessions import SessionTable
from svcmesh.consensus.store.state import (
    AUTOPILOT_DEFAULTS,
    AUTOPILOT_UNSET,
    LoadedState,
    StateLoader,
    encode_state,
)
from svcmesh.consensus.store.transactions import run_transaction
from svcmesh.errors import DecodeError
from svcmesh.watches import Watch, WatchRegistry

RESTORE_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
RESTORE_IDLE_MS: Final = 600_000
"""A restoration that nobody goes on with for so long is dropped."""
SEQUENCE_DIGITS: Final = 10


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
        self.autopilot_index = AUTOPILOT_UNSET
        self.index = 0
        """Of the last command that was applied."""
        self._sequences: dict[str, int] = {}
        self._watches: WatchRegistry[Topic] = WatchRegistry()
        self._prefix_lengths: dict[int, int] = {}
        """Lengths of watched prefixes, and how many watches have each."""
        self._restoring: _Restoration | None = None
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
            if self._restoring is not None and wall_ms > self._restoring.ends_at_ms:
                self._restoring = None
            value = self._commands[kind](body, index, wall_ms)
        except (CommandError, ValueError, TypeError) as error:
            # Every server refuses it alike: it says the same everywhere.
            self.keys.undo()
            return ["error", str(error)]
        self._fire_keys(self.keys.take_changed())
        return ["ok", value]

    def freeze(self) -> Iterator[bytes]:
        """The state in parts, as it is now; commands may be applied between two of them."""
        restoring = self._restoring
        head = {
            "index": self.index,
            "key_index": self.keys.index,
            "history_floor": self.keys.history_floor,
            "forgotten_index": self.keys.forgotten_index,
            "session_index": self.sessions.index,
            "sessions": [session.pack() for session in self.sessions.all()],
            "delays": self.sessions.delays(),
            "sequences": dict(self._sequences),
            "autopilot": dict(self.autopilot),
            "autopilot_index": self.autopilot_index,
            "restoring": restoring and [restoring.id, restoring.ends_at_ms],
        }
        return encode_state(head, self.keys, restoring.parts if restoring else ())

    def load(self, state: Iterable[bytes]) -> LoadedState:
        """Read a frozen state, on any thread; nothing changes.

        Raises:
            DecodeError: It is none.
        """
        loader = StateLoader()
        for piece in state:
            loader.feed_untrusted(piece)
        return loader.finish()

    def restore(self, state: LoadedState) -> None:
        """Take a state that was read for the present one."""
        head = state.head
        self.index = head["index"]
        self._take(state, session_index=head["session_index"])
        if head.get("restoring") is not None:
            self._restoring = _Restoration(*head["restoring"])
            for part in state.restoring:
                self._restoring.add(part)

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

    def _set(self, body: Decoded, index: int, wall_ms: int) -> bool:
        key, value, flags = body
        self._writer(index, wall_ms).put(key, value, flags)
        return True

    def _cas(self, body: Decoded, index: int, wall_ms: int) -> bool:
        key, value, flags, expected = body
        writer = self._writer(index, wall_ms)
        return writer.compare_and_put(key, value, flags, expected) is not None

    def _sequence(self, body: Decoded, index: int, wall_ms: int) -> str:
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

    def _lock(self, body: Decoded, index: int, wall_ms: int) -> bool:
        key, value, flags, session = body
        return self._writer(index, wall_ms).lock(key, value, flags, session) is not None

    def _unlock(self, body: Decoded, index: int, wall_ms: int) -> bool:
        key, value, flags, session = body
        return self._writer(index, wall_ms).unlock(key, value, flags, session) is not None

    def _delete(self, body: Decoded, index: int, _: int) -> bool:
        (key,) = body
        self.keys.delete(key, index=index)
        return True

    def _delete_cas(self, body: Decoded, index: int, _: int) -> bool:
        key, expected = body
        entry = self.keys.get(key)
        # One that is not there is as the caller wants it.
        if entry is not None and entry.modify_index != expected:
            return False
        self.keys.delete(key, index=index)
        return True

    def _delete_tree(self, body: Decoded, index: int, _: int) -> bool:
        (prefix,) = body
        self.keys.delete_below(prefix, index=index)
        return True

    def _transaction(self, body: Decoded, index: int, wall_ms: int) -> list[Any]:
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

    def _create_session(self, body: Decoded, index: int, _: int) -> str:
        session = Session.unpack(body)._replace(create_index=index, modify_index=index)
        if self.sessions.get(session.id) is not None:
            raise CommandError(f"session {session.id} exists")
        self.sessions.add(session)
        self._watches.fire((SESSIONS, Topic("session", session.id)))
        return session.id

    def _destroy_session(self, body: Decoded, index: int, wall_ms: int) -> bool:
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

    def _set_autopilot(self, body: Decoded, index: int, _: int) -> bool:
        settings, expected = body
        for name, value in settings.items():
            if type(value) is not type(AUTOPILOT_DEFAULTS.get(name)):
                raise CommandError(f"an unknown setting: {name}")
        if expected is not None and expected != self.autopilot_index:
            return False
        self.autopilot = {**AUTOPILOT_DEFAULTS, **settings}
        self.autopilot_index = index
        return True

    def _begin_restore(self, body: Decoded, _: int, wall_ms: int) -> bool:
        (restore_id,) = body
        self._restoring = _Restoration(restore_id, wall_ms + RESTORE_IDLE_MS)
        return True

    def _restore_part(self, body: Decoded, _: int, wall_ms: int) -> bool:
        restore_id, part = body
        restoring = self._under_way(restore_id)
        try:
            restoring.add(part)
        except DecodeError as error:
            self._restoring = None
            raise CommandError(f"snapshot: {error}") from error
        restoring.ends_at_ms = wall_ms + RESTORE_IDLE_MS
        return True

    def _end_restore(self, body: Decoded, index: int, _: int) -> bool:
        (restore_id,) = body
        restoring = self._under_way(restore_id)
        self._restoring = None
        try:
            state = restoring.loader.finish()
        except DecodeError as error:
            raise CommandError(f"snapshot: {error}") from error
        state.keys.forget_history(index=index)
        self._take(state, session_index=index)
        return True

    def _under_way(self, restore_id: str) -> "_Restoration":
        if self._restoring is None or self._restoring.id != restore_id:
            raise CommandError("another snapshot is being restored")
        return self._restoring

    def _take(self, state: LoadedState, *, session_index: int) -> None:
        head = state.head
        self.keys = state.keys
        self.sessions.restore(state.sessions, head["delays"], index=session_index)
        self._sequences = dict(head["sequences"])
        self.autopilot = {**AUTOPILOT_DEFAULTS, **head["autopilot"]}
        self.autopilot_index = head["autopilot_index"]
        self._restoring = None
        # Everything may be another: to compare would take longer than to wake everybody.
        self._watches.fire(self._watches.topics())


class _Restoration:
    """A state that comes in parts, and takes the place of the present one when it is whole."""

    def __init__(self, id_: str, ends_at_ms: int) -> None:
        self.id, self.ends_at_ms = id_, ends_at_ms
        self.loader = StateLoader()
        self.parts: list[bytes] = []
        """All so far, for a snapshot that is taken meanwhile."""
        self._bytes = 0

    def add(self, part: bytes) -> None:
        """Take the next part.

        Raises:
            DecodeError: It is of no state, or too much.
        """
        self._bytes += len(part)
        if self._bytes > RESTORE_BYTES_MAX:
            raise DecodeError("store-state", "the snapshot is too large")
        self.parts.append(part)
        self.loader.feed_untrusted(part)
