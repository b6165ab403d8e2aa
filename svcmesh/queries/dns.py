"""`NAME.query` in DNS: what a prepared query selects, as a pool to draw answers from.

Answers without a wish for nearness come from pools that follow the catalog, so they cost no more
than those about a service. Nearness is worked out anew when coordinates or instances have changed.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from math import inf
from random import Random
from typing import Final

from dnsserver.directory import AskOthers, QueryAnswer, ServiceAnswer, Stamp, Unanswerable
from dnsserver.pool import ServicePool
from svcmesh.catalog.records import QueryRecord
from svcmesh.catalog.topics import COORDINATES
from svcmesh.catalog.view_rows import ServiceRow
from svcmesh.datacenters import NoPathError
from svcmesh.errors import SvcmeshError
from svcmesh.goformats import parse_duration
from svcmesh.queries.definition import QueryError
from svcmesh.queries.execution import Asker, QueryEngine, QueryNotFoundError
from svcmesh.queries.failover import Elsewhere, Outcome, has_failover
from svcmesh.queries.selection import Selection, nearest_first

SORTED_MAX: Final = 64
"""Selections kept in order of nearness; the least recently used goes first."""

DISTANCES_MAX: Final = 65_536
"""Distances between two nodes that are kept; beyond, all are worked out anew."""

SLICE_NODES: Final = 256
"""Distances worked out by one query, in a millisecond or two; old ones count until all are."""

INSTANCES_MAX: Final = 512
"""The nearest ones, or of another data center any: as many as an answer over TCP has room for."""

TTL_S_MAX: Final = 2**31 - 1


class QueryNames:
    """Looks up prepared queries for the DNS front.

    `selected` gives the pool of what a selection takes, `answer` what is answered for an instance.
    """

    def __init__(
        self,
        engine: QueryEngine,
        selected: Callable[[Selection], ServicePool],
        answer: Callable[[ServiceRow], ServiceAnswer],
        rng: Random,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._engine, self._selected, self._answer = engine, selected, answer
        self._rng, self._elsewhere = rng, elsewhere
        self._datacenter = engine.view.datacenter.lower()
        self._distances = _Distances(engine)
        self._sorted: OrderedDict[tuple[Selection, str], tuple[Stamp, int, ServicePool]] = (
            OrderedDict()
        )

    def look_up(
        self, name: str, datacenter: str | None, client: str
    ) -> QueryAnswer | AskOthers | Unanswerable | None:
        """What the query of this name or id selects for a client at this address."""
        if datacenter is not None and datacenter != self._datacenter:
            return self._in_other(datacenter, name, client)
        try:
            query, _ = self._engine.resolve(name)
        except QueryNotFoundError:
            return None
        except QueryError:
            return Unanswerable()
        pool = self._selected(Selection.of(query))
        if not len(pool) and has_failover(query) and self._elsewhere is not None:
            return self._in_others(query, self._elsewhere)
        near = self._engine.near_node(query, Asker(address=client))
        return QueryAnswer(
            service=query.service,
            pool=self._near(query, pool, near) if near else pool,
            datacenter=self._datacenter,
            ttl_s=_ttl_s(query),
            is_kept=not query.near,
        )

    def _near(self, query: QueryRecord, pool: ServicePool, near: str) -> ServicePool:
        """The pool in order of nearness, from before if nothing has changed since."""
        key = (Selection.of(query), near)
        places = self._engine.view.topic_index((COORDINATES,))
        kept = self._sorted.get(key)
        if kept is not None and kept[0].is_current and kept[1] == places:
            self._sorted.move_to_end(key)
            return kept[2]
        instances: Sequence[ServiceAnswer] = pool.instances()
        is_placed, is_settled = self._engine.is_placed(near), True
        if not is_placed or len(instances) <= INSTANCES_MAX:
            # Those that are equally far are in random order.
            instances = self._engine.drawn(instances, INSTANCES_MAX)
        distances = [0.0] * len(instances)
        if is_placed:
            distances, is_settled = self._distances.between(near, map(_node_of, instances))
        nearest = nearest_first(instances, distances, _node_of, near)
        ordered = ServicePool.of(nearest[:INSTANCES_MAX], None)
        # Without a place for `near` the order is random, and is to be another one the next time.
        if pool.is_complete and is_placed and is_settled:
            self._sorted[key] = pool.stamp, places, ordered
            if len(self._sorted) > SORTED_MAX:
                self._sorted.popitem(last=False)
        return ordered

    def _in_others(self, query: QueryRecord, elsewhere: Elsewhere) -> AskOthers:
        async def ask() -> QueryAnswer | None:
            outcome = await elsewhere.execute(query, limit=INSTANCES_MAX)
            if outcome is None:
                return self._nobody(query.service)
            return self._found(query, outcome, rng=self._rng)

        return AskOthers(ask)

    def _in_other(self, datacenter: str, name: str, client: str) -> AskOthers | None:
        elsewhere = self._elsewhere
        if elsewhere is None:
            return None

        async def ask() -> QueryAnswer | None:
            try:
                outcome = await elsewhere.execute_named(datacenter, name, client=client)
            except (QueryNotFoundError, NoPathError):
                return self._nobody()
            except SvcmeshError:
                return None
            # In the order of the other side, which knows who is near.
            return self._found(outcome.query, outcome, rng=None)

        return AskOthers(ask)

    def _found(self, query: QueryRecord, outcome: Outcome, *, rng: Random | None) -> QueryAnswer:
        return QueryAnswer(
            service=query.service,
            pool=ServicePool.of(map(self._answer, outcome.rows), rng),
            datacenter=outcome.datacenter.lower(),
            ttl_s=_ttl_s(query),
            is_kept=False,
        )

    def _nobody(self, service: str = "") -> QueryAnswer:
        return QueryAnswer(service, ServicePool(self._rng), self._datacenter, is_kept=False)


class _Distances:
    """How far nodes are from others, kept from query to query.

    Invariant: at most `DISTANCES_MAX` of them, and what one more query adds.
    """

    def __init__(self, engine: QueryEngine) -> None:
        self._engine = engine
        self._kept: dict[tuple[str, str], tuple[float, int]] = {}
        """By both nodes: how far, and the index of the coordinates that it was worked out from."""

    def between(self, near: str, nodes: Iterable[str]) -> tuple[list[float], bool]:
        """How far each node is from `near`, and whether all of that is up to date."""
        if len(self._kept) > DISTANCES_MAX:
            self._kept.clear()
        index = self._engine.view.topic_index((COORDINATES,))
        distance = self._engine.distance(near)
        found: list[float] = []
        left = SLICE_NODES
        for node in nodes:
            known = self._kept.get((near, node))
            if (known is None or known[1] != index) and left >= 0:
                left -= 1
                if left >= 0:
                    known = self._kept[near, node] = distance(node), index
            found.append(inf if known is None else known[0])
        return found, left >= 0


def _node_of(answer: ServiceAnswer) -> str:
    return answer.node.name


def _ttl_s(query: QueryRecord) -> int | None:
    if not query.dns_ttl:
        return None
    try:
        return min(max(int(parse_duration(query.dns_ttl)), 0), TTL_S_MAX)
    except ValueError:
        # Of a peer that takes more for a duration than we do.
        return None
