"""`/v1/agent/service...` and `/v1/agent/maintenance`: the services of this agent."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from svcmesh.api import selectors
from svcmesh.api.answers import JSON_HEADERS, ApiError, json_bytes
from svcmesh.api.bodies import read_json
from svcmesh.api.facade import AgentFacade
from svcmesh.api.lists import Rows, RowTest
from svcmesh.api.query import check_namespace, row_filter, wait_options
from svcmesh.api.reads import ReadService
from svcmesh.api.responses import dress, empty_response, json_response, takes_gzip
from svcmesh.api.routing import Call, Router
from svcmesh.api.rows import definition_json
from svcmesh.api.writes import write
from svcmesh.catalog.topics import node_topic
from svcmesh.definitions import ServiceDefinition, parse_service_definition
from svcmesh.errors import UnknownServiceError
from svcmesh.goformats import parse_bool

HASH_BYTES: Final = 8


def add_routes(router: Router, reads: ReadService) -> None:
    """Add this area's routes."""

    async def service(call: Call) -> web.Response:
        return await _service(call, reads)

    router.add("GET", "/v1/agent/services", ServiceList().answer)
    router.add("GET", "/v1/agent/service/", service)
    router.add("PUT", "/v1/agent/service/register", register)
    router.add("PUT", "/v1/agent/service/deregister/", deregister)
    router.add("PUT", "/v1/agent/service/maintenance/", service_maintenance)
    router.add("PUT", "/v1/agent/maintenance", node_maintenance)


class ServiceList:
    """The answer to `/v1/agent/services`, made again only when a service has changed."""

    def __init__(self) -> None:
        self._definitions: list[ServiceDefinition] = []
        self._answers: dict[tuple[bool, bool], tuple[bytes, dict[str, str]]] = {}

    async def answer(self, call: Call) -> web.Response:
        """All services of this agent, by id."""
        check_namespace(call)
        keep = row_filter(call, selectors.AGENT_SERVICE)
        services = call.facade.local.services
        if keep is not None:
            return await json_response(call, _by_id(services, keep))
        definitions = list(services.values())
        if definitions != self._definitions:
            self._definitions, self._answers = definitions, {}
        answers = self._answers
        key = ("pretty" in call.params, takes_gzip(call.request))
        if key not in answers:
            answers[key] = await dress(call, _by_id(services), JSON_HEADERS)
        body, headers = answers[key]
        return web.Response(body=body, headers=headers)


def _by_id(services: Mapping[str, ServiceDefinition], keep: RowTest | None = None) -> Rows:
    return Rows(
        [services[service_id] for service_id in sorted(services)],
        definition_json,
        keep=keep,
        key=lambda definition: definition.id,
    )


async def _service(call: Call, reads: ReadService) -> web.Response:
    """One service of this agent; with `hash` as soon as it is another one than that."""
    check_namespace(call)
    _, wait_s = wait_options(call)
    facade = call.facade
    value, content_hash = _definition(facade, call.rest)
    if known_hash := call.param("hash"):
        deadline_at = asyncio.get_running_loop().time() + wait_s
        topics = (node_topic(facade.config.node_name),)
        while content_hash == known_hash and await reads.next_change(
            facade.view, topics, deadline_at
        ):
            value, content_hash = _definition(facade, call.rest)
    return await json_response(
        call, {**value, "ContentHash": content_hash}, {"X-Consul-ContentHash": content_hash}
    )


def _definition(facade: AgentFacade, service_id: str) -> tuple[dict[str, object], str]:
    definition = facade.local.services.get(service_id)
    if definition is None:
        raise ApiError(404, f"unknown service ID: {service_id}")
    value = definition_json(definition)
    return value, hashlib.blake2b(json_bytes(value), digest_size=HASH_BYTES).hexdigest()


async def register(call: Call) -> web.Response:
    """Add or replace a service with its checks; answered when it would survive a crash.

    With `replace-existing-checks` the service's other checks go.
    """
    check_namespace(call)
    body = await read_json(call.request)
    # As in Consul: alone or true, anything else is no.
    replaces = call.param("replace-existing-checks") in ("", "true")
    await write(_register(call.facade, body, replaces_checks=replaces))
    return empty_response()


async def _register(facade: AgentFacade, body: object, *, replaces_checks: bool) -> None:
    definition = parse_service_definition(body, where="", strict=True)
    await facade.local.register_service(definition, replaces_checks=replaces_checks)


async def deregister(call: Call) -> web.Response:
    """Remove a service with its checks; one that is not there is fine, as in Consul."""
    check_namespace(call)
    if not call.rest:
        raise ApiError(500, "ServiceID missing")
    try:
        await write(call.facade.local.deregister_service(call.rest))
    except UnknownServiceError:
        return empty_response()
    return empty_response()


async def service_maintenance(call: Call) -> web.Response:
    """Put a service into maintenance, or end it."""
    service_id = call.rest
    if not service_id:
        raise ApiError(400, "Missing service ID")
    reason = _maintenance_reason(call)
    check_namespace(call)
    try:
        await write(call.facade.local.set_maintenance(service_id, reason))
    except UnknownServiceError:
        raise ApiError(404, f'No service registered with ID "{service_id}"') from None
    return empty_response()


async def node_maintenance(call: Call) -> web.Response:
    """Put the node with all its services into maintenance, or end it."""
    await write(call.facade.local.set_maintenance("", _maintenance_reason(call)))
    return empty_response()


def _maintenance_reason(call: Call) -> str | None:
    """Why, if maintenance is to begin; None when it is to end."""
    text = call.param("enable")
    if text is None:
        raise ApiError(400, "Missing value for enable")
    try:
        is_enabled = parse_bool(text)
    except ValueError:
        raise ApiError(400, f'Invalid value for enable: "{text}"') from None
    return (call.param("reason") or "") if is_enabled else None
