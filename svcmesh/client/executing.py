"""Executing a prepared query, and what its answer says."""

from dataclasses import KW_ONLY, dataclass

from svcmesh.client.errors import BadAnswerError
from svcmesh.client.instances import Instance, Json, read_instances


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """Which prepared query, and for whom."""

    name: str
    """Its name, a name that its template takes, or its id."""
    _: KW_ONLY
    limit: int = 0
    """At most so many instances; 0: all of them."""
    near: str = ""
    """A node, `_agent` or `_ip`: nearest first, whatever the query itself says."""
    datacenter: str = ""
    """Whose query it is; empty: the agent's."""

    def parameters(self) -> list[tuple[str, str]]:
        """Query parameters of the agent's API."""
        limit = str(self.limit) if self.limit else ""
        given = (("limit", limit), ("near", self.near), ("dc", self.datacenter))
        return [(name, value) for name, value in given if value]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryOutcome:
    """What executing a prepared query has found."""

    instances: tuple[Instance, ...]
    """In the order of the query: random, or the nearest first."""
    service: str
    datacenter: str
    """Where the instances are."""
    failovers: int
    """How many other data centers were asked because nobody was in the first."""


def read_outcome(answer: Json) -> QueryOutcome:
    """Read an answer of `/v1/query/NAME/execute`.

    Raises:
        BadAnswerError: It has another form.
    """
    try:
        return QueryOutcome(
            instances=read_instances(answer["Nodes"] or ()),
            service=str(answer["Service"]),
            datacenter=str(answer["Datacenter"]),
            failovers=int(answer["Failovers"]),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise BadAnswerError(f"not the outcome of a query: {error!r}") from error
