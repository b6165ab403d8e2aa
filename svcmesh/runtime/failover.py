"""Prepared queries between data centers: asking others for instances, and answering them.

| call | body | answer |
| --- | --- | --- |
| `query.execute` | [query, limit] | instances (`queries/carrying.py`) |
| `query.named` | [name, client, limit] | [query, data center, failovers, instances] |

Data centers are asked in the order of preference. One that is silent does not hold the others up:
after a moment the next one is asked as well, and who names instances first is taken. An answer is
good for a moment: as many clients may ask as there are, the link carries a call a second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from svcmesh.catalog.records import QueryRecord
from svcmesh.datacenters import RemoteAccess
from svcmesh.errors import DecodeError, SvcmeshError
from svcmesh.queries.carrying import (
    pack_query,
    pack_rows,
    unpack_query_untrusted,
    unpack_rows_untrusted,
)
from svcmesh.queries.definition import QueryError
from svcmesh.queries.execution import Asker, QueryNotFoundError
from svcmesh.queries.failover import Outcome, candidates, local_part
from svcmesh.rpc import Body, RpcError

logger = logging.getLogger("agent.queries")

EXECUTE, NAMED = "query.execute", "query.named"

TIMEOUT_S: Final = 3.0
"""For one data center to answer."""
PATIENCE_S: Final = 0.3
"""After which the next one is asked as well."""
KEEP_S: Final = 1.0
"""How long an answer is given again."""
KEPT_MAX: Final = 256
"""Answers that are kept or under way."""
KEPT_ROWS_MAX: Final = 1000
"""An answer with more instances is not given again."""
PLACES_S: Final = 5.0
"""How long the order of data centers is taken for granted."""
ROWS_MAX: Final = 8192
"""Instances in one answer, drawn at random from more."""
SLICE_ROWS: Final = 100
"""Instances worked on before the event loop gets its turn: about two milliseconds."""

NOT_FOUND: Final = "query-not-found"
REFUSED: Final = "refused"

T = TypeVar("T")


_Question = tuple[QueryRecord, int]
"""A rendered query, and how many instances are wanted."""
_Asking = asyncio.Task[Outcome | None]


class Executes(Protocol):
    """What executes queries in our own data center."""

    async def execute(self, name: str, asker: Asker, *, limit: int = 0) -> Outcome:
        """Execute the query of this name or id, elsewhere if nobody is here."""

    async def execute_here(self, query: QueryRecord, asker: Asker, *, limit: int = 0) -> Outcome:
        """Execute a query that is rendered, in our data center only."""


class QueryFailover:
    """The way to the queries and instances of other data centers (`queries.failover.Elsewhere`)."""

    def __init__(
        self,
        remote: Callable[[], RemoteAccess],
        datacenters: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        """`datacenters` gives those that are known, our own first, then by distance."""
        self._remote, self._datacenters = remote, datacenters
        self._loop = asyncio.get_running_loop()
        self._others: Sequence[str] = ()
        self._others_at = -PLACES_S
        self._kept: dict[_Question, tuple[float, _Asking]] = {}
        """Answers and those under way, with when they were asked for; the oldest first."""

    async def execute(self, query: QueryRecord, *, limit: int) -> Outcome | None:
        """Ask as the query's failover says; None: there is nobody to ask, or nobody answers."""
        key = (query, limit)
        asked_at, task = self._kept.get(key, (0.0, None))
        if task is None or (task.done() and not self._is_good(task, asked_at)):
            self._kept.pop(key, None)
            while len(self._kept) >= KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            task = self._loop.create_task(self._ask_all(query, limit))
            self._kept[key] = self._loop.time(), task
            task.add_done_callback(lambda task: self._note_answer(key, task))
        # The others still want it when this client hangs up.
        return await asyncio.shield(task)

    def _is_good(self, task: _Asking, asked_at: float) -> bool:
        """Whether what was answered may be given again: instances, for a moment."""
        if task.cancelled() or self._loop.time() - asked_at > KEEP_S:
            return False
        outcome = task.result()
        return outcome is not None and 0 < len(outcome.rows) <= KEPT_ROWS_MAX

    def _note_answer(self, key: _Question, task: _Asking) -> None:
        if not task.cancelled() and self._is_good(task, self._loop.time()):
            self._loop.call_later(KEEP_S, self._forget, key, task)
        else:
            self._forget(key, task)

    def _forget(self, key: _Question, task: _Asking) -> None:
        if self._kept.get(key, (0.0, None))[1] is task:
            del self._kept[key]

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [task for _, task in self._kept.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def execute_named(self, datacenter: str, name: str, *, client: str) -> Outcome:
        """Execute a query of another data center, for a client at this address.

        Raises:
            QueryNotFoundError: It has none of this name.
            QueryError: It cannot be executed under this name.
            NoPathError, UnreachableError, RpcError, DecodeError: It cannot be asked.
        """
        try:
            answer = await self._remote().call(
                datacenter, NAMED, [name, client, 0], timeout_s=TIMEOUT_S
            )
        except RpcError as error:
            if error.code == NOT_FOUND:
                raise QueryNotFoundError from error
            if error.code == REFUSED:
                raise QueryError(error.text) from error
            raise
        match answer:
            case [packed, str() as where, int() as failovers, rows]:
                query = unpack_query_untrusted(packed)
                found = await _in_slices(unpack_rows_untrusted(rows))
                return Outcome(query, where, found, failovers)
            case _:
                raise DecodeError("query-malformed", "expected an outcome")

    async def _ask_all(self, query: QueryRecord, limit: int) -> Outcome | None:
        """Ask one after the other; the first that has instances, or else the last that answers."""
        waiting = candidates(query, await self._places())
        asked: dict[asyncio.Task[Outcome | None], int] = {}
        nobody: Outcome | None = None
        count = 0
        try:
            while waiting or asked:
                if waiting:
                    count += 1
                    work = self._ask(waiting.pop(0), query, limit)
                    asked[self._loop.create_task(work)] = count
                done, _ = await asyncio.wait(
                    asked,
                    timeout=PATIENCE_S if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in sorted(done, key=asked.__getitem__):
                    number, outcome = asked.pop(task), task.result()
                    if outcome is None:
                        continue
                    outcome = Outcome(query, outcome.datacenter, outcome.rows, number)
                    if outcome.rows:
                        return outcome
                    nobody = outcome
        finally:
            for task in asked:
                task.cancel()
        return None if nobody is None else Outcome(query, nobody.datacenter, (), count)

    async def _ask(self, datacenter: str, query: QueryRecord, limit: int) -> Outcome | None:
        try:
            answer = await self._remote().call(
                datacenter, EXECUTE, [pack_query(local_part(query)), limit], timeout_s=TIMEOUT_S
            )
            rows = await _in_slices(unpack_rows_untrusted(answer))
        except SvcmeshError as error:
            logger.warning("Failed querying for service in datacenter %s: %s", datacenter, error)
            return None
        return Outcome(query, datacenter, rows)

    async def _places(self) -> Sequence[str]:
        """The other data centers, by distance."""
        now = self._loop.time()
        if now - self._others_at > PLACES_S:
            self._others = (await self._datacenters())[1:]
            self._others_at = now
        return self._others


class QueryMethods:
    """What a server executes for other data centers."""

    def __init__(self, queries: Executes) -> None:
        self._queries = queries

    @property
    def methods(self) -> dict[str, Callable[[Body, float], Awaitable[Body]]]:
        """By name."""
        return {EXECUTE: self._handle_execute, NAMED: self._handle_named}

    async def _handle_execute(self, body: Body, _: float) -> Body:
        match body:
            case [packed, int() as limit]:
                query = _query_untrusted(packed)
            case _:
                raise RpcError(REFUSED, f"{EXECUTE}: expected [query, limit]")
        outcome = await self._queries.execute_here(query, Asker(), limit=_bounded(limit))
        return await _in_slices(pack_rows(outcome.rows))

    async def _handle_named(self, body: Body, _: float) -> Body:
        match body:
            case [str() as name, str() as client, int() as limit]:
                asker = Asker(address=client)
            case _:
                raise RpcError(REFUSED, f"{NAMED}: expected [name, client, limit]")
        try:
            outcome = await self._queries.execute(name, asker, limit=_bounded(limit))
        except QueryNotFoundError as error:
            raise RpcError(NOT_FOUND, str(error)) from error
        except QueryError as error:
            raise RpcError(REFUSED, str(error)) from error
        rows = await _in_slices(pack_rows(outcome.rows))
        return [pack_query(outcome.query), outcome.datacenter, outcome.failovers, rows]


def _query_untrusted(packed: Body) -> QueryRecord:
    try:
        return unpack_query_untrusted(packed)
    except DecodeError as error:
        raise RpcError(REFUSED, str(error)) from error


def _bounded(limit: int) -> int:
    return limit if 0 < limit <= ROWS_MAX else ROWS_MAX


async def _in_slices(items: Iterable[T]) -> list[T]:
    """All of them, with turns for the event loop between."""
    found: list[T] = []
    for item in items:
        found.append(item)
        if len(found) % SLICE_ROWS == 0:
            await asyncio.sleep(0)
    return found
