"""Executing prepared queries on one agent, from its own catalog: which query, who, in which order.

What happens when nobody is found here, asking other data centers, is `failover.py`'s business. No
I/O.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from svcmesh.catalog.queries import QueryRow
from svcmesh.catalog.records import QueryRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.coordinates import NodeCoordinates, distance_key
from svcmesh.errors import SvcmeshError
from svcmesh.queries.definition import QueryError
from svcmesh.queries.selection import NEAR_AGENT, NEAR_IP
from svcmesh.queries.templates import TemplateError, compiled

BY_NAME_ONLY: Final = "prepared query templates can only be resolved up by name, not by ID"

T = TypeVar("T")


class QueryNotFoundError(SvcmeshError):
    """No query has this id or name, and no template takes it."""

    def __init__(self) -> None:
        super().__init__("Query not found")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who executes a query, as far as the order of the answer depends on it."""

    near: str = ""
    """A node that the answer is to be near to, in place of the query's own wish; or `_agent`."""
    address: str = ""
    """The client's address, for `_ip`."""


class QueryEngine:
    """Prepared queries on one agent. `rng` decides the order of what is not sorted."""

    def __init__(
        self, view: CatalogView, coordinates: NodeCoordinates, *, node_name: str, rng: Random
    ) -> None:
        self.view = view
        self._coordinates, self._node_name, self._rng = coordinates, node_name, rng

    def resolve(self, name: str) -> tuple[QueryRecord, QueryRow]:
        """The query of an id or a name, rendered if it is a template; and what it comes from.

        Raises:
            QueryNotFoundError: There is none.
            QueryError: It is a template that cannot be rendered for this name.
        """
        queries = self.view.queries
        row = queries.get(name)
        if row is not None:
            if row.is_template:
                raise QueryError(BY_NAME_ONLY)
            return row.record, row
        row = (queries.holder(name) if name else None) or queries.template_for(name)
        if not name or row is None:
            raise QueryNotFoundError
        if not row.is_template:
            return row.record, row
        try:
            return compiled(row.record).render(name), row
        except TemplateError as error:
            raise QueryError(str(error)) from None

    def near_node(self, query: QueryRecord, asker: Asker) -> str:
        """The node that an answer is to be near to; empty: none, or none that is known."""
        near = asker.near or query.near
        if near == NEAR_AGENT:
            return self._node_name
        if near == NEAR_IP:
            found = self.view.nodes_by_address(asker.address) if asker.address else ()
            return found[0].name if found else ""
        return near

    def drawn(self, rows: Sequence[T], count_max: int) -> list[T]:
        """So many of the rows at most, in random order."""
        return self._rng.sample(rows, min(len(rows), count_max))

    def distance(self, near: str) -> Callable[[str], float]:
        """How far a node is from the node `near`, in estimated round trips."""
        return distance_key(self._coordinates.of, near)

    def is_placed(self, node: str) -> bool:
        """Whether it is known where a node is in the network."""
        return self._coordinates.of(node) is not None
