"""Transactions on keys: every operation, or none (Consul's `/v1/txn`).

An operation is `[verb, key, value, flags, index, session]`; a result the entry that it gives, or
None. Operations see what those before them did.
"""

from typing import Any, Final

from svcmesh.consensus.store.commands import CommandError
from svcmesh.consensus.store.keys import KeySpace
from svcmesh.consensus.store.locking import KeyWriter
from svcmesh.consensus.store.records import KvEntry
from svcmesh.consensus.store.sessions import SessionTable

READS: Final = frozenset({"get", "get-tree", "check-index", "check-session", "check-not-exists"})
WRITES: Final = frozenset({"set", "cas", "lock", "unlock", "delete", "delete-cas", "delete-tree"})

Results = list[tuple[KvEntry, bool]]
"""Entries, and whether with their values."""
Problems = list[tuple[int, str]]
"""Numbers of operations, and why they failed."""


def run_transaction(
    operations: list[Any], keys: KeySpace, sessions: SessionTable, *, index: int, wall_ms: int
) -> tuple[Results, Problems]:
    """Run operations on the state; what they do is undone by the caller when there are problems.

    For one that only reads, `index` is not used.
    """
    run = _Run(keys, sessions, KeyWriter(keys, sessions, index=index, wall_ms=wall_ms), index)
    results: Results = []
    problems: Problems = []
    for number, (verb, key, value, flags, expected, session) in enumerate(operations):
        try:
            results += run.one(verb, key, value, flags, expected, session)
        except CommandError as error:
            problems.append((number, str(error)))
    return results, problems


class _Run:
    def __init__(
        self, keys: KeySpace, sessions: SessionTable, writer: KeyWriter, index: int
    ) -> None:
        self._keys, self._sessions, self._writer, self._index = keys, sessions, writer, index

    def one(
        self, verb: str, key: str, value: bytes, flags: int, expected: int, session: str
    ) -> Results:
        keys, writer = self._keys, self._writer
        entry: KvEntry | None
        match verb:
            case "set":
                return [(writer.put(key, value, flags), False)]
            case "cas":
                entry = writer.compare_and_put(key, value, flags, expected)
                return _done(entry, f'failed to set key "{key}", index is stale')
            case "lock":
                entry = writer.lock(key, value, flags, session)
                return _done(entry, f'failed to lock key "{key}", lock is already held')
            case "unlock":
                entry = writer.unlock(key, value, flags, session)
                problem = "lock isn't held, or is held by another session"
                return _done(entry, f'failed to unlock key "{key}", {problem}')
            case "delete":
                keys.delete(key, index=self._index)
                return []
            case "delete-cas":
                entry = keys.get(key)
                if entry is not None and entry.modify_index != expected:
                    raise CommandError(f'failed to delete key "{key}", index is stale')
                keys.delete(key, index=self._index)
                return []
            case "delete-tree":
                keys.delete_below(key, index=self._index)
                return []
            case "get":
                return [(self._known(key), True)]
            case "get-tree":
                return [(entry, True) for entry in keys.below(key)]
            case "check-session":
                known = self._known(key, failed="failed to check session, ")
                if known.session != session:
                    raise CommandError(
                        f'failed session check for key "{key}", current session '
                        f'"{known.session}" != "{session}"'
                    )
                return [(known, False)]
            case "check-index":
                known = self._known(key, failed="failed to check index, ")
                if known.modify_index != expected:
                    raise CommandError(
                        f'failed index check for key "{key}", current modify index '
                        f"{known.modify_index} != {expected}"
                    )
                return [(known, False)]
            case "check-not-exists":
                if keys.get(key) is not None:
                    raise CommandError(f'key "{key}" exists')
                return []
            case _:
                raise CommandError(f'unknown KV verb "{verb}"')

    def _known(self, key: str, *, failed: str = "") -> KvEntry:
        entry = self._keys.get(key)
        if entry is None:
            raise CommandError(f'{failed}key "{key}" doesn\'t exist')
        return entry


def _done(entry: KvEntry | None, problem: str) -> Results:
    if entry is None:
        raise CommandError(problem)
    return [(entry, False)]
