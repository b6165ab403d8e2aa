"""`/v1/agent/service...`: the services of this agent."""

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import Final

from aiohttp import web

from svcmesh.api import selectors
from svcmesh.api.answers import JSON_HEADERS, ApiError, json_bytes
from svcmesh.api.bodies import read_json
from svcmesh.api.facade import AgentFacade, NameReservedError, UnknownServiceError
from svcmesh.api.query import check_namespace, read_options, row_filter
from svcmesh.api.reads import ReadService
from svcmesh.api.responses import dress, empty_response, json_response, takes_gzip
from svcmesh.api.routing import Call, Router
from svcmesh.api.rows import definition_json
from svcmesh.catalog.topics import node_topic
from svcmesh.definitions import DefinitionError, ServiceDefinition, parse_service_definition
from svcmesh.errors import StorageError

HASH_BYTES: Final = 8


def add_routes(router: Router, reads: ReadService) -> None:
    """Add this area's routes."""

    async def service(call: Call) -> web.Response:
        return await _service(call, reads)

    router.add("GET", "/v1/agent/services", ServiceList().answer)
    router.add("GET", "/v1/agent/service/", service)
    router.add("PUT", "/v1/agent/service/register", register)
    router.add("PUT", "/v1/agent/service/deregister/", deregister)


class ServiceList:
    """The answer to `/v1/agent/services`, made again only when a service has changed."""

    def __init__(self) -> None:
        self._definitions: list[ServiceDefinition] = []
        self._answers: dict[tuple[bool, bool], tuple[bytes, dict[str, str]]] = {}

    async def answer(self, call: Call) -> web.Response:
        """All services of this agent, by id."""
        check_namespace(call)
        keep = row_filter(call, selectors.AGENT_SERVICE)
        services = call.facade.local_services()
        if keep is not None:
            chosen = {name: services[name] for name in sorted(services) if keep(services[name])}
            return await json_response(
                call, {name: definition_json(chosen[name]) for name in chosen}
            )
        definitions = list(services.values())
        if definitions != self._definitions:
            self._definitions, self._answers = definitions, {}
        answers = self._answers
        key = ("pretty" in call.params, takes_gzip(call.request))
        if key not in answers:
            value = {name: definition_json(services[name]) for name in sorted(services)}
            answers[key] = await dress(call, value, JSON_HEADERS)
        body, headers = answers[key]
        return web.Response(body=body, headers=headers)


async def _service(call: Call, reads: ReadService) -> web.Response:
    """One service of this agent; with `hash` as soon as it is another one than that."""
    options = read_options(call)
    facade = call.facade
    value, content_hash = _definition(facade, call.rest)
    if known_hash := call.param("hash"):
        deadline_at = asyncio.get_running_loop().time() + options.wait_s
        topics = (node_topic(facade.config.node_name),)
        while content_hash == known_hash and await reads.next_change(
            facade.view, topics, deadline_at
        ):
            value, content_hash = _definition(facade, call.rest)
    return await json_response(
        call, {**value, "ContentHash": content_hash}, {"X-Consul-ContentHash": content_hash}
    )


def _definition(facade: AgentFacade, service_id: str) -> tuple[dict[str, object], str]:
    definition = facade.local_services().get(service_id)
    if definition is None:
        raise ApiError(404, f"unknown service ID: {service_id}")
    value = definition_json(definition)
    return value, hashlib.blake2b(json_bytes(value), digest_size=HASH_BYTES).hexdigest()


async def register(call: Call) -> web.Response:
    """Add or replace a service; answered when it would survive a crash.

    `replace-existing-checks` has nothing to replace: services have no checks yet.
    """
    check_namespace(call)
    body = await read_json(call.request)
    try:
        definition = parse_service_definition(body, where="", strict=True)
    except DefinitionError as error:
        raise ApiError(400, str(error)) from error
    await _write(call.facade.register_service(definition))
    return empty_response()


async def deregister(call: Call) -> web.Response:
    """Remove a service; one that is not there is fine, as in Consul."""
    if not call.rest:
        raise ApiError(500, "ServiceID missing")
    try:
        await _write(call.facade.deregister_service(call.rest))
    except UnknownServiceError:
        return empty_response()
    return empty_response()


async def _write(work: Awaitable[None]) -> None:
    """Finish a write even when the client hangs up; its failures are the server's."""
    try:
        await asyncio.shield(work)
    except (NameReservedError, StorageError) as error:
        raise ApiError(500, str(error)) from error
