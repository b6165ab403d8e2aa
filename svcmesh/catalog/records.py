"""What the catalog holds: nodes, services, checks, prepared queries; every agent has a copy.

A record is a value: it is replaced whole, never patched in part. Field names follow Consul's HTTP
API in snake case. How records are versioned and spread is `replica.py`'s business.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, NewType

from gossip.wire.messages import Coordinate

RECORD_BYTES_MAX: Final = 65_536
"""Size of a record as it is replicated, without its key; a larger one is refused."""

NodeId = NewType("NodeId", str)
"""A node's UUID in lower case. Its name is an attribute that can be contested."""


class Kind(StrEnum):
    """Record kinds."""

    NODE = "n"
    SERVICE = "s"
    CHECK = "c"
    QUERY = "q"


class HealthStatus(StrEnum):
    """Health of a check (not of a member: that is alive, suspect, dead, left)."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """An agent's own entry. Published by the agent, first of all in every epoch."""

    name: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    id: str = ""
    """The UUID that an external node was registered with; an agent's node has it in `Owner`."""
    coordinate: Coordinate | None = None
    """Where an external node is, as somebody measured it; an agent's comes with its gossip."""
    given_empty: tuple[str, ...] = ()
    """Maps, by name, that were given although empty: the API tells them from absent ones."""


class TaggedAddress(NamedTuple):
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One service instance on one node. `id` is unique on its node."""

    id: str
    name: str
    tags: tuple[str, ...] = ()
    port: int = 0
    address: str = ""
    """Empty: the node's address."""
    tagged_addresses: dict[str, TaggedAddress] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    weight_passing: int = 1
    weight_warning: int = 1
    enable_tag_override: bool = False
    given_empty: tuple[str, ...] = ()
    """As in `NodeRecord`."""


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """The last known result of one health check of a node or of one of its services."""

    id: str
    name: str
    status: str
    """A `HealthStatus`, from agents. An external check may have any word here, as in Consul."""
    output: str = ""
    notes: str = ""
    service_id: str = ""
    """Empty: a check of the node."""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    definition: str = ""
    """How an external check is to be run: a JSON object as Consul's API has it. Empty: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryRecord:
    """A prepared query: a question about a service, under a name.

    It belongs to no node, so any agent may write it. Of collections, None is one that was never
    given; the API tells it from an empty one.
    """

    id: str
    """A UUID in lower case."""
    name: str
    """Unique in any letter case, or empty: a query bound to a session, or the template that takes
    every name. When both sides of a split gave a name away, the earlier `claim` has it."""
    claim: int
    """A reading of the hybrid clock, from when the query took its name."""
    service: str
    session: str = ""
    """It goes when this session ends. Empty: it stays."""
    token: str = ""
    template_type: str = ""
    """Empty: no template."""
    template_regexp: str = ""
    removes_empty_tags: bool = False
    nearest_n: int = 0
    """So many of the nearest other data centers are asked when there is no instance here."""
    datacenters: tuple[str, ...] | None = None
    """Those that are asked after them, in this order."""
    are_targets: bool = False
    """Whether `datacenters` were given as Consul's later releases name them."""
    only_passing: bool = False
    ignored_checks: tuple[str, ...] | None = None
    near: str = ""
    """A node, `_agent` or `_ip`. Empty: in random order."""
    tags: tuple[str, ...] | None = None
    """Tags to have, and behind a `!` tags not to have."""
    node_meta: tuple[tuple[str, str], ...] | None = None
    service_meta: tuple[tuple[str, str], ...] | None = None
    dns_ttl: str = ""
    """A duration. Empty: as for any answer about the service."""


Body = NodeRecord | ServiceRecord | CheckRecord | QueryRecord
