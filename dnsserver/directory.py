"""What the DNS front asks of whoever knows the cluster.

Names are looked up without regard to letter case; the implementation folds them. Every method
answers from memory, at once; what has to be asked for elsewhere is an answer to await.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from dnsserver.pool import ServicePool


class Stamp:
    """Says whether an answer is still what the directory would give.

    Whoever made an answer keeps the stamp that came with what it was made from. With the next
    change of that the directory makes `is_current` False, for good.
    """

    __slots__ = ("is_current",)

    def __init__(self) -> None:
        self.is_current = True


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """A node, alive or not: DNS answers for a node whatever its health (as Consul does)."""

    name: str
    address: str
    """An IP, or a host name (then answered as CNAME)."""
    meta: dict[str, str] = field(default_factory=dict)
    """Answered as TXT records, RFC 1464 encoded."""
    lan_ipv4: str = ""
    """The node's tagged address `lan_ipv4`, which A and ANY prefer to `address`. Empty: none."""
    lan_ipv6: str = ""
    """The same of `lan_ipv6`: AAAA prefers it, and everything that takes both families."""


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """One healthy enough instance of a service."""

    node: NodeAnswer
    service: str
    address: str
    """The instance's own address; empty means the node's."""
    port: int
    weight: int
    """0 to 65535: Weights.Passing or Weights.Warning, by its health. A warning may weigh 0."""
    tags: tuple[str, ...] = ()
    lan_ipv4: str = ""
    """The instance's own tagged address `lan_ipv4`, as for a node. Its port is not used in DNS."""
    lan_ipv6: str = ""


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """An alive server agent, for NS and SOA answers."""

    node: str
    address: str


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What a prepared query selects."""

    service: str
    pool: "ServicePool"
    datacenter: str
    """Where the instances are, in lower case."""
    ttl_s: int | None = None
    """None: that of the service."""
    is_kept: bool = True
    """False: the next client, or the next query, may have another answer."""


@dataclass(frozen=True, slots=True)
class AskOthers:
    """What a prepared query selects has to be asked for elsewhere."""

    ask: Callable[[], Awaitable[QueryAnswer | None]]
    """None: nobody could say. It does not raise."""


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """There is such a prepared query, and it cannot be executed under this name."""


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """What is known of a node of another data center."""

    node: NodeAnswer | None
    stamp: Stamp


class Lost(Enum):
    """Why nothing can be said of a name in another data center."""

    UNKNOWN = "unknown"
    """There is no data center of this name."""
    UNREACHABLE = "unreachable"
    """Nobody there answers."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ToFetch(Generic[T]):
    """What is known in another data center, and not here yet."""

    fetch: Callable[[], Awaitable[T | Lost]]
    """Ask there. It does not raise."""


class RemoteDirectory(Protocol):
    """Other data centers as DNS needs them, what is at hand of them at once."""

    def service(
        self, datacenter: str, name: str, tag: str | None
    ) -> "ServicePool | Lost | ToFetch[ServicePool]":
        """Instances that no critical check excludes."""

    def node(self, datacenter: str, name: str) -> RemoteNode | Lost | ToFetch[RemoteNode]: ...


class NoOthers:
    """There is one data center only."""

    def service(self, datacenter: str, name: str, tag: str | None) -> Lost:
        """Nothing."""
        return Lost.UNKNOWN

    def node(self, datacenter: str, name: str) -> Lost:
        """Nothing."""
        return Lost.UNKNOWN


class Directory(Protocol):
    """The cluster as DNS needs it."""

    @property
    def datacenter(self) -> str:
        """Our data center, in lower case."""

    @property
    def is_ready(self) -> bool:
        """False until the first synchronisation; an unknown name is SERVFAIL till then."""

    @property
    def others(self) -> RemoteDirectory:
        """Names in other data centers."""

    def node(self, name: str) -> NodeAnswer | None: ...

    def node_stamp(self, name: str) -> Stamp:
        """The stamp of what `node` answers for this name, also when that is None."""

    def node_by_address(self, address: str) -> NodeAnswer | None:
        """The node with this IP, for PTR. `address` is in canonical text form (RFC 5952)."""

    def service(self, name: str, tag: str | None) -> "ServicePool":
        """Instances that no critical check excludes: none of them when there is no such service.

        Consul, too, answers NXDOMAIN for both. The pool is the directory's: it changes it as the
        catalog changes.
        """

    def prepared_query(
        self, name: str, datacenter: str | None, client: str
    ) -> QueryAnswer | AskOthers | Unanswerable | None:
        """What a prepared query selects for a client at this address; None: there is none.

        Without a data center, or in our own, a query of ours is meant.
        """

    def services_by_address(self, address: str) -> tuple[ServiceAnswer, ...]:
        """Instances whose own address this is, for PTR; the first one is answered."""

    def servers(self) -> tuple[ServerAnswer, ...]: ...
