"""`/v1/catalog/services`: of one data center, or with `global` of all of them."""

from aiohttp import web

from svcmesh.api import catalog
from svcmesh.api.answers import ApiError
from svcmesh.api.lists import Rows
from svcmesh.api.reads import ReadService
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.summaries import GlobalService


def add_routes(router: Router, reads: ReadService) -> None:
    """Add this area's route."""

    async def services(call: Call) -> web.StreamResponse:
        if "global" in call.params:
            return await global_services(call)
        return await reads.answer(call, catalog.services)

    router.add("GET", "/v1/catalog/services", services)


async def global_services(call: Call) -> web.Response:
    """Every service of every data center with how many instances it has there.

    From the summaries that data centers gossip: nobody is asked, but a server by a client agent.
    """
    found = await call.facade.wan.services()
    if found is None:
        raise ApiError(500, "No known Consul servers")
    return await json_response(call, Rows(found, _service_json))


def _service_json(service: GlobalService) -> dict[str, object]:
    return {
        "Service": service.name,
        "Datacenters": [
            {
                "Datacenter": place.datacenter,
                "Instances": place.instances,
                "Healthy": place.healthy,
                "Version": place.version,
            }
            for place in service.places
        ],
    }
