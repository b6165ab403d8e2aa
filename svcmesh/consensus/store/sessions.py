"""Sessions, and how long keys of ended ones cannot be locked."""

from collections.abc import Iterable

from svcmesh.consensus.store.records import Session


class SessionTable:
    """All sessions, by id and by node. `index` is that of the last change of any."""

    def __init__(self) -> None:
        self.index = 0
        self.restored_at = 0
        """Of the last command that replaced all sessions."""
        self._sessions: dict[str, Session] = {}
        self._by_node: dict[str, dict[str, None]] = {}
        self._delayed: dict[str, int] = {}
        """Keys, and until when (wall-clock milliseconds) nobody can lock them."""

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_id: str) -> Session | None:
        """The session of this id."""
        return self._sessions.get(session_id)

    def all(self) -> list[Session]:
        """Every session, by id."""
        return [self._sessions[id_] for id_ in sorted(self._sessions)]

    def of_node(self, node: str) -> list[Session]:
        """The sessions of a node, in any letter case, by id."""
        return [self._sessions[id_] for id_ in sorted(self._by_node.get(node.lower(), ()))]

    def by_node(self) -> dict[str, list[Session]]:
        """All sessions by node, in lower case."""
        return {node: [self._sessions[id_] for id_ in ids] for node, ids in self._by_node.items()}

    def add(self, session: Session) -> None:
        """Take in a session; its `modify_index` is the index of the change."""
        self.index = session.modify_index
        self._sessions[session.id] = session
        self._by_node.setdefault(session.node.lower(), {})[session.id] = None

    def remove(self, session_id: str, *, index: int) -> Session | None:
        """Take out a session, if it is there."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self.index = index
            of_node = self._by_node[session.node.lower()]
            del of_node[session_id]
            if not of_node:
                del self._by_node[session.node.lower()]
        return session

    def delay(self, key: str, *, until_ms: int, wall_ms: int) -> None:
        """Let nobody lock a key for a while."""
        self._delayed = {k: until for k, until in self._delayed.items() if until > wall_ms}
        self._delayed[key] = until_ms

    def is_delayed(self, key: str, *, wall_ms: int) -> bool:
        """Whether a key cannot be locked yet."""
        return self._delayed.get(key, 0) > wall_ms

    def delays(self) -> dict[str, int]:
        """Keys that cannot be locked, and until when (wall-clock milliseconds)."""
        return dict(self._delayed)

    def restore(self, sessions: Iterable[Session], delays: dict[str, int], *, index: int) -> None:
        """Take these for all that there is."""
        self.__init__()  # type: ignore[misc] # a new table in the same place
        for session in sessions:
            self.add(session)
        self._delayed, self.index, self.restored_at = dict(delays), index, index
