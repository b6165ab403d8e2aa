"""`/v1/event/...`: firing user events, and the last ones that were for this node."""

import asyncio
import base64
from collections.abc import Sequence

from aiohttp import web

from svcmesh.api.answers import JSON_HEADERS, ApiError
from svcmesh.api.bodies import read_bytes
from svcmesh.api.lists import Rows
from svcmesh.api.query import read_options
from svcmesh.api.reads import ReadService
from svcmesh.api.responses import dress, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.userevents import UserEvent, UserEventError


def add_routes(router: Router, reads: ReadService) -> None:
    """Add this area's routes."""

    async def list_(call: Call) -> web.Response:
        return await _list(call, reads)

    router.add("PUT", "/v1/event/fire/", fire)
    router.add("GET", "/v1/event/list", list_)


async def fire(call: Call) -> web.Response:
    """Send an event to every node, or to those that the filters let in."""
    if not call.rest:
        raise ApiError(400, "Missing name")
    payload = await read_bytes(call.request)
    try:
        event = call.facade.events.fire(
            call.rest,
            payload,
            node_filter=call.param("node") or "",
            service_filter=call.param("service") or "",
            tag_filter=call.param("tag") or "",
        )
    except UserEventError as error:
        raise ApiError(500, str(error)) from error
    return await json_response(call, _event_json(event))


async def _list(call: Call, reads: ReadService) -> web.Response:
    """The last events, by `name` those of one; with an index as soon as there is a later one."""
    options = read_options(call)
    name, events = call.param("name") or "", call.facade.events
    recent = events.recent(name)
    deadline_at = asyncio.get_running_loop().time() + options.wait_s
    # The index is a hash of the last event's id: the query holds another list if it differs.
    while options.index and _index(recent) == options.index:
        if not await reads.next_call(events.watch, deadline_at):
            break
        recent = events.recent(name)
    headers = {**JSON_HEADERS, "X-Consul-Index": str(_index(recent))}
    body, headers = await dress(call, Rows(recent, _event_json), headers)
    return web.Response(body=body, headers=headers)


def _index(events: Sequence[UserEvent]) -> int:
    return events[-1].index if events else 1


def _event_json(event: UserEvent) -> dict[str, object]:
    return {
        "ID": event.id,
        "Name": event.name,
        "Payload": base64.b64encode(event.payload).decode() if event.payload else None,
        "NodeFilter": event.node_filter,
        "ServiceFilter": event.service_filter,
        "TagFilter": event.tag_filter,
        "Version": event.version,
        "LTime": event.ltime,
    }
