"""`/v1/catalog/...`: nodes and services, ours and external ones."""

import asyncio
from collections.abc import Callable
from functools import partial

from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.facade import NameReservedError
from svcmesh.api.query import check_datacenter, node_meta
from svcmesh.api.reads import Endpoint, Read, known
from svcmesh.api.responses import Rows, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.rows import catalog_service_json, node_json, node_service_json
from svcmesh.catalog.health import has_node_meta, has_tags
from svcmesh.catalog.topics import NODES, SERVICES, node_topic, service_topic
from svcmesh.registration import (
    RegistrationError,
    parse_deregistration,
    parse_registration,
    plan_deregistration,
    plan_registration,
)


def add_routes(router: Router, read: Callable[[str, Endpoint], None]) -> None:
    """Add this area's routes."""
    read("/v1/catalog/nodes", nodes)
    read("/v1/catalog/services", services)
    read("/v1/catalog/service/", service)
    read("/v1/catalog/connect/", connect)
    read("/v1/catalog/node/", node)
    read("/v1/catalog/node-services/", node_services)
    router.add("GET", "/v1/catalog/datacenters", datacenters)
    router.add("PUT", "/v1/catalog/register", register)
    router.add("PUT", "/v1/catalog/deregister", deregister)


def nodes(call: Call) -> Read:
    """All nodes."""
    meta, view = node_meta(call), call.facade.view
    return Read(
        (NODES,),
        lambda: Rows([row for row in view.nodes() if has_node_meta(row, meta)], node_json),
    )


def services(call: Call) -> Read:
    """Service names with their tags."""
    meta, view = node_meta(call), call.facade.view
    if not meta:
        return Read((SERVICES,), view.service_tags)
    return Read(
        (SERVICES, NODES),
        lambda: view.service_tags_on(row for row in view.nodes() if has_node_meta(row, meta)),
    )


def service(call: Call) -> Read:
    """Instances of one service, whatever their health."""
    name = call.rest
    if not name:
        raise ApiError(400, "Missing service name")
    meta, view = node_meta(call), call.facade.view
    tags = tuple(tag.lower() for tag in call.params.get("tag", ()))
    return Read(
        (service_topic(name),),
        lambda: Rows(
            [
                row
                for row in known(call, view.service(name))
                if has_tags(row, tags) and has_node_meta(row.node, meta)
            ],
            catalog_service_json,
        ),
    )


def connect(call: Call) -> Read:
    """Proxies of a service: there can be none until the service mesh is built."""
    if not call.rest:
        raise ApiError(400, "Missing service name")
    return Read((service_topic(call.rest),), list)


def node(call: Call) -> Read:
    """One node and its services by id; null when there is no such node."""
    return _node(call, as_list=False)


def node_services(call: Call) -> Read:
    """One node and its services as a list."""
    return _node(call, as_list=True)


def _node(call: Call, *, as_list: bool) -> Read:
    if not call.rest:
        raise ApiError(400, "Missing node name")
    return Read((node_topic(call.rest),), partial(_node_json, call, as_list=as_list))


def _node_json(call: Call, *, as_list: bool) -> object:
    found = call.facade.view.node(call.rest)
    if found is None:
        known(call, ())
        return {"Node": None, "Services": None} if as_list else None
    rows = {key: node_service_json(row) for key, row in sorted(found.services.items())}
    return {"Node": node_json(found), "Services": list(rows.values()) if as_list else rows}


async def datacenters(call: Call) -> web.Response:
    """The known data centers: only our own, until others can be joined."""
    headers = {"X-Cache": "HIT", "Age": "0"} if "cached" in call.params else None
    return await json_response(call, [call.facade.view.datacenter], headers)


async def register(call: Call) -> web.Response:
    """Add or replace an external node with a service and checks."""
    body = await read_json(call.request)
    view = call.facade.view
    try:
        registration = parse_registration(body)
        check_datacenter(call, registration.datacenter)
        bodies = plan_registration(registration, view)
        await asyncio.shield(call.facade.register_external(registration.node, bodies))
    except RegistrationError as error:
        raise ApiError(400 if error.is_malformed else 500, str(error)) from error
    except NameReservedError as error:
        raise ApiError(500, str(error)) from error
    return await json_response(call, True)


async def deregister(call: Call) -> web.Response:
    """Remove an external node, or a service or check of it."""
    body = await read_json(call.request)
    view = call.facade.view
    try:
        deregistration = parse_deregistration(body)
        check_datacenter(call, deregistration.datacenter)
        keys = plan_deregistration(deregistration, view)
        if keys:
            await asyncio.shield(call.facade.deregister_external(deregistration.node, keys))
    except RegistrationError as error:
        raise ApiError(400 if error.is_malformed else 500, str(error)) from error
    except NameReservedError as error:
        raise ApiError(500, str(error)) from error
    return await json_response(call, True)
