"""The leader's care for sessions: who has not renewed in time, and whose node or check is unwell.

Only the leader does it. A session's time counts from when the leader last heard of it: after a
change of leader everybody has the whole time again, as in Consul.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from svcmesh.consensus.store import CommandKind, Session, Store
from svcmesh.errors import SvcmeshError
from svcmesh.goformats import parse_duration
from svcmesh.runtime.consensus import Consensus

logger = logging.getLogger("sessions")

LOOK_S: Final = 0.2
TTL_MULTIPLIER: Final = 2
"""A session is over after so many times its TTL without a renewal, as in Consul."""


class SessionKeeper:
    """Ends sessions on the server that leads, from `run` on.

    `is_well(session)` says whether the catalog still has its node, and none of its checks critical;
    that can change only with `catalog_index`.
    """

    def __init__(
        self,
        consensus: Consensus,
        store: Store,
        *,
        is_well: Callable[[Session], bool],
        catalog_index: Callable[[], int],
        end: Callable[[CommandKind, list[Any]], Any],
    ) -> None:
        """`end` writes a command; a coroutine function."""
        self._consensus, self._store = consensus, store
        self._is_well, self._catalog_index, self._end = is_well, catalog_index, end
        self._seen_index = -1
        self._is_settling = False
        self._ends_at: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()

    def renew(self, session_id: str) -> Session | None:
        """Give a session its whole time again; None when there is none."""
        session = self._store.sessions.get(session_id)
        if session is not None:
            self._count_from_now(session)
        return session

    async def run(self) -> None:
        """Look after the sessions, until cancelled."""
        while True:
            if self._consensus.is_leader:
                await self.settle()
                for session in self._late():
                    logger.info("session %s has not been renewed in time", session.id)
                    await self._destroy(session.id)
            else:
                self._ends_at.clear()
                self._seen_index = -1
            await asyncio.sleep(LOOK_S)

    async def settle(self) -> None:
        """Let what the catalog says now have its effect on sessions.

        A read or write that comes after a change of the catalog sees what follows from it.
        """
        index = self._catalog_index()
        if self._is_settling or index == self._seen_index:
            return
        self._is_settling = True
        try:
            for session in self._store.sessions.all():
                if not self._is_well(session):
                    logger.info("session %s ends: its node or a check is unwell", session.id)
                    await self._destroy(session.id)
            self._seen_index = index
        finally:
            self._is_settling = False

    def _late(self) -> list[Session]:
        now = self._loop.time()
        sessions = self._store.sessions.all()
        for session in sessions:
            if session.ttl and session.id not in self._ends_at:
                self._count_from_now(session)
        known = {session.id for session in sessions}
        self._ends_at = {id_: at for id_, at in self._ends_at.items() if id_ in known}
        return [session for session in sessions if self._ends_at.get(session.id, now + 1) <= now]

    def _count_from_now(self, session: Session) -> None:
        if session.ttl:
            time_s = TTL_MULTIPLIER * parse_duration(session.ttl)
            self._ends_at[session.id] = self._loop.time() + time_s

    async def _destroy(self, session_id: str) -> None:
        try:
            await self._end(CommandKind.SESSION_DESTROY, [session_id, True])
        except SvcmeshError as error:
            # The next look tries again, here or where the new leader is.
            logger.warning("session %s could not be ended: %s", session_id, error)
