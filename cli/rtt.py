"""`svcmesh rtt`."""

import click

from cli.client import Client, Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, flag
from cli.printing import say
from gossip.serf.vivaldi import distance_s
from gossip.wire.messages import Coordinate


@click.command("rtt", cls=GoCommand, arguments="node1 [node2]")
@client_flags
@flag("wan", kind="bool", help="Nodes are servers, given as NODE.DATACENTER.")
def rtt(args: tuple[str, ...], wan: bool | None, **http: object) -> int:
    """Estimate the round trip between two nodes, or between one and the agent that is asked.

    The estimate comes from the nodes' network coordinates: neither of them is contacted.
    """
    if not 1 <= len(args) <= 2:
        raise FlagError("One or two node names must be specified")
    if wan and any("." not in name for name in args):
        raise CommandError("Node names must be specified as <node name>.<datacenter> with -wan")
    client = client_from_flags(http)
    try:
        names = _names(client, args, wan=bool(wan))
        places = _wan_places(client) if wan else _lan_places(client)
    except ApiError as error:
        raise CommandError(f"Error getting coordinates: {error}") from None
    for name in names:
        if name not in places:
            raise CommandError(f'Could not find a coordinate for node "{name}"')
    one, other = (places[name] for name in names)
    milliseconds = 1000.0 * distance_s(one, other)
    pool = "WAN" if wan else "LAN"
    say(
        f"Estimated {names[0]} <-> {names[1]} rtt: {milliseconds:.3f} ms (using {pool} coordinates)"
    )
    return 0


def _names(client: Client, args: tuple[str, ...], *, wan: bool) -> list[str]:
    if len(args) == 2:
        return [*args]
    config: Json = client.get("/v1/agent/self")["Config"]
    own = config["NodeName"]
    return [args[0], f"{own}.{config['Datacenter']}" if wan else own]


def _lan_places(client: Client) -> dict[str, Coordinate]:
    return {
        entry["Node"]: _coordinate(entry["Coord"])
        for entry in client.get("/v1/coordinate/nodes")
        if not entry.get("Segment")
    }


def _wan_places(client: Client) -> dict[str, Coordinate]:
    return {
        f"{entry['Node']}.{datacenter['Datacenter']}": _coordinate(entry["Coord"])
        for datacenter in client.get("/v1/coordinate/datacenters")
        for entry in datacenter["Coordinates"]
    }


def _coordinate(value: Json) -> Coordinate:
    vec = tuple(map(float, value["Vec"]))
    return Coordinate(vec, value["Error"], value["Adjustment"], value["Height"])
