"""`/v1/health/...`: instances with their checks, and checks by node, service and state."""

from collections.abc import Callable

from svcmesh.api.answers import ApiError
from svcmesh.api.query import flag, node_meta
from svcmesh.api.reads import Endpoint, Read, known
from svcmesh.api.responses import Rows
from svcmesh.api.routing import Call
from svcmesh.api.rows import check_json, health_json
from svcmesh.catalog.health import has_node_meta, has_tags, is_passing
from svcmesh.catalog.topics import (
    CHECKS,
    NODES,
    Topic,
    node_checks_topic,
    service_checks_topic,
    service_topic,
)
from svcmesh.catalog.view_rows import CheckRow


def add_routes(read: Callable[[str, Endpoint], None]) -> None:
    """Add this area's routes."""
    read("/v1/health/service/", service)
    read("/v1/health/connect/", connect)
    read("/v1/health/node/", node)
    read("/v1/health/checks/", checks)
    read("/v1/health/state/", state)


def service(call: Call) -> Read:
    """Instances of a service with node and checks; with `passing` only the healthy ones."""
    name = _rest(call, "Missing service name")
    only_passing = flag(call, "passing")
    meta, view = node_meta(call), call.facade.view
    tags = tuple(tag.lower() for tag in call.params.get("tag", ()))
    return Read(
        (service_topic(name), service_checks_topic(name)),
        lambda: Rows(
            [
                row
                for row in known(call, view.service(name))
                if has_tags(row, tags)
                and has_node_meta(row.node, meta)
                and (not only_passing or is_passing(row))
            ],
            health_json,
        ),
    )


def connect(call: Call) -> Read:
    """Proxies of a service: there can be none until the service mesh is built."""
    name = _rest(call, "Missing service name")
    return Read((service_topic(name),), list)


def node(call: Call) -> Read:
    """The checks of one node and of its services."""
    name = _rest(call, "Missing node name")
    view = call.facade.view

    def build() -> Rows:
        found = view.node(name)
        rows = [] if found is None else list(found.all_checks())
        if found is None:
            known(call, rows)
        return Rows(rows, check_json)

    return Read((node_checks_topic(name),), build)


def checks(call: Call) -> Read:
    """The checks of a service's instances."""
    name = _rest(call, "Missing service name")
    view = call.facade.view

    def build() -> list[CheckRow]:
        known(call, view.service(name))
        return view.service_checks(name)

    return _checks(call, service_checks_topic(name), build)


def state(call: Call) -> Read:
    """All checks in one state, or in any."""
    wanted = _rest(call, "Missing check state")
    return _checks(call, CHECKS, lambda: list(call.facade.view.checks_in_state(wanted)))


def _checks(call: Call, topic: Topic, rows: Callable[[], list[CheckRow]]) -> Read:
    meta = node_meta(call)
    return Read(
        (topic, NODES) if meta else (topic,),
        lambda: Rows([row for row in rows() if has_node_meta(row.node, meta)], check_json),
    )


def _rest(call: Call, problem: str) -> str:
    if not call.rest:
        raise ApiError(400, problem)
    return call.rest
