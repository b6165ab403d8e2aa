"""The leader's care for sessions: who has not renewed in time, and whose node or check is unwell.

Only the leader does it, and only as the leader: what it decides is proposed here or not at all,
since another leader may know better. A session's time counts from when this leadership last heard
of it: after a change of leader everybody has the whole time again, as in Consul.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from math import inf
from typing import Any, Final

from svcmesh.consensus.raft import Term
from svcmesh.consensus.store import CommandKind, Session, Store
from svcmesh.errors import SvcmeshError
from svcmesh.goformats import parse_duration
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.wellness import Verdict, Wellness

logger = logging.getLogger("sessions")

LOOK_S: Final = 0.2
TTL_MULTIPLIER: Final = 2
"""A session is over after so many times its TTL without a renewal, as in Consul."""
UNSEEN_S: Final = 30.0
"""After so long a session without a TTL is over whose node or check this leader has never seen."""
ENDING_MAX: Final = 1000
"""Sessions that are ended at a time."""


class SessionKeeper:
    """Ends sessions on the server that leads, from `run` on.

    `wellness` says what the catalog has of a session's node and checks; that can change only with
    `catalog_index`.
    """

    def __init__(
        self,
        consensus: Consensus,
        store: Store,
        *,
        wellness: Wellness,
        catalog_index: Callable[[], int],
        propose: Callable[[CommandKind, list[Any]], Awaitable[object]],
    ) -> None:
        """`propose` has a command applied if we lead, and raises `SvcmeshError` if not."""
        self._consensus, self._store = consensus, store
        self._wellness, self._catalog_index, self._propose = wellness, catalog_index, propose
        self._loop = asyncio.get_running_loop()
        self._settling = asyncio.Lock()
        self._term = Term(0)
        """The leadership that the following fields belong to."""
        self._settled_index = self._restored_at = -1
        self._judged_at: dict[str, int] = {}
        """Nodes, and as of when their sessions were judged."""
        self._ends_at: dict[str, float] = {}
        self._unseen_since: dict[str, float] = {}
        self._ending: set[str] = set()
        """Whose end is decided, and not applied yet: too late to renew."""

    def renew(self, session_id: str) -> Session | None:
        """Give a session its whole time again; None when there is none, or its end is decided."""
        self._look_at_term()
        session = self._store.sessions.get(session_id)
        if session is None or session_id in self._ending:
            return None
        self._count_from_now(session)
        return session

    def note_created(self, session_id: str) -> None:
        """Look at a new session's node and checks: what is there now and not later has gone."""
        session = self._store.sessions.get(session_id)
        if session is not None:
            self._look_at_term()
            self._note_verdict(session)

    async def run(self) -> None:
        """Look after the sessions, until cancelled."""
        while True:
            if self._consensus.is_leader:
                await self.settle()
                await self._end(self._late(), "has not been renewed in time")
            await asyncio.sleep(LOOK_S)

    @property
    def is_settled(self) -> bool:
        """Whether what the catalog says has had its effect."""
        return self._settled_at() == self._catalog_index()

    async def settle(self) -> None:
        """Let what the catalog says now have its effect on sessions.

        A read or write that comes after a change of the catalog sees what follows from it.
        """
        if self.is_settled:
            return
        async with self._settling:
            index, term = self._catalog_index(), self._term
            if self._settled_at() == index:
                return
            # Most changes are of nodes that have no session.
            by_node = self._store.sessions.by_node()
            stamps = {node: self._wellness.stamp(node) for node in by_node}
            unwell = [
                session.id
                for node, sessions in by_node.items()
                if stamps[node] != self._judged_at.get(node)
                for session in sessions
                if self._note_verdict(session) is Verdict.UNWELL
            ]
            if await self._end(unwell, "ends: its node or a check is unwell") and (
                term == self._term
            ):
                self._settled_index, self._judged_at = index, stamps
                self._wellness.keep(stamps)

    def _settled_at(self) -> int:
        self._look_at_term()
        return self._settled_index

    def _look_at_term(self) -> None:
        """Begin anew with a new term, or other sessions.

        Others may have renewed what we last counted.
        """
        term, restored_at = self._consensus.raft.term, self._store.sessions.restored_at
        if (term, restored_at) != (self._term, self._restored_at):
            self._restored_at = restored_at
            self._term, self._settled_index = term, -1
            self._ends_at, self._unseen_since, self._judged_at = {}, {}, {}

    def _note_verdict(self, session: Session) -> Verdict:
        verdict = self._wellness.judge(session)
        if verdict is Verdict.UNSEEN:
            self._unseen_since.setdefault(session.id, self._loop.time())
        else:
            self._unseen_since.pop(session.id, None)
        return verdict

    def _late(self) -> list[str]:
        now = self._loop.time()
        self._look_at_term()
        sessions = self._store.sessions.all()
        for session in sessions:
            if session.ttl and session.id not in self._ends_at:
                self._count_from_now(session)
        known = {session.id: session for session in sessions}
        self._ends_at = {id_: at for id_, at in self._ends_at.items() if id_ in known}
        self._unseen_since = {id_: at for id_, at in self._unseen_since.items() if id_ in known}
        return [
            session.id
            for session in sessions
            if self._ends_at.get(session.id, inf) <= now
            # With a TTL, time alone decides as long as nothing is known.
            or (not session.ttl and self._unseen_since.get(session.id, inf) + UNSEEN_S <= now)
        ]

    def _count_from_now(self, session: Session) -> None:
        if session.ttl:
            time_s = TTL_MULTIPLIER * parse_duration(session.ttl)
            self._ends_at[session.id] = self._loop.time() + time_s

    async def _end(self, session_ids: Collection[str], why: str) -> bool:
        """End sessions; whether all of them have.

        There is no turn of the loop between the decision and the mark that refuses renewals.
        """
        ids = [id_ for id_ in session_ids if id_ not in self._ending][:ENDING_MAX]
        self._ending.update(ids)
        try:
            done = await asyncio.gather(*(self._destroy(id_, why) for id_ in ids))
        finally:
            self._ending.difference_update(ids)
        return all(done) and len(ids) == len(session_ids)

    async def _destroy(self, session_id: str, why: str) -> bool:
        logger.info("session %s %s", session_id, why)
        try:
            await self._propose(CommandKind.SESSION_DESTROY, [session_id, True])
        except SvcmeshError as error:
            # The next look tries again, here or where the new leader is.
            logger.warning("session %s could not be ended: %s", session_id, error)
            return False
        return True
