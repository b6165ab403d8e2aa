"""`/v1/status/...`: who leads and who votes."""

from aiohttp import web

from svcmesh.api.query import read_options
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.membership import server_address


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/status/leader", leader)
    router.add("GET", "/v1/status/peers", peers)


async def leader(call: Call) -> web.Response:
    """Address of the server that leads, empty without one; an agent that is no server asks one."""
    read_options(call)
    store = call.facade.store
    if store.is_server or not store.known_servers():
        return await json_response(call, call.facade.leader())
    leader_id = await store.find_leader()
    address = next(
        (
            server_address(member)
            for member in call.facade.members()
            if leader_id is not None and member.tags.get("id") == leader_id
        ),
        "",
    )
    return await json_response(call, address)


async def peers(call: Call) -> web.Response:
    """Addresses of the alive servers."""
    read_options(call)
    return await json_response(call, call.facade.peers())
