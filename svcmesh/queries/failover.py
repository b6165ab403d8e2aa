"""When a prepared query selects nobody here: which other data centers are asked, and how.

Only the order is decided here; the shell (`svcmesh/runtime/failover.py`) asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from svcmesh.catalog.records import QueryRecord
from svcmesh.catalog.view_rows import ServiceRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a query has found."""

    query: QueryRecord
    """As it was executed: a template is rendered."""
    datacenter: str
    """Where the instances are."""
    rows: Sequence[ServiceRow]
    """Instances, in the order of the answer."""
    failovers: int = 0
    """How many other data centers were asked."""


class Elsewhere(Protocol):
    """The way to other data centers."""

    async def execute(self, query: QueryRecord, *, limit: int) -> Outcome | None:
        """Ask them as the query's failover says; None: there are none to ask, or none answers."""

    async def execute_named(self, datacenter: str, name: str, *, client: str) -> Outcome:
        """Execute a query of another data center, for a client at this address.

        Raises:
            QueryNotFoundError: It has none of this name.
            SvcmeshError: It cannot be executed, or the data center not be asked.
        """


def has_failover(query: QueryRecord) -> bool:
    """Whether other data centers may be asked."""
    return query.nearest_n > 0 or bool(query.datacenters)


def candidates(query: QueryRecord, others: Sequence[str]) -> list[str]:
    """The data centers to ask, in order. `others` are those that are known, the nearest first."""
    chosen = list(others[: query.nearest_n])
    known = {name.lower(): name for name in others}
    for wanted in query.datacenters or ():
        name = known.get(wanted.lower())
        if name is not None and name not in chosen:
            chosen.append(name)
    return chosen


def local_part(query: QueryRecord) -> QueryRecord:
    """What another data center is to execute: it asks nobody else."""
    return replace(query, nearest_n=0, datacenters=None, near="")
