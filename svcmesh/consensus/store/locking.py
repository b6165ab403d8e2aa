"""What a write does to a key: plain, compared, locked (Consul 1.8's rules, oddities included)."""

from svcmesh.consensus.store.commands import CommandError
from svcmesh.consensus.store.keys import KeySpace
from svcmesh.consensus.store.records import VALUE_BYTES_MAX, KvEntry
from svcmesh.consensus.store.sessions import SessionTable


class KeyWriter:
    """Writes to the keys at one index and instant; made anew for every command."""

    def __init__(self, keys: KeySpace, sessions: SessionTable, *, index: int, wall_ms: int) -> None:
        self._keys, self._sessions = keys, sessions
        self._index, self._wall_ms = index, wall_ms

    def put(self, key: str, value: bytes, flags: int) -> KvEntry:
        """Write a key. Who has it locked keeps it, but the count of its locks begins anew."""
        old = self._keys.get(key)
        return self._store(key, value, flags, old=old, session="" if old is None else old.session)

    def compare_and_put(self, key: str, value: bytes, flags: int, expected: int) -> KvEntry | None:
        """Write a key whose index is `expected`, or that is not there for 0; None otherwise."""
        old = self._keys.get(key)
        if (0 if old is None else old.modify_index) != expected:
            return None
        return self.put(key, value, flags)

    def lock(self, key: str, value: bytes, flags: int, session: str) -> KvEntry | None:
        """Write a key and lock it; None when another session has it, or had until lately.

        Raises:
            CommandError: There is no such session; but for a key that nobody may lock yet.
        """
        old = self._keys.get(key)
        holder = "" if old is None else old.session
        if not holder and self._sessions.is_delayed(key, wall_ms=self._wall_ms):
            return None
        if self._sessions.get(session) is None:
            raise CommandError(f"invalid session {session!r}".replace("'", '"'))
        if holder and holder != session:
            return None
        count = 0 if old is None else old.lock_index
        if not holder:
            count += 1
        return self._store(key, value, flags, old=old, session=session, lock_index=count)

    def unlock(self, key: str, value: bytes, flags: int, session: str) -> KvEntry | None:
        """Write a key and let go of its lock; None when the session does not have it.

        Raises:
            CommandError: There is no session, which every unlocked key would be held by.
        """
        if not session:
            raise CommandError("missing session")
        old = self._keys.get(key)
        if old is None or old.session != session:
            return None
        return self._store(key, value, flags, old=old, session="", lock_index=old.lock_index)

    def release(self, key: str) -> None:
        """Let go of a lock whose session is over; the value stays."""
        old = self._keys.get(key)
        assert old is not None
        self._keys.put(old._replace(session="", modify_index=self._index))

    def _store(
        self,
        key: str,
        value: bytes,
        flags: int,
        *,
        old: KvEntry | None,
        session: str,
        lock_index: int = 0,
    ) -> KvEntry:
        if len(value) > VALUE_BYTES_MAX:
            raise CommandError(f"the value of {key!r:.100} is larger than {VALUE_BYTES_MAX} bytes")
        created = self._index if old is None else old.create_index
        entry = KvEntry(key, value, flags, lock_index, session, created, self._index)
        if old is not None and entry._replace(modify_index=old.modify_index) == old:
            # What is there already is not written again: its index stands, and nobody who waits for
            # a change is woken for none. Clients that repeat their state all the time are common.
            return old
        self._keys.put(entry)
        return entry
