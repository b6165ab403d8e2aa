"""`/v1/coordinate/...`: where the nodes are in the network."""

from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from gossip.serf import is_believable
from gossip.wire.messages import Coordinate
from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_json
from svcmesh.api.elsewhere import check_wanted_here
from svcmesh.api.lists import Rows
from svcmesh.api.reads import Endpoint, Read
from svcmesh.api.responses import empty_response, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.catalog.topics import COORDINATES
from svcmesh.errors import NameReservedError
from svcmesh.jsonvalues import FieldError, Fields


def add_routes(router: Router, read: Callable[[str, Endpoint], None]) -> None:
    """Add this area's routes."""
    read("/v1/coordinate/nodes", nodes)
    read("/v1/coordinate/node/", node)
    router.add("GET", "/v1/coordinate/datacenters", datacenters)
    router.add("PUT", "/v1/coordinate/update", update)


def nodes(call: Call) -> Read:
    """Every node whose place is known; there are none in a network segment."""
    _check_enabled(call)
    coordinates, segment = call.facade.coordinates, call.param("segment")
    return Read((COORDINATES,), lambda: Rows(() if segment else coordinates.all(), _entry_json))


def node(call: Call) -> Read:
    """One node; it is in no network segment."""
    _check_enabled(call)
    facade, name, segment = call.facade, call.rest, call.param("segment")

    def build() -> object:
        where = facade.coordinates.of(name)
        if where is None or segment:
            raise ApiError(404, "")
        row = facade.view.node(name)
        return [_entry_json((name if row is None else row.name, where))]

    return Read((COORDINATES,), build)


async def datacenters(call: Call) -> web.Response:
    """Where the servers of every data center are, in the WAN's coordinates."""
    _check_enabled(call)
    found = await call.facade.wan.places()
    return await json_response(
        call,
        [
            {
                "Datacenter": place.name,
                "AreaID": "wan",
                "Coordinates": [_entry_json(entry) for entry in place.servers],
            }
            for place in found
        ],
    )


async def update(call: Call) -> web.Response:
    """Say where a node without an agent is."""
    _check_enabled(call)
    body = await read_json(call.request)
    try:
        fields = Fields(body)
        name, segment = fields.string("Node"), fields.string("Segment")
        datacenter = fields.string("Datacenter")
        where = _coordinate(fields.nested("Coord"))
        fields.string("Token")
        fields.finish()
    except FieldError as error:
        raise ApiError(400, str(error)) from error
    if segment:
        raise ApiError(500, "Network segments are not supported")
    check_wanted_here(call, datacenter)
    view = call.facade.view
    row = view.node(name)
    if row is None:
        # As in Consul: whoever measures need not know what is registered.
        return empty_response()
    if row.is_own:
        raise ApiError(500, f'node "{row.name}" has an agent, which says where it is')
    try:
        record = replace(row.body, coordinate=where)
        # Not waited for the disk: the next measurement comes in a moment.
        call.facade.register_external(row.name, [record])
    except NameReservedError as error:
        raise ApiError(500, str(error)) from error
    return empty_response()


def _check_enabled(call: Call) -> None:
    if call.facade.config.disable_coordinates:
        raise ApiError(401, "Coordinate support disabled")


def coordinate_json(where: Coordinate) -> dict[str, object]:
    """A coordinate as the API shows it."""
    return {
        "Vec": list(where.vec),
        "Error": where.error,
        "Adjustment": where.adjustment,
        "Height": where.height,
    }


def _entry_json(entry: tuple[str, Coordinate]) -> dict[str, object]:
    name, where = entry
    return {"Node": name, "Segment": "", "Coord": coordinate_json(where)}


def _coordinate(fields: Fields | None) -> Coordinate:
    if fields is None:
        raise ApiError(400, "Request decode failed: a coordinate (Coord) is missing")
    where = Coordinate(
        fields.numbers("Vec"),
        fields.number("Error"),
        fields.number("Adjustment"),
        fields.number("Height"),
    )
    fields.finish()
    if not is_believable(where):
        raise ApiError(500, "incompatible coordinate")
    return where
