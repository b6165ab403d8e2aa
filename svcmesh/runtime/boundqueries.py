"""Prepared queries that are bound to a session go when it ends: the leader sees to it."""

import asyncio
import logging
from typing import Final

from svcmesh.catalog.records import Kind, QueryRecord
from svcmesh.catalog.topics import QUERIES
from svcmesh.catalog.view import CatalogView
from svcmesh.consensus.store.store import SESSIONS
from svcmesh.errors import SvcmeshError
from svcmesh.runtime.queries import Records
from svcmesh.runtime.store import StoreService

logger = logging.getLogger("agent.queries")

LOOK_S: Final = 1.0
"""Between two looks for queries whose session ended while somebody else led."""


class BoundQueries:
    """On a server, from `start` on. A session that ends takes its queries along at once."""

    def __init__(self, view: CatalogView, records: Records, service: StoreService) -> None:
        """`service` is a server's."""
        assert service.store is not None
        assert service.consensus is not None
        self._view, self._records, self._service = view, records, service
        self._store, self._consensus = service.store, service.consensus
        self._seen: set[str] = set()
        """Sessions of queries that the state here has had: when one is missing it has ended."""

    async def run(self) -> None:
        """Look after the queries, until cancelled."""
        self._watch_sessions()
        self._watch_queries()
        while True:
            if self._consensus.is_leader:
                try:
                    await self._look()
                except SvcmeshError as error:
                    # Leadership was lost: the next look is somebody else's.
                    logger.debug("queries of ended sessions: %s", error)
            await asyncio.sleep(LOOK_S)

    def _watch_sessions(self) -> None:
        self._store.watch((SESSIONS,), self._on_session_change)

    def _watch_queries(self) -> None:
        self._view.watch((QUERIES,), self._on_query_change)

    def _on_session_change(self) -> None:
        self._watch_sessions()
        if self._consensus.is_leader:
            for query in self._bound():
                if query.session in self._seen and self._is_missing(query.session):
                    self._remove(query)

    def _on_query_change(self) -> None:
        self._watch_queries()
        self._seen |= {q.session for q in self._bound() if not self._is_missing(q.session)}

    async def _look(self) -> None:
        bound = self._bound()
        self._seen &= {query.session for query in bound}
        for query in bound:
            if not self._is_missing(query.session):
                self._seen.add(query.session)
            elif query.session in self._seen or await self._has_ended(query.session):
                self._remove(query)

    async def _has_ended(self, session_id: str) -> bool:
        """Ask in a way that a state which lags behind cannot answer wrongly."""
        return (await self._service.query("session.get", session_id)).value is None

    def _bound(self) -> list[QueryRecord]:
        return [row.record for row in self._view.queries.bound()]

    def _is_missing(self, session_id: str) -> bool:
        return self._store.sessions.get(session_id) is None

    def _remove(self, query: QueryRecord) -> None:
        logger.info("prepared query %s goes with its session %s", query.id, query.session)
        self._records.delete_external("", Kind.QUERY, query.id)
