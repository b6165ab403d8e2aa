"""`/v1/health/...`: instances with their checks, and checks by node, service and state."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from svcmesh.api import selectors
from svcmesh.api.answers import ApiError
from svcmesh.api.instances import instances, service_name
from svcmesh.api.lists import Rows, RowTest, has_shown_node
from svcmesh.api.query import all_of, flag, near, node_meta, row_filter
from svcmesh.api.reads import Endpoint, Read, known
from svcmesh.api.routing import Call
from svcmesh.api.rows import HEALTH, check_json
from svcmesh.catalog.health import is_passing
from svcmesh.catalog.records import HealthStatus
from svcmesh.catalog.topics import (
    CHECKS,
    NODES,
    Topic,
    node_checks_topic,
    service_checks_topic,
    service_topic,
)
from svcmesh.catalog.view_rows import CheckRow, NodeRow


def add_routes(read: Callable[[str, Endpoint], None]) -> None:
    """Add this area's routes."""
    read("/v1/health/service/", service)
    read("/v1/health/connect/", connect)
    read("/v1/health/ingress/", connect)
    read("/v1/health/node/", node)
    read("/v1/health/checks/", checks)
    read("/v1/health/state/", state)


def service(call: Call) -> Read:
    """Instances of a service with node and checks; with `passing` only the healthy ones."""
    name = service_name(call)
    return instances(
        call,
        (service_topic(name), service_checks_topic(name)),
        HEALTH,
        selectors.HEALTH,
        also=is_passing if flag(call, "passing") else None,
    )


def connect(call: Call) -> Read:
    """Proxies or gateways of a service: there can be none, this is no service mesh."""
    name = service_name(call)
    flag(call, "passing")
    row_filter(call, selectors.HEALTH)
    return Read((service_topic(name),), list)


def node(call: Call) -> Read:
    """The checks of one node and of its services."""
    name, view = _rest(call, "Missing node name"), call.facade.view
    keep = row_filter(call, selectors.CHECK)

    def build() -> Rows:
        found = view.node(name)
        rows = () if found is None else tuple(found.all_checks())
        if found is None:
            known(call, rows)
        return Rows(rows, check_json, keep=keep)

    return Read((node_checks_topic(name),), build)


def checks(call: Call) -> Read:
    """The checks of a service's instances."""
    name, view = service_name(call), call.facade.view

    def rows() -> Sequence[CheckRow]:
        known(call, view.service(name))
        return view.service_checks(name)

    return _checks(call, service_checks_topic(name), rows)


def state(call: Call) -> Read:
    """All checks in one state, or in any."""
    wanted, view = _rest(call, "Missing check state"), call.facade.view
    if wanted not in ("any", HealthStatus.PASSING):
        return _checks(call, CHECKS, lambda: list(view.checks_in_state(wanted)))
    # Nearly all there are: taken node by node, as they are sent.
    return _checks(
        call,
        CHECKS,
        view.nodes,
        expand=lambda node: tuple(node.all_checks()),
        also=None if wanted == "any" else lambda row: row.record.status == wanted,
    )


def _checks(
    call: Call,
    topic: Topic,
    rows: Callable[[], Sequence[Any]],
    *,
    expand: Callable[[NodeRow], Iterable[CheckRow]] | None = None,
    also: RowTest | None = None,
) -> Read:
    on_node, distance = node_meta(call), near(call)
    has_meta: RowTest | None = None if on_node is None else lambda row: on_node(row.node)
    keep = all_of(has_shown_node, also, has_meta, row_filter(call, selectors.CHECK))
    return Read(
        (topic,) if on_node is None else (topic, NODES),
        lambda: Rows(
            rows(),
            check_json,
            expand=expand,
            keep=keep,
            distance=None if distance is None else lambda row: distance(row.node.name),
        ),
        is_kept=distance is None,
    )


def _rest(call: Call, problem: str) -> str:
    if not call.rest:
        raise ApiError(400, problem)
    return call.rest
