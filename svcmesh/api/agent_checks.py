"""`/v1/agent/check...`: the checks of this agent."""

from typing import NamedTuple

from aiohttp import web

from svcmesh.api import selectors
from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.facade import AgentFacade
from svcmesh.api.lists import Rows
from svcmesh.api.query import check_namespace, row_filter
from svcmesh.api.responses import empty_response, json_response
from svcmesh.api.routing import Call, Handler, Router
from svcmesh.api.rows import own_check_json
from svcmesh.api.writes import write
from svcmesh.catalog.records import CheckRecord, HealthStatus
from svcmesh.checks.definition import OUTPUT_BYTES_MAX
from svcmesh.checks.parsing import parse_check_definition
from svcmesh.checks.table import shorten
from svcmesh.errors import UnknownServiceError
from svcmesh.jsonvalues import FieldError, Fields


class _Node(NamedTuple):
    name: str


class _Row(NamedTuple):
    """A check as filters see it."""

    node: _Node
    record: CheckRecord


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/checks", checks)
    router.add("PUT", "/v1/agent/check/register", register)
    router.add("PUT", "/v1/agent/check/deregister/", deregister)
    router.add("PUT", "/v1/agent/check/update/", update)
    for verb, status in (
        ("pass", HealthStatus.PASSING),
        ("warn", HealthStatus.WARNING),
        ("fail", HealthStatus.CRITICAL),
    ):
        router.add("PUT", f"/v1/agent/check/{verb}/", _reporter(status))


async def checks(call: Call) -> web.Response:
    """All checks of this agent, by id."""
    check_namespace(call)
    keep = row_filter(call, selectors.CHECK)
    local, node = call.facade.local, _Node(call.facade.config.node_name)
    rows = [_Row(node, local.check_record(check_id)) for check_id in sorted(local.table)]
    return await json_response(
        call,
        Rows(
            rows,
            lambda row: own_check_json(row.node.name, row.record),
            keep=keep,
            key=lambda row: row.record.id,
        ),
    )


async def register(call: Call) -> web.Response:
    """Add or replace a check; answered when it would survive a crash."""
    check_namespace(call)
    body = await read_json(call.request)
    try:
        await write(_register(call.facade, body))
    except UnknownServiceError as error:
        raise ApiError(500, f'ServiceID "{error.service_id}" does not exist') from error
    return empty_response()


async def _register(facade: AgentFacade, body: object) -> None:
    await facade.local.register_check(parse_check_definition(body, where="", strict=True))


async def deregister(call: Call) -> web.Response:
    """Remove a check; one that is not there is fine, as in Consul."""
    check_namespace(call)
    if not call.rest:
        raise ApiError(500, "CheckID missing")
    await write(call.facade.local.deregister_check(call.rest))
    return empty_response()


async def update(call: Call) -> web.Response:
    """Take status and output of a TTL check from the body."""
    check_namespace(call)
    try:
        fields = Fields(await read_json(call.request))
        given, output = fields.string("Status"), fields.string("Output")
        fields.finish()
    except FieldError as error:
        raise ApiError(400, str(error)) from error
    try:
        status = HealthStatus(given)
    except ValueError:
        raise ApiError(400, f"Invalid check status: '{given}'") from None
    output = output.encode("utf-8", "replace").decode()
    await write(call.facade.local.report(call.rest, status, shorten(output, OUTPUT_BYTES_MAX)))
    return empty_response()


def _reporter(status: HealthStatus) -> Handler:
    async def report(call: Call) -> web.Response:
        """Take the status of a TTL check, and a note as its output."""
        check_namespace(call)
        note = call.param("note") or ""
        await write(call.facade.local.report(call.rest, status, note))
        return empty_response()

    return report
