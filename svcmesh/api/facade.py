"""What the HTTP API asks of the agent that it stands in front of.

The agent implements `AgentFacade`; the tests have a fake. Everything here answers from memory at
once, except the `async` methods, which return when the agent has done what they say.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from gossip import KeyOperation, KeyReport
from gossip.serf.events import Member
from gossip.wire.messages import Coordinate
from svcmesh.catalog.queries import QueryRow
from svcmesh.catalog.records import Body, CheckRecord, HealthStatus, Kind, QueryRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.checks.definition import CheckDefinition
from svcmesh.checks.table import CheckTable
from svcmesh.config import AgentConfig, Reload
from svcmesh.consensus.service import StoreParts
from svcmesh.consistency import Report
from svcmesh.datacenters import RemoteAccess
from svcmesh.definitions import ServiceDefinition
from svcmesh.doctor import Examination
from svcmesh.explaining import ExplainedInstance
from svcmesh.federation import DcPlace, DcServer
from svcmesh.insight import Standing
from svcmesh.metrics import Metrics
from svcmesh.queries.execution import Asker
from svcmesh.queries.failover import Outcome
from svcmesh.rpc import Callers
from svcmesh.summaries import GlobalService
from svcmesh.userevents import UserEvent


class Coordinates(Protocol):
    """Where the nodes are; `svcmesh.coordinates.distance_key` sorts by it.

    Answers change with the topic `COORDINATES` of the view, and not in between.
    """

    def of(self, node: str) -> Coordinate | None:
        """Where the node of this name is, in any letter case; None when nobody knows."""

    def all(self) -> Sequence[tuple[str, Coordinate]]:
        """Every node whose place is known, by name."""


class Events(Protocol):
    """User events: firing them, and the last ones that were for this node."""

    def fire(
        self,
        name: str,
        payload: bytes,
        *,
        node_filter: str = "",
        service_filter: str = "",
        tag_filter: str = "",
    ) -> UserEvent:
        """Send an event to every node, ours included.

        Raises:
            UserEventError: A filter is wrong, or the event is too large.
        """

    def recent(self, name: str = "") -> Sequence[UserEvent]:
        """Those of one name, or all of them, the latest last."""

    def watch(self, on_event: Callable[[], None]) -> Callable[[], object]:
        """Call `on_event` at every event; what is returned ends that."""


class Calls(Protocol):
    """Calls between agents."""

    def callers(self) -> Callers:
        """Who is connected to this agent."""

    @property
    def certificate_expires_utc(self) -> datetime | None:
        """When our certificate expires; None without one."""


class Pool(Protocol):
    """What an operator does to the whole gossip pool."""

    async def change_keys(
        self, operation: KeyOperation, key: bytes = b"", *, relay_factor: int = 0
    ) -> KeyReport:
        """Have every member change or list its keys.

        Raises:
            StateError: We are leaving, or too many such operations are under way.
        """

    def force_leave(self, name: str, *, prune: bool) -> None:
        """Have a failed member listed as left, or with `prune` forgotten, everywhere.

        Raises:
            UnknownMemberError: There is none of that name.
            StateError: We are leaving.
        """


class Wan(Protocol):
    """The data centers that are joined, and the pool in which their servers gossip."""

    @property
    def pool(self) -> Pool | None:
        """What an operator does to the WAN pool; None if this agent is not in it."""

    def members(self) -> Sequence[Member]:
        """The servers in the WAN pool; none if this agent is not in it."""

    def datacenters(self) -> Sequence[str]:
        """Every data center known: our own, the others by distance, lost ones at the end.

        On a client agent those that a server told of when `places` was called last.
        """

    def servers(self, datacenter: str) -> Sequence[DcServer]:
        """The servers of one that take our calls: alive ones first, nearest first.

        On a client agent those of its own data center only.
        """

    async def places(self) -> Sequence[DcPlace]:
        """Every data center known, in the same order; a client agent asks a server."""

    async def services(self) -> Sequence[GlobalService] | None:
        """Every service of every data center, by name, its nearest data centers first.

        A client agent asks a server; None if none answers.
        """

    def stats(self) -> Mapping[str, object]:
        """The `serf_wan` group of `info`; nothing if this agent is not in the pool."""

    async def join(self, address: str) -> int:
        """Join by the address of a server of another data center; the number of members reached.

        Raises:
            JoinError: None was reached, or this agent cannot be in the WAN pool.
        """


class LogLines(Protocol):
    """A stream of log lines; it holds a bounded number for a reader that is slow."""

    async def lines(self) -> list[str]:
        """Wait for lines, and take all there are."""

    def close(self) -> None:
        """End the stream."""


class Logs(Protocol):
    """The agent's log as it is written."""

    def open(self, level: str, *, as_json: bool, on_overflow: Callable[[], None]) -> LogLines:
        """Stream the log from now on; `on_overflow` is called if the reader does not keep up.

        Raises:
            KeyError: There is no such level.
        """


class Insight(Protocol):
    """What the agent can tell about its pool beyond the list of members."""

    def why(self, name: str) -> Standing | None:
        """How a member is seen and why; None if nothing is known of it."""

    async def examine(self) -> Examination:
        """Try every present member in every way; takes seconds."""


class LocalFacade(Protocol):
    """Services and checks of this agent.

    What changes them returns when the change would survive a crash, and raises `StorageError` when
    it could not be saved; registering raises `NameReservedError` while another node holds our name
    or id. Nothing has changed then.
    """

    @property
    def services(self) -> Mapping[str, ServiceDefinition]:
        """Services by id, without their checks."""

    @property
    def table(self) -> CheckTable:
        """The states of all checks, by id."""

    def check_ids(self, service_id: str) -> Iterator[str]:
        """The checks of a service, or of the node if the id is empty."""

    def check_record(self, check_id: str) -> CheckRecord:
        """A check as it is now; its output may be newer than the catalog's."""

    async def register_service(
        self, definition: ServiceDefinition, *, replaces_checks: bool = False
    ) -> None:
        """Add or replace a service with its checks; its other checks go if `replaces_checks`.

        Raises:
            ScriptsDisabledError, DefinitionError: A check is refused.
        """

    async def deregister_service(self, service_id: str) -> None:
        """Remove a service and its checks.

        Raises:
            UnknownServiceError: There is no such service.
        """

    async def register_check(self, definition: CheckDefinition) -> None:
        """Add or replace a check of the node or of a service.

        Raises:
            UnknownServiceError: There is no such service.
            ScriptsDisabledError, DefinitionError: It is refused.
        """

    async def deregister_check(self, check_id: str) -> None:
        """Remove a check; one that is not there is fine."""

    async def report(self, check_id: str, status: HealthStatus, output: str) -> None:
        """Take what a service says of its TTL check.

        Raises:
            UnknownCheckError: There is no such check with a TTL.
        """

    async def set_maintenance(self, service_id: str, reason: str | None) -> None:
        """Put a service, or the node if the id is empty, into maintenance; None ends it.

        Raises:
            UnknownServiceError: There is no such service.
        """


class Queries(Protocol):
    """Prepared queries. Those that are stored are in the view."""

    async def create(self, body: object) -> str:
        """Store the query that a decoded body describes; its id.

        Raises:
            FieldError, QueryError: It is refused.
            NameReservedError, NoLeaderError, StorageError: It cannot be stored now.
        """

    async def update(self, query_id: str, body: object) -> None:
        """Replace a query.

        Raises:
            As `create`; QueryError too when there is no such query.
        """

    async def delete(self, query_id: str) -> None:
        """Remove a query.

        Raises:
            As `update`.
        """

    def resolve(self, name: str) -> tuple[QueryRecord, QueryRow]:
        """The query of an id or a name, rendered if it is a template; and what it comes from.

        Raises:
            QueryNotFoundError: There is none.
            QueryError: It is a template that cannot be rendered for this name.
        """

    async def execute(self, name: str, asker: Asker, *, limit: int = 0) -> Outcome:
        """Execute the query of this name or id; `limit` above 0 is the most instances wanted.

        Raises:
            As `resolve`.
        """


class Consistency(Protocol):
    """Whether this agent's catalog is its peers'."""

    @property
    def agrees(self) -> bool | None:
        """Whether all peers agreed when compared last; None: there has been no comparison."""

    @property
    def lag_s(self) -> float:
        """How long this agent has lacked what a peer was seen to have; 0: it lacks nothing."""

    def report(self) -> Report:
        """What the comparisons with each peer have shown."""


class Explains(Protocol):
    """Why service instances are, or are not, in answers."""

    @property
    def remembers_since_utc(self) -> float:
        """From when on this agent knows what happened."""

    def instances(self, name: str) -> list[ExplainedInstance]:
        """Every instance with this id; if there is none, those of the service of this name."""


class ReloadingFacade(Protocol):
    """Reading the configuration again."""

    async def reload(self) -> Reload:
        """Read the configuration's sources again and apply what can be applied.

        Raises:
            ConfigError: They are wrong. Nothing has changed.
        """

    def stats(self) -> Mapping[str, object]:
        """How often that was done, and what awaits a restart: the `config` group of `info`."""


class AgentFacade(Protocol):
    """One running agent, as its HTTP API sees it."""

    @property
    def config(self) -> AgentConfig: ...

    @property
    def reloading(self) -> ReloadingFacade: ...

    @property
    def view(self) -> CatalogView:
        """The catalog as this agent knows it."""

    @property
    def coordinates(self) -> Coordinates: ...

    @property
    def store(self) -> StoreParts:
        """The consistent store, or the way to it."""

    @property
    def queries(self) -> Queries: ...

    @property
    def remote(self) -> RemoteAccess:
        """The way to other data centers."""

    @property
    def events(self) -> Events: ...

    @property
    def pool(self) -> Pool: ...

    @property
    def wan(self) -> Wan: ...

    @property
    def logs(self) -> Logs: ...

    @property
    def consistency(self) -> Consistency: ...

    @property
    def explainer(self) -> Explains: ...

    @property
    def insight(self) -> Insight: ...
    @property
    def calls(self) -> Calls: ...

    @property
    def metrics(self) -> Metrics:
        """What is measured of this agent."""

    @property
    def is_ready(self) -> bool:
        """False until the catalog is in sync; what it does not know is an error till then."""

    @property
    def node_id(self) -> str:
        """This node's UUID in lower case."""

    @property
    def version(self) -> str:
        """The program's version, such as `0.1.0`."""

    @property
    def local(self) -> LocalFacade:
        """Services and checks of this agent."""

    def members(self) -> Sequence[Member]:
        """The member table: alive, leaving, left and failed ones, ourselves included."""

    def local_member(self) -> Member: ...

    def gossip_stats(self) -> Mapping[str, int]:
        """Queue lengths, Lamport times, health score: the `serf_lan` group of `info`."""

    def is_encrypted(self) -> bool:
        """Whether gossip is encrypted."""

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """Totals since the start, drops by reason among them, by the groups that `info` shows."""

    def register_external(self, node_name: str, bodies: Sequence[Body]) -> None:
        """Publish records of a node without an agent, in this order.

        The caller has checked that no agent has this node name.

        Raises:
            NameReservedError: Another node holds our name or id.
        """

    def deregister_external(self, node_name: str, keys: Sequence[tuple[Kind, str]]) -> None:
        """Withdraw records of a node without an agent; the id of a NODE record is empty.

        Raises:
            NameReservedError: Another node holds our name or id.
        """

    async def external_saved(self) -> None:
        """Return when such writes would survive a crash of this agent, if it keeps them at all.

        Raises:
            StorageError: The disk refuses. They are in force all the same.
        """

    async def join(self, address: str) -> int:
        """Join by one address (`host`, `host:port`, `[v6]:port`); the number of members reached.

        Raises:
            JoinError: None was reached.
        """

    async def leave(self) -> None:
        """Leave the cluster gracefully. Returns when that is done; the agent stops soon after."""

    def leader(self) -> str:
        """`addr:port` of the alive server with the lowest id, empty without one."""

    def peers(self) -> list[str]:
        """`addr:port` of every alive server, in the order of their ids."""
