"""`/v1/catalog/...`: nodes and services, ours and external ones."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from svcmesh.api import selectors
from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.elsewhere import check_wanted_here
from svcmesh.api.instances import instances, service_name
from svcmesh.api.lists import Rows, has_shown_node, is_shown
from svcmesh.api.query import all_of, near, node_meta, row_filter
from svcmesh.api.reads import Endpoint, Read, known
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.rows import CATALOG_SERVICE, node_json, node_service_json
from svcmesh.catalog.topics import NODES, SERVICES, node_topic, service_topic
from svcmesh.errors import NameReservedError, StorageError
from svcmesh.registration import (
    Deregistration,
    RegistrationError,
    parse_deregistration,
    parse_registration,
    plan_deregistration,
    plan_registration,
    renamed_nodes,
)


def add_routes(router: Router, read: Callable[[str, Endpoint], None]) -> None:
    """Add this area's routes."""
    read("/v1/catalog/nodes", nodes)
    read("/v1/catalog/service/", service)
    read("/v1/catalog/connect/", connect)
    read("/v1/catalog/gateway-services/", gateway_services)
    read("/v1/catalog/node/", node)
    read("/v1/catalog/node-services/", node_services)
    router.add("GET", "/v1/catalog/datacenters", datacenters)
    router.add("PUT", "/v1/catalog/register", register)
    router.add("PUT", "/v1/catalog/deregister", deregister)


def nodes(call: Call) -> Read:
    """All nodes."""
    keep = all_of(is_shown, node_meta(call), row_filter(call, selectors.NODE))
    distance, view = near(call), call.facade.view
    return Read(
        (NODES,),
        lambda: Rows(
            view.nodes(),
            node_json,
            keep=keep,
            distance=None if distance is None else lambda row: distance(row.name),
        ),
        is_kept=distance is None,
    )


def services(call: Call) -> Read:
    """Service names with their tags."""
    has_meta, view = node_meta(call), call.facade.view
    if has_meta is None:
        return Read((SERVICES,), view.service_tags)
    return Read(
        (SERVICES, NODES),
        lambda: view.service_tags_on(row for row in view.nodes() if has_meta(row)),
    )


def service(call: Call) -> Read:
    """Instances of one service, whatever their health."""
    topics = (service_topic(service_name(call)),)
    return instances(call, topics, CATALOG_SERVICE, selectors.CATALOG_SERVICE)


def connect(call: Call) -> Read:
    """Proxies of a service: there can be none, this is no service mesh."""
    name = service_name(call)
    row_filter(call, selectors.CATALOG_SERVICE)
    return Read((service_topic(name),), list)


def gateway_services(call: Call) -> Read:
    """Services behind a gateway: there can be none, this is no service mesh."""
    if not call.rest:
        raise ApiError(400, "Missing gateway name")
    return Read((service_topic(call.rest),), lambda: None)


def node(call: Call) -> Read:
    """One node and its services by id; null when there is no such node."""
    return _node(call, as_list=False)


def node_services(call: Call) -> Read:
    """One node and its services as a list."""
    return _node(call, as_list=True)


def _node(call: Call, *, as_list: bool) -> Read:
    name, view = call.rest, call.facade.view
    if not name:
        raise ApiError(400, "Missing node name")
    keep = row_filter(call, selectors.NODE_SERVICE)

    def build() -> object:
        found = view.node(name)
        if found is None:
            known(call, ())
            return {"Node": None, "Services": None} if as_list else None
        return Rows(
            [row for _, row in sorted(found.services.items())],
            node_service_json,
            keep=all_of(has_shown_node, keep),
            key=None if as_list else lambda row: row.record.id,
            head={"Node": node_json(found)},
            name="Services",
        )

    return Read((node_topic(name),), build)


async def datacenters(call: Call) -> web.Response:
    """The known data centers: our own, the others by distance."""
    headers = {"X-Cache": "HIT", "Age": "0"} if "cached" in call.params else None
    found = await call.facade.wan.places()
    return await json_response(call, [place.name for place in found], headers)


async def register(call: Call) -> web.Response:
    """Add or replace an external node with a service and checks."""
    body = await read_json(call.request)
    view = call.facade.view
    try:
        registration = parse_registration(body)
        check_wanted_here(call, registration.datacenter)
        bodies = plan_registration(registration, view)
        for former in renamed_nodes(registration, view):
            keys = plan_deregistration(Deregistration(former), view)
            call.facade.deregister_external(former, keys)
        call.facade.register_external(registration.node, bodies)
        await asyncio.shield(call.facade.external_saved())
    except RegistrationError as error:
        raise ApiError(400 if error.is_malformed else 500, str(error)) from error
    except (NameReservedError, StorageError) as error:
        raise ApiError(500, str(error)) from error
    return await json_response(call, True)


async def deregister(call: Call) -> web.Response:
    """Remove an external node, or a service or check of it."""
    body = await read_json(call.request)
    view = call.facade.view
    try:
        deregistration = parse_deregistration(body)
        check_wanted_here(call, deregistration.datacenter)
        keys = plan_deregistration(deregistration, view)
        if keys:
            call.facade.deregister_external(deregistration.node, keys)
            await asyncio.shield(call.facade.external_saved())
    except RegistrationError as error:
        raise ApiError(400 if error.is_malformed else 500, str(error)) from error
    except (NameReservedError, StorageError) as error:
        raise ApiError(500, str(error)) from error
    return await json_response(call, True)
