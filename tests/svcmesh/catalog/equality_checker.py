"""Catalog equality: two agents whose fingerprints are equal show the same records.

Looks at every agent at regular instants of the whole scenario, not only at its end.
"""

from svcmesh.catalog.changes import ExternalNode, Owner
from svcmesh.catalog.records import Body
from tests.svcmesh.catalog.replicas import Agent, Cluster, RowId


class EqualityChecker:
    """Fails at the first instant at which equal fingerprints stand for different contents."""

    def __init__(self, cluster: Cluster, *, interval_s: float = 0.25) -> None:
        self.equal_pairs_seen = 0
        self._cluster, self._interval_s = cluster, interval_s
        self._tick()

    def check(self) -> None:
        first: dict[int, tuple[Agent, dict[Owner, dict[RowId, Body]]]] = {}
        for agent in self._cluster.running:
            content = _content(agent)
            fingerprint = agent.replica.fingerprint
            other, theirs = first.setdefault(fingerprint, (agent, content))
            self.equal_pairs_seen += other is not agent
            assert content == theirs, f"{agent.name} and {other.name} agree on {fingerprint:016x}"

    def _tick(self) -> None:
        self.check()
        self._cluster.clock.call_later(self._interval_s, self._tick)


def _content(agent: Agent) -> dict[Owner, dict[RowId, Body]]:
    """What it shows to others, by owner: names are each agent's own affair."""
    bound = set(agent.shown.names)
    if agent.is_contested:
        bound.discard(agent.node_id)
    return {
        owner: rows
        for owner, rows in agent.shown.records.items()
        if rows and (isinstance(owner, ExternalNode) or owner.node_id in bound)
    }
