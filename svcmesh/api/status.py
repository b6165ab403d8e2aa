"""`/v1/status/...`: who leads and who votes, by the member table until there is a Raft."""

from aiohttp import web

from svcmesh.api.query import check_datacenter
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/status/leader", leader)
    router.add("GET", "/v1/status/peers", peers)


async def leader(call: Call) -> web.Response:
    """Address of the alive server with the lowest id, empty without one."""
    check_datacenter(call)
    return await json_response(call, call.facade.leader())


async def peers(call: Call) -> web.Response:
    """Addresses of the alive servers."""
    check_datacenter(call)
    return await json_response(call, call.facade.peers())
