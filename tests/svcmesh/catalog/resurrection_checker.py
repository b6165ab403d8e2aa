"""No resurrection: what was replaced or deleted never comes back, unless it is written again.

Watches every agent from outside. Scenarios give each write of a key a body of its own, so that a
body seen twice at one agent, with something else or nothing in between, is an old one returning.
"""

from svcmesh.catalog.changes import CatalogEffect, NodeUnbound, Owner, OwnNode, RecordChanged
from svcmesh.catalog.records import Body
from tests.svcmesh.catalog.replicas import Agent, Cluster, RowId


class ResurrectionChecker:
    """Fails at the very effect that brings an old record back."""

    def __init__(self, cluster: Cluster) -> None:
        self._over: dict[tuple[int, Owner], dict[RowId, list[Body]]] = {}
        cluster.watchers.append(self._watch)

    def _watch(self, agent: Agent, effect: CatalogEffect) -> None:
        match effect:
            case RecordChanged(owner, kind, id, old, new):
                if isinstance(owner, OwnNode) and owner.node_id not in agent.shown.names:
                    # Left, reaped or not known yet: it may come back later with what it had.
                    self._over.pop((agent.serial, owner), None)
                    return
                rows = self._over.setdefault((agent.serial, owner), {})
                over = rows.setdefault((kind, id), [])
                assert new is None or new not in over, (
                    f"{agent.name} ({agent.address}) brought back {new} of {owner}"
                )
                if old is not None:
                    over.append(old)
            case NodeUnbound(node_id):
                self._over.pop((agent.serial, OwnNode(node_id)), None)
            case _:
                pass
