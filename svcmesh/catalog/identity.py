"""Which node id a member's name stands for, and which name a node id: first holder keeps both.

Derived from the local member table alone. A member whose name or id is held by another one waits
unbound, its rows hidden, until the holder is gone. Names are compared without regard to case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from svcmesh.catalog.changes import NodeBound, NodeHealthChanged, NodeUnbound
from svcmesh.catalog.messages import Contested
from svcmesh.catalog.records import NodeId

BindingChange = NodeBound | NodeHealthChanged | NodeUnbound


@dataclass(slots=True)
class _Claim:
    name: str
    node_id: NodeId
    is_peer: bool
    is_alive: bool


class Bindings:
    """The member table as the catalog needs it.

    Invariant: `_by_name` and `_by_id` hold the same claims, those that are bound.
    """

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._claims: dict[str, _Claim] = {}
        """Every member with a node id, by its exact name, in the order of arrival."""
        self._by_name: dict[str, _Claim] = {}
        self._by_id: dict[NodeId, _Claim] = {}
        self._peers: list[str] | None = None

    def is_bound(self, node_id: NodeId) -> bool:
        """Whether this node's rows are shown and replicated."""
        return node_id in self._by_id

    def is_peer(self, name: str) -> bool:
        """Whether this is another alive member that understands catalog messages."""
        claim = self._claims.get(name)
        return claim is not None and claim.is_alive and claim.is_peer and name != self._own_name

    @property
    def peers(self) -> Sequence[str]:
        """Names of all such members, in the order of their arrival."""
        if self._peers is None:
            self._peers = [name for name in self._claims if self.is_peer(name)]
        return self._peers

    def contest(self, name: str, node_id: NodeId) -> Contested | None:
        """What somebody who claims to be this has to be told; None when nobody else holds it."""
        holder = self._by_name.get(name.lower())
        if holder is not None and holder.node_id != node_id:
            return Contested("name", holder.node_id)
        holder = self._by_id.get(node_id)
        if holder is not None and holder.name.lower() != name.lower():
            return Contested("id", holder.name)
        return None

    def alive(self, name: str, node_id: NodeId, *, is_peer: bool) -> list[BindingChange]:
        """A member joined, came back, or changed its tags."""
        self._peers = None
        changes: list[BindingChange] = []
        claim = self._claims.get(name)
        if claim is not None and claim.node_id != node_id:
            # The same member came back with another id: its old rows go in the same step.
            changes += self.gone(name)
            claim = None
        if claim is None:
            claim = _Claim(name, node_id, is_peer, is_alive=True)
            self._claims[name] = claim
            return changes + self._bind(claim)
        claim.is_peer = is_peer
        if not claim.is_alive:
            claim.is_alive = True
            if self._by_id.get(node_id) is claim:
                changes.append(NodeHealthChanged(node_id, is_alive=True))
        return changes

    def failed(self, name: str) -> list[BindingChange]:
        """A member was declared dead; it keeps name and id."""
        self._peers = None
        claim = self._claims.get(name)
        if claim is None or not claim.is_alive:
            return []
        claim.is_alive = False
        if self._by_id.get(claim.node_id) is not claim:
            return []
        return [NodeHealthChanged(claim.node_id, is_alive=False)]

    def gone(self, name: str) -> list[BindingChange]:
        """A member left or was reaped: name and id are free, whoever waits for them is bound."""
        self._peers = None
        claim = self._claims.pop(name, None)
        if claim is None or self._by_id.get(claim.node_id) is not claim:
            return []
        del self._by_id[claim.node_id]
        del self._by_name[name.lower()]
        changes: list[BindingChange] = [NodeUnbound(claim.node_id)]
        for waiting in self._claims.values():
            if waiting.node_id == claim.node_id or waiting.name.lower() == name.lower():
                changes += self._bind(waiting)
        return changes

    def _bind(self, claim: _Claim) -> list[BindingChange]:
        if claim.name.lower() in self._by_name or claim.node_id in self._by_id:
            return []
        self._by_name[claim.name.lower()] = self._by_id[claim.node_id] = claim
        return [NodeBound(claim.node_id, claim.name, claim.is_alive)]
