"""`/v1/internal/ui/...`: the summaries that web pages about the catalog are made from."""

from collections.abc import Callable, Iterable
from itertools import chain

from svcmesh.api import selectors
from svcmesh.api.answers import ApiError
from svcmesh.api.lists import Rows, is_shown
from svcmesh.api.query import all_of, row_filter
from svcmesh.api.reads import Endpoint, Read, known
from svcmesh.api.routing import Call
from svcmesh.api.rows import Json, check_json, node_json, node_service_json
from svcmesh.catalog.records import HealthStatus
from svcmesh.catalog.topics import CHECKS, NODES, SERVICES, node_checks_topic, node_topic
from svcmesh.catalog.view_rows import CheckRow, NodeRow, ServiceRow


def add_routes(read: Callable[[str, Endpoint], None]) -> None:
    """Add this area's routes."""
    read("/v1/internal/ui/services", services)
    read("/v1/internal/ui/nodes", nodes)
    read("/v1/internal/ui/node/", node)
    read("/v1/internal/ui/gateway-services-nodes/", gateway_services)


def services(call: Call) -> Read:
    """Every service with how many instances it has, where, and how they are."""
    view = call.facade.view
    keep = row_filter(call, selectors.HEALTH)

    def instances(name: str) -> list[tuple[str, list[ServiceRow]]]:
        """The row of a service; without one of its instances only when all services are shown."""
        found = [
            row
            for row in view.service(name)
            if row.record.name == name and (keep is None or keep(row))
        ]
        return [(name, found)] if found or keep is None else []

    def build() -> Rows:
        return Rows(list(view.service_tags()), lambda row: _summary(*row), expand=instances)

    return Read((SERVICES, NODES, CHECKS), build, is_kept=keep is None)


def nodes(call: Call) -> Read:
    """Every node with its services and checks."""
    keep, view = row_filter(call, selectors.NODE_INFO), call.facade.view
    is_there = all_of(is_shown, keep)
    return Read(
        (NODES, SERVICES, CHECKS),
        lambda: Rows(view.nodes(), _node_json, keep=is_there),
        is_kept=False,  # there is no topic for the instances of all services
    )


def node(call: Call) -> Read:
    """One node with its services and checks."""
    name, view = call.rest, call.facade.view
    if not name:
        raise ApiError(400, "Missing node name")

    def build() -> object:
        found = view.node(name)
        if found is None:
            known(call, ())
            raise ApiError(404, "")
        return _node_json(found)

    return Read((node_topic(name), node_checks_topic(name)), build)


def gateway_services(call: Call) -> Read:
    """Services behind a gateway: there can be none, this is no service mesh."""
    if not call.rest:
        raise ApiError(400, "Missing gateway name")
    return Read((SERVICES,), list)


def _summary(name: str, instances: list[ServiceRow]) -> Json:
    # As in Consul, the checks of a node count for each of its instances.
    counts = _count(chain.from_iterable((*row.checks, *row.node.node_checks) for row in instances))
    tags = sorted({tag for row in instances for tag in row.record.tags})
    return {
        "Name": name,
        "Tags": tags or None,
        "Nodes": [row.node.name for row in instances],
        "InstanceCount": len(instances),
        "ChecksPassing": counts[HealthStatus.PASSING],
        "ChecksWarning": counts[HealthStatus.WARNING],
        "ChecksCritical": counts[HealthStatus.CRITICAL],
        "ExternalSources": None,
        "GatewayConfig": {},
    }


def _count(checks: Iterable[CheckRow]) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(HealthStatus, 0)
    for check in checks:
        if check.record.status in counts:
            counts[check.record.status] += 1
    return counts


def _node_json(row: NodeRow) -> Json:
    shown = node_json(row)
    fields = ("ID", "Node", "Address", "TaggedAddresses", "Meta")
    return {
        **{name: shown[name] for name in fields},
        "Services": [node_service_json(service) for _, service in sorted(row.services.items())],
        "Checks": [check_json(check) for check in row.all_checks()],
    }
