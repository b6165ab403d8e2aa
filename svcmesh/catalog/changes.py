"""What the replication core tells its surroundings: facts about records, names and itself.

`replica.py` returns these; the view (`view.py`) applies those of `ViewChange`, the agent acts on
the rest. Facts of one call are in the order in which they happened.
"""

from dataclasses import dataclass
from typing import Literal

from svcmesh.catalog.records import Body, Kind, NodeId


@dataclass(frozen=True, slots=True)
class OwnNode:
    """An agent's node: its records are written by that agent only, and keyed by its id."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class ExternalNode:
    """A node without an agent: any agent may write its records."""

    name: str
    """In lower case. The `NodeRecord` has the name as it was written. Empty: no node, but what any
    agent may write besides, that is prepared queries."""


Owner = OwnNode | ExternalNode


@dataclass(frozen=True, slots=True)
class RecordChanged:
    """A record appeared, was replaced or went. Also reported for nodes that are not bound.

    Never with `old == new`: a record whose version alone rose is not reported.
    """

    owner: Owner
    kind: Kind
    id: str
    """The service's or check's id; empty for a node record."""
    old: Body | None
    new: Body | None


@dataclass(frozen=True, slots=True)
class NodeBound:
    """The member table binds this name to this node: its rows are visible under it from now on."""

    node_id: NodeId
    name: str
    is_alive: bool


@dataclass(frozen=True, slots=True)
class NodeHealthChanged:
    """A bound node's member failed or came back; `serfHealth` follows."""

    node_id: NodeId
    is_alive: bool


@dataclass(frozen=True, slots=True)
class NodeUnbound:
    """The node left, was reaped, or lost its name or id to another: its rows are hidden at once."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class BecameReady:
    """In sync: a repair completed, there is nobody to join, or the wait is over. Once per run."""


@dataclass(frozen=True, slots=True)
class IdentityContested:
    """We lost our name or node id to another agent: publishing has stopped, reading goes on."""

    what: Literal["name", "id"]
    name: str
    node_id: NodeId
    holder: str
    """Who has it: the holder's node id when `what` is "name", its name when `what` is "id"."""


@dataclass(frozen=True, slots=True)
class IdentityRestored:
    """Nobody contests our identity any more: publishing goes on."""


@dataclass(frozen=True, slots=True)
class EpochRaised:
    """A peer knew a higher epoch of ours: this one is in use from now on; persist it."""

    epoch: int


@dataclass(frozen=True, slots=True)
class CatalogDropped:
    """A message or a record was dropped. `reason` is a stable word for a metric."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ClockDrift:
    """Our wall clock is off the median of the peers' by this much (positive: ours is ahead)."""

    drift_s: float


@dataclass(frozen=True, slots=True)
class SendCatalog:
    """Send a direct user message to a member. Its first byte is 0x80.

    The shell picks UDP, or a stream when the payload exceeds what a datagram takes.
    """

    to: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class AnswerSource:
    """Send a direct message back to the address that the message being handled came from.

    For senders that are not members here: the loser of a contest for a name.
    """

    payload: bytes


ViewChange = RecordChanged | NodeBound | NodeHealthChanged | NodeUnbound
"""What decides which rows are seen."""

CatalogEffect = (
    ViewChange
    | BecameReady
    | IdentityContested
    | IdentityRestored
    | EpochRaised
    | CatalogDropped
    | ClockDrift
    | SendCatalog
    | AnswerSource
)
"""Everything a `Replica` returns."""
