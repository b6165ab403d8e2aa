"""What a health check is: how its state comes about, how often, and what its results mean."""

from dataclasses import dataclass
from typing import Final

from svcmesh.catalog.records import HealthStatus

INTERVAL_S_MIN: Final = 1.0
"""As in Consul: a shorter interval is raised to it."""

DEREGISTER_S_MIN: Final = 60.0
"""As in Consul: a critical service is kept for at least so long."""

OUTPUT_BYTES_MAX: Final = 4096
"""Of a result's output, unless the agent or the check asks for less or more."""

SCRIPTS_DISABLED: Final = (
    "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or "
    "'enable_local_script_checks' to true"
)
"""Why a configured check that runs a command is refused, in Consul's words."""

PROBE_TIMEOUT_S: Final = 10.0
SCRIPT_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """Passing: 2xx; warning: 429; critical: all else."""

    url: str
    method: str = "GET"
    header: tuple[tuple[str, tuple[str, ...]], ...] = ()
    body: str = ""
    tls_server_name: str = ""
    """Empty: the host of the URL."""
    tls_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """Passing when a connection is accepted."""

    address: str
    """`host:port`."""


@dataclass(frozen=True, slots=True)
class UdpProbe:
    """Critical when the host says that nobody listens."""

    address: str
    """`host:port`."""


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """The standard health protocol, `grpc.health.v1.Health/Check`."""

    target: str
    """`host:port`, or `host:port/service`."""
    uses_tls: bool = False
    tls_server_name: str = ""
    tls_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class ScriptProbe:
    """A command. Passing: exit code 0; warning: 1; critical: all else."""

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ttl:
    """The service reports; without a report for `ttl_s` it is critical."""

    ttl_s: float


@dataclass(frozen=True, slots=True)
class Alias:
    """As healthy as a service or node is."""

    service_id: str = ""
    """Empty: the node's checks alone."""
    node: str = ""
    """Empty: this agent's node."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Critical for as long as it exists."""


Probe = HttpProbe | TcpProbe | UdpProbe | GrpcProbe | ScriptProbe
"""What is run by us, in intervals."""

Source = Probe | Ttl | Alias | Maintenance
"""Where the state of a check comes from."""

SOURCE_TYPES: Final[dict[type[Source], str]] = {
    HttpProbe: "http",
    TcpProbe: "tcp",
    UdpProbe: "udp",
    GrpcProbe: "grpc",
    ScriptProbe: "script",
    Ttl: "ttl",
    Alias: "alias",
    Maintenance: "maintenance",
}
"""Their names in the API."""


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """One health check of this agent's node or of one of its services, valid."""

    id: str
    name: str
    source: Source
    notes: str = ""
    service_id: str = ""
    """Empty: a check of the node."""
    status: HealthStatus = HealthStatus.CRITICAL
    """Until the first result."""
    interval_s: float = 0.0
    """Between the starts of two runs; at least `INTERVAL_S_MIN` for a `Probe`, else unused."""
    timeout_s: float = 0.0
    """Of one run of a `Probe`."""
    success_before_passing: int = 0
    """Results in a row, passing or warning, before the first of them counts; 0 and 1: at once."""
    failures_before_warning: int = 0
    """Critical results in a row before the check warns; 0: as `failures_before_critical`."""
    failures_before_critical: int = 0
    """Critical results in a row before the check is critical; 0 and 1: at once."""
    deregister_after_s: float = 0.0
    """A service that is critical for so long is deregistered; 0: never."""
    output_bytes_max: int = 0
    """Of the output that is kept; 0: as the agent's setting says."""

    @property
    def type(self) -> str:
        """The name of the kind of check in the API."""
        return SOURCE_TYPES[type(self.source)]
