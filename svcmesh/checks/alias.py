"""What an alias check says: the worst of the checks that it follows, in Consul's words.

Differs from Consul: an alias never follows itself, and what another alias says counts by the checks
which that one follows. In Consul two aliases that follow each other stay critical for ever.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import Alias
from svcmesh.checks.table import ProbeResult


class FollowedCheck(Protocol):
    """A check that an alias may follow."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def output(self) -> str: ...


def alias_result(checks: Iterable[FollowedCheck]) -> ProbeResult:
    """The state of an alias of what has these checks."""
    status, output = HealthStatus.PASSING, "No checks found."
    for check in checks:
        if check.status == HealthStatus.PASSING:
            if status is HealthStatus.PASSING:
                output = "All checks passing."
            continue
        failing = f'Aliased check "{check.name}" failing: {check.output}'
        if check.status == HealthStatus.CRITICAL:
            return ProbeResult(HealthStatus.CRITICAL, failing)
        status, output = HealthStatus.WARNING, failing
    return ProbeResult(status, output)


def missing_service(service_id: str, node: str) -> ProbeResult:
    """The state of an alias of a service that is not there."""
    return ProbeResult(
        HealthStatus.CRITICAL, f"Service {service_id} could not be found on node {node}"
    )


def missing_node(node: str) -> ProbeResult:
    """The state of an alias of a node that is not there. Consul has it passing."""
    return ProbeResult(HealthStatus.CRITICAL, f"Node {node} could not be found")


def followed_services(alias: Alias, aliases_of: Callable[[str], Iterable[Alias]]) -> list[str]:
    """The services of this node whose own checks count for an alias, the node itself as the last.

    `aliases_of` gives a service's checks that are aliases on this node. Each service is followed
    once, so a ring of aliases ends.
    """
    found = dict.fromkeys((alias.service_id, ""))
    pending = list(found)
    while pending:
        for other in aliases_of(pending.pop()):
            if other.service_id not in found:
                found[other.service_id] = None
                pending.append(other.service_id)
    return list(found)
