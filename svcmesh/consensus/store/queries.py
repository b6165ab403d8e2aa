"""What can be asked of the state: each query names what it waits for, its index, and its answer.

Answers are what msgpack carries, because a server may be asked by another agent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from svcmesh.consensus.store.commands import CommandError, is_transaction
from svcmesh.consensus.store.keys import CompactedError
from svcmesh.consensus.store.store import SESSIONS, Store, Topic
from svcmesh.consensus.store.transactions import WRITES, run_transaction


@dataclass(frozen=True, slots=True)
class Found:
    """One answer, as of now."""

    index: int
    """Of the last change of what was asked for."""
    value: Any  # what msgpack carries


@dataclass(frozen=True, slots=True)
class Query:
    """How one kind of question is answered."""

    arguments: tuple[type, ...]
    """Of another agent; nothing else gets to the two functions below."""
    topics: Callable[..., tuple[Topic, ...]]
    find: Callable[..., Found]

    def takes_untrusted(self, arguments: Sequence[object]) -> bool:
        """Whether these are what is asked with; a transaction's operations included."""
        return tuple(map(type, arguments)) == self.arguments and all(
            is_transaction(one) for one in arguments if isinstance(one, list)
        )


def _get(store: Store, key: str) -> Found:
    entry = store.keys.get(key)
    return Found(store.keys.key_index(key), None if entry is None else entry.pack())


def _list(store: Store, prefix: str) -> Found:
    entries = [entry.pack() for entry in store.keys.below(prefix)]
    return Found(store.keys.prefix_index(prefix), entries)


def _keys(store: Store, prefix: str, separator: str) -> Found:
    return Found(store.keys.prefix_index(prefix), store.keys.keys_below(prefix, separator))


def _at(store: Store, prefix: str, revision: int, is_exact: bool) -> Found:
    """Answers [where history begins, entries], or None in their place for what it forgot."""
    index = min(revision, store.index)
    try:
        entries = store.keys.at(revision, prefix, is_exact=is_exact)
    except CompactedError as error:
        return Found(index, [error.floor, None])
    return Found(index, [store.keys.history_floor, [entry.pack() for entry in entries]])


def _changes(store: Store, prefix: str, after: int, is_exact: bool) -> Found:
    """Answers [where history begins, changes]; None in their place if some may be forgotten."""
    if not after:
        return Found(store.keys.index, [store.keys.history_floor, []])
    try:
        found = store.keys.changes(after, prefix, is_exact=is_exact)
    except CompactedError as error:
        # An index above `after`, or a question that waits would go on waiting.
        return Found(max(store.index, after + 1), [error.floor, None])
    changes = [[index, key, None if now is None else now.pack()] for index, key, now in found]
    return Found(found[-1][0] if found else min(after, store.index), [0, changes])


def _read_transaction(store: Store, operations: list[Any]) -> Found:
    if any(operation[0] in WRITES for operation in operations):
        raise CommandError("a transaction that writes is no query")
    results, problems = run_transaction(
        operations, store.keys, store.sessions, index=store.index, wall_ms=0
    )
    packed = [[entry.pack(), with_value] for entry, with_value in results]
    return Found(store.index, [packed, problems])


def _session(store: Store, session_id: str) -> Found:
    session = store.sessions.get(session_id)
    if session is None:
        return Found(max(1, store.sessions.index), None)
    return Found(session.modify_index, session.pack())


def _sessions(store: Store) -> Found:
    sessions = [session.pack() for session in store.sessions.all()]
    return Found(max(1, store.sessions.index), sessions)


def _sessions_of_node(store: Store, node: str) -> Found:
    sessions = [session.pack() for session in store.sessions.of_node(node)]
    return Found(max(1, store.sessions.index), sessions)


def _autopilot(store: Store) -> Found:
    return Found(store.autopilot_index, dict(store.autopilot))


QUERIES: Final[dict[str, Query]] = {
    "kv.get": Query((str,), lambda key: (Topic("key", key),), _get),
    "kv.list": Query((str,), lambda prefix: (Topic("prefix", prefix),), _list),
    "kv.keys": Query((str, str), lambda prefix, _: (Topic("prefix", prefix),), _keys),
    "kv.at": Query((str, int, bool), lambda *_: (), _at),
    "kv.changes": Query(
        (str, int, bool),
        lambda prefix, _, is_exact: (Topic("key" if is_exact else "prefix", prefix),),
        _changes,
    ),
    "txn.read": Query((list,), lambda *_: (), _read_transaction),
    "session.get": Query((str,), lambda session_id: (Topic("session", session_id),), _session),
    "session.list": Query((), lambda: (SESSIONS,), _sessions),
    "session.node": Query((str,), lambda _: (SESSIONS,), _sessions_of_node),
    "autopilot.get": Query((), lambda: (), _autopilot),
}
