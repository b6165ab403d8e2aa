"""Instances of a service, as applications see them, read from the agent's answers."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from svcmesh.client.errors import BadAnswerError
from svcmesh.goformats import join_host_port

Json: TypeAlias = Any  # an answer of the agent, checked where it is read

Health: TypeAlias = Literal["passing", "usable", "any"]
"""Which instances are asked for: those that pass every check, those that DNS would answer with
(warnings included), or all of them."""

MAINTENANCE_CHECKS: Final = ("_node_maintenance", "_service_maintenance:")


class HealthStatus(Enum):
    """The worst state of an instance's checks and of its node's."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"
    MAINTENANCE = "maintenance"

    @property
    def is_usable(self) -> bool:
        """Whether DNS would answer with the instance."""
        return self in (HealthStatus.PASSING, HealthStatus.WARNING)


_SEVERITY: Final = tuple(HealthStatus)


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One instance of a service: where it is and what is known of it."""

    service: str
    id: str
    node: str
    address: str
    """The service's own, or its node's."""
    port: int
    status: HealthStatus = HealthStatus.PASSING
    weight: int = 1
    """Share of calls that it should get, for its status; 0: none while others have more."""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    node_meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    datacenter: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What stays the same when its health or its port changes."""
        return self.node, self.id

    @property
    def authority(self) -> str:
        """`host:port`, with an IPv6 address in brackets."""
        return join_host_port(self.address, self.port)

    def url(self, path: str = "/", *, scheme: str = "http") -> str:
        """Give the address of `path` on this instance."""
        return f"{scheme}://{self.authority}/{path.removeprefix('/')}"


@dataclass(frozen=True, slots=True)
class ServiceQuery:
    """Which instances of which service."""

    service: str
    _: KW_ONLY
    tags: tuple[str, ...] = ()
    """All of them."""
    health: Health = "usable"
    near: str = ""
    """A node, or `_agent`: nearest first."""
    node_meta: tuple[tuple[str, str], ...] = ()
    filter: str = ""
    """An expression of the agent's filter language."""
    datacenter: str = ""

    def parameters(self) -> list[tuple[str, str]]:
        """Query parameters of the agent's API."""
        parameters = [("tag", tag) for tag in self.tags]
        parameters += [("node-meta", f"{key}:{value}") for key, value in self.node_meta]
        if self.health == "passing":
            parameters.append(("passing", "1"))
        for name, value in (("near", self.near), ("filter", self.filter), ("dc", self.datacenter)):
            if value:
                parameters.append((name, value))
        return parameters

    def read(self, answer: Json) -> tuple[Instance, ...]:
        """Read an answer of `/v1/health/service`, in its order.

        Raises:
            BadAnswerError: It has another form.
        """
        found = read_instances(answer)
        if self.health == "usable":
            return tuple(instance for instance in found if instance.status.is_usable)
        return found


def read_instances(answer: Json) -> tuple[Instance, ...]:
    """Read an answer of `/v1/health/service`, in its order.

    Raises:
        BadAnswerError: It has another form.
    """
    try:
        return tuple(_instance(entry) for entry in answer)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not a list of service instances: {error!r}") from error


def _instance(entry: Json) -> Instance:
    node, service = entry["Node"], entry["Service"]
    status = _status(entry["Checks"] or ())
    weights = service.get("Weights") or {}
    is_warning = status is HealthStatus.WARNING
    return Instance(
        service=str(service["Service"]),
        id=str(service["ID"]),
        node=str(node["Node"]),
        address=str(service.get("Address") or node["Address"]),
        port=int(service.get("Port") or 0),
        status=status,
        weight=int(weights.get("Warning" if is_warning else "Passing", 1)),
        tags=tuple(map(str, service.get("Tags") or ())),
        meta=dict(service.get("Meta") or {}),
        node_meta=dict(node.get("Meta") or {}),
        datacenter=str(node.get("Datacenter") or ""),
    )


def _status(checks: Iterable[Json]) -> HealthStatus:
    worst = HealthStatus.PASSING
    for check in checks:
        if str(check["CheckID"]).startswith(MAINTENANCE_CHECKS):
            return HealthStatus.MAINTENANCE
        status = HealthStatus(check["Status"])
        if _SEVERITY.index(status) > _SEVERITY.index(worst):
            worst = status
    return worst
