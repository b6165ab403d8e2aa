"""What the WAN pool's member table says of data centers: which there are, how far, whose servers.

Computed from members and network coordinates; the pool itself is `runtime/wan.py`'s.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any, Final

from gossip.serf import is_believable
from gossip.serf.events import Member, MemberStatus
from gossip.wire.messages import Coordinate
from svcmesh.errors import DecodeError
from svcmesh.membership import is_server, port_of

DATACENTERS_MAX: Final = 4096
SERVERS_MAX: Final = 4096
"""Of one data center; more than that is no answer."""


@dataclass(frozen=True, slots=True)
class DcServer:
    """A server of some data center, as the WAN pool, or in its own the LAN pool, has it."""

    datacenter: str
    name: str
    """Of the node, without the data center."""
    node_id: str
    address: tuple[str, int]
    """Where it takes calls of other agents."""
    is_alive: bool
    is_svcmesh: bool
    """False for a real Consul, which understands none of our calls."""
    distance_s: float
    """Estimated round trip from here; infinite when nobody has measured it."""
    coordinate: Coordinate | None


@dataclass(frozen=True, slots=True)
class DcPlace:
    """A data center and where its servers are, by node name."""

    name: str
    servers: tuple[tuple[str, Coordinate], ...]


def dc_server(
    member: Member, datacenter: str, coordinate: Coordinate | None, distance_s: float
) -> DcServer | None:
    """What a member of either pool is as a server of `datacenter`; None: none, or ill-formed."""
    tags = member.tags
    port = port_of(tags, "port")
    if port is None or not is_server(tags) or tags.get("dc") != datacenter:
        return None
    return DcServer(
        datacenter=datacenter,
        name=member.name.removesuffix(f".{datacenter}"),
        node_id=tags.get("id", ""),
        address=(member.address.host, port),
        is_alive=member.status in (MemberStatus.ALIVE, MemberStatus.LEAVING),
        is_svcmesh="svcmesh" in tags,
        distance_s=distance_s,
        coordinate=coordinate,
    )


def wan_servers(
    members: Iterable[Member],
    coordinate: Callable[[Member], Coordinate | None],
    distance_s: Callable[[Coordinate | None], float],
) -> list[DcServer]:
    """Every server of the WAN pool that has not left.

    One that has started again under another name, or whose data center has another, is known by
    that only, also while the old name has not failed yet.
    """
    found: list[tuple[tuple[bool, int], DcServer]] = []
    for member in members:
        if member.status in (MemberStatus.LEFT, MemberStatus.NONE):
            continue
        where = coordinate(member)
        server = dc_server(member, member.tags.get("dc", ""), where, distance_s(where))
        if server is not None:
            # Ours start above every incarnation they ever had, Consul's do not.
            age = int(member.incarnation) if server.is_svcmesh else 0
            found.append(((server.is_alive, age), server))
    latest: dict[str, tuple[bool, int]] = {}
    for standing, server in found:
        latest[server.node_id] = max(standing, latest.get(server.node_id, standing))
    return [
        server
        for standing, server in found
        if not server.node_id or standing == latest[server.node_id]
    ]


def nearest_first(servers: Iterable[DcServer]) -> list[DcServer]:
    """Those alive first, then by distance."""
    return sorted(servers, key=lambda one: (not one.is_alive, one.distance_s, one.name))


def datacenters_by_distance(servers: Iterable[DcServer], own: str) -> list[str]:
    """Every data center's name: our own, the others by median distance, lost ones at the end."""
    by_name: dict[str, list[DcServer]] = {own: []}
    for server in servers:
        by_name.setdefault(server.datacenter, []).append(server)

    def key(name: str) -> tuple[bool, bool, float, str]:
        known = [one.distance_s for one in by_name[name] if one.distance_s < inf]
        is_lost = not any(one.is_alive for one in by_name[name])
        return name != own, is_lost, median(known) if known else inf, name

    return sorted(by_name, key=key)


def places(servers: Sequence[DcServer], names: Iterable[str]) -> list[DcPlace]:
    """Where the servers of each of these data centers are."""
    return [
        DcPlace(
            name,
            tuple(
                (one.name, one.coordinate)
                for one in sorted(servers, key=lambda one: one.name)
                if one.datacenter == name and one.coordinate is not None
            ),
        )
        for name in names
    ]


def pack_places(found: Iterable[DcPlace]) -> list[Any]:
    """In the form that agents exchange: [[name, [[node, coordinate], ...]], ...]."""
    return [
        [
            place.name,
            [
                [node, [list(where.vec), where.error, where.adjustment, where.height]]
                for node, where in place.servers
            ],
        ]
        for place in found
    ]


def unpack_places_untrusted(value: object) -> list[DcPlace]:
    """What another agent said.

    Raises:
        DecodeError: It is not of that form.
    """
    if not isinstance(value, list) or len(value) > DATACENTERS_MAX:
        raise DecodeError("datacenters", "expected a list")
    return [_unpack_place_untrusted(one) for one in value]


def _unpack_place_untrusted(value: object) -> DcPlace:
    match value:
        case [str() as name, list() as servers] if len(servers) <= SERVERS_MAX:
            return DcPlace(name, tuple(map(_unpack_server_untrusted, servers)))
        case _:
            raise DecodeError("datacenters", "expected a name and servers")


def _unpack_server_untrusted(value: object) -> tuple[str, Coordinate]:
    match value:
        case [
            str() as node,
            [
                list() as vec,
                int() | float() as error,
                int() | float() as adjustment,
                int() | float() as height,
            ],
        ] if all(isinstance(part, (int, float)) for part in vec):
            where = Coordinate(tuple(map(float, vec)), error, adjustment, height)
            if is_believable(where):
                return node, where
    raise DecodeError("datacenters", "expected a node and its coordinate")
