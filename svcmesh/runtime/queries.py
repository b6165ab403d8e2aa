"""Prepared queries on one agent: storing them, and executing them here or elsewhere.

They are records that any agent may write, like those of nodes without an agent, so nothing waits
for a quorum; only for a query that is bound to a session the consistent store is asked for that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Final, Protocol
from uuid import uuid4

from svcmesh.catalog.queries import QueryRow
from svcmesh.catalog.records import Body, Kind, QueryRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import ServiceRow
from svcmesh.config import AgentConfig
from svcmesh.consensus.service import StoreAccess
from svcmesh.coordinates import NodeCoordinates
from svcmesh.queries.definition import (
    QueryError,
    check_query,
    check_template,
    parse_query,
    uuid_problem,
)
from svcmesh.queries.execution import Asker, QueryEngine
from svcmesh.queries.failover import Elsewhere, Outcome, has_failover
from svcmesh.queries.selection import Selection, nearest_first

SLICE_ROWS: Final = 256
"""Instances looked at before the event loop gets its turn."""


class Records(Protocol):
    """Where queries are written to: the catalog's external records."""

    def put_external(self, node_name: str, body: Body) -> None:
        """Publish a record."""

    def delete_external(self, node_name: str, kind: Kind, record_id: str) -> None:
        """Withdraw a record."""

    def read_clock(self) -> int:
        """A reading of their hybrid clock, above all before it."""


async def _at_once() -> None:
    """Nothing is kept beyond memory."""


def query_engine(
    config: AgentConfig, view: CatalogView, coordinates: NodeCoordinates
) -> QueryEngine:
    """What executes prepared queries on this agent."""
    return QueryEngine(view, coordinates, node_name=config.node_name, rng=Random())


class PreparedQueries:
    """Stores and executes. `elsewhere` is the way to other data centers."""

    def __init__(
        self,
        engine: QueryEngine,
        records: Records,
        *,
        sessions: StoreAccess,
        check_identity: Callable[[], None],
        saved: Callable[[], Awaitable[None]] = _at_once,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Begin.

        Args:
            engine: Executes on our own catalog.
            records: Where queries are written to.
            sessions: The consistent store, which knows the sessions.
            check_identity: Raises `NameReservedError` while we may not publish.
            saved: Waits until what was written is as durable as it gets here.
            elsewhere: None: there are no other data centers.
        """
        self.engine = engine
        self._records, self._sessions = records, sessions
        self._check_identity, self._saved = check_identity, saved
        self.elsewhere = elsewhere

    # -- storing ----------------------------------------------------------------------------

    async def create(self, body: object) -> str:
        """Store a new query; its id.

        Raises:
            FieldError, QueryError: It is refused.
            NameReservedError, NoLeaderError, StorageError: It cannot be stored now.
        """
        record, given_id = parse_query(body)
        if given_id:
            raise QueryError("ID must be empty when creating a new prepared query")
        query_id = str(uuid4())
        await self._store(replace(record, id=query_id), is_new=True)
        return query_id

    async def update(self, query_id: str, body: object) -> None:
        """Replace a query.

        Raises:
            As `create`; QueryError too when there is no such query.
        """
        record, _ = parse_query(body)
        self._check_exists(query_id)
        await self._store(replace(record, id=query_id.lower()), is_new=False)

    async def delete(self, query_id: str) -> None:
        """Remove a query.

        Raises:
            As `update`.
        """
        self._check_exists(query_id)
        self._check_identity()
        self._records.delete_external("", Kind.QUERY, query_id.lower())
        await self._saved()

    async def _store(self, record: QueryRecord, *, is_new: bool) -> None:
        check_query(record)
        self._check_name(record)
        if record.session:
            await self._check_session(record.session)
        check_template(record)
        self._check_identity()
        # The query may have gone, and the name been taken, while the store was asked.
        if not is_new:
            self._check_exists(record.id)
        self._check_name(record)
        self._records.put_external("", replace(record, claim=self._claim(record)))
        await self._saved()

    def _claim(self, record: QueryRecord) -> int:
        """When the query took its name: it keeps the claim as long as it keeps the name."""
        old = self.engine.view.queries.get(record.id)
        if old is not None and old.record.name.lower() == record.name.lower():
            return old.record.claim
        return self._records.read_clock()

    def _check_name(self, record: QueryRecord) -> None:
        queries = self.engine.view.queries
        name = record.name
        if name or record.template_type:
            holder = queries.holder(name)
            if holder is not None and holder.record.id != record.id:
                if not name:
                    raise QueryError("a query template with an empty name already exists")
                raise QueryError(f"name '{name}' aliases an existing query name")
        if queries.get(name) is not None:
            raise QueryError(f"name '{name}' aliases an existing query ID")

    async def _check_session(self, session_id: str) -> None:
        if problem := uuid_problem(session_id):
            raise QueryError(f"invalid session: index error: {problem}")
        answer = await self._sessions.query("session.get", session_id)
        if answer.value is None:
            raise QueryError(f'invalid session "{session_id}"')

    def _check_exists(self, query_id: str) -> None:
        if problem := uuid_problem(query_id):
            problem = f"failed prepared query lookup: index error: {problem}"
            raise QueryError(f"Prepared Query lookup failed: {problem}")
        if self.engine.view.queries.get(query_id) is None:
            raise QueryError(f"Cannot modify non-existent prepared query: '{query_id}'")

    def resolve(self, name: str) -> tuple[QueryRecord, QueryRow]:
        """The query of an id or a name, rendered if it is a template; and what it comes from.

        Raises:
            QueryNotFoundError: There is none.
            QueryError: It is a template that cannot be rendered for this name.
        """
        return self.engine.resolve(name)

    # -- executing --------------------------------------------------------------------------

    async def execute(self, name: str, asker: Asker, *, limit: int = 0) -> Outcome:
        """Execute the query of this name or id; `limit` above 0 is the most instances wanted.

        Raises:
            QueryNotFoundError: There is none.
            QueryError: It cannot be executed under this name.
        """
        query, _ = self.engine.resolve(name)
        outcome = await self.execute_here(query, asker, limit=limit)
        if outcome.rows or not has_failover(query) or self.elsewhere is None:
            return outcome
        return await self.elsewhere.execute(query, limit=limit) or outcome

    async def execute_here(self, query: QueryRecord, asker: Asker, *, limit: int = 0) -> Outcome:
        """Execute a query that is rendered, in our data center only."""
        engine, selection = self.engine, Selection.of(query)
        rows: list[ServiceRow] = []
        for count, row in enumerate(tuple(engine.view.service_rows(selection.service)), 1):
            if row.node.is_shown and selection.takes(row):
                rows.append(row)
            if count % SLICE_ROWS == 0:
                await asyncio.sleep(0)
        rows = engine.drawn(rows, len(rows))
        if near := engine.near_node(query, asker):
            rows = await self._nearest_first(rows, near)
        if limit > 0:
            rows = rows[:limit]
        return Outcome(query, engine.view.datacenter, rows)

    async def _nearest_first(self, rows: list[ServiceRow], near: str) -> list[ServiceRow]:
        distance = self.engine.distance(near)
        distances: list[float] = []
        for row in rows:
            distances.append(distance(row.node.name))
            if len(distances) % SLICE_ROWS == 0:
                await asyncio.sleep(0)
        return nearest_first(rows, distances, _node_of, near)


def _node_of(row: ServiceRow) -> str:
    return row.node.name
