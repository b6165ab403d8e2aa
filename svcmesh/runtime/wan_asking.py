"""The WAN as an agent sees it that is not in its pool.

A client agent asks a server of its data center. A server whose WAN gossip is turned off knows of
its own data center only.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any, Final, TypeVar

from gossip import Gossip
from gossip.serf import distance_s
from gossip.serf.events import Member
from svcmesh.catalog.view import CatalogView
from svcmesh.errors import DecodeError, JoinError
from svcmesh.federation import (
    DcPlace,
    DcServer,
    dc_server,
    nearest_first,
    pack_places,
    places,
    unpack_places_untrusted,
)
from svcmesh.rpc import (
    Methods,
    RpcClosedError,
    RpcError,
    RpcPool,
    RpcRefusedError,
    RpcTimeoutError,
)
from svcmesh.summaries import (
    GlobalService,
    ServiceCounts,
    global_services,
    pack_services,
    unpack_services_untrusted,
)

T = TypeVar("T")

PLACES: Final = "wan.places"
"""The call: no body; the answer is that of `federation.pack_places`."""
SERVICES: Final = "wan.services"
"""Likewise, answered by `summaries.pack_services`."""
ASK_TIMEOUT_S: Final = 2.0
ASKED_MAX: Final = 3
"""Servers that are asked one after the other."""


class WanByAsking:
    """A client agent's: what a server of its data center says, or last said."""

    pool = None
    methods = Methods({}, {})

    def __init__(self, datacenter: str, gossip: Gossip, rpc: RpcPool) -> None:
        self._datacenter, self._gossip, self._rpc = datacenter, gossip, rpc
        self._places = [DcPlace(datacenter, ())]

    def members(self) -> Sequence[Member]:
        """None: we are not in the pool."""
        return ()

    def datacenters(self) -> list[str]:
        """Every data center that a server told of when it was asked last; our own first."""
        return [place.name for place in self._places]

    def servers(self, datacenter: str) -> list[DcServer]:
        """The servers of our own data center; those of others are not known here."""
        return _lan_servers(self._gossip, self._datacenter, datacenter)

    async def places(self) -> list[DcPlace]:
        """Ask a server; what was known before if none answers."""
        self._places = await self._ask(PLACES, unpack_places_untrusted) or self._places
        return self._places

    async def services(self) -> list[GlobalService] | None:
        """Ask a server; None if none answers."""
        return await self._ask(SERVICES, unpack_services_untrusted)

    async def _ask(self, method: str, unpack: Callable[[object], list[T]]) -> list[T] | None:
        for server in self.servers(self._datacenter)[:ASKED_MAX]:
            try:
                answer = await self._rpc.call(server.address, method, None, timeout_s=ASK_TIMEOUT_S)
                return await asyncio.to_thread(unpack, answer)
            except (RpcError, RpcRefusedError, RpcClosedError, RpcTimeoutError, DecodeError):
                continue
        return None

    def stats(self) -> dict[str, object]:
        """None: we are not in the pool."""
        return {}

    async def join(self, address: str) -> int:
        """Refuse.

        Raises:
            JoinError: Always.
        """
        raise JoinError("Must be a server to join WAN cluster")


class WanTurnedOff:
    """A server's with `ports.serf_wan` -1: there is its own data center only."""

    pool = None

    def __init__(self, datacenter: str, gossip: Gossip, view: CatalogView) -> None:
        self._datacenter, self._gossip = datacenter, gossip
        self._counts = ServiceCounts(view)
        self.methods = Methods({PLACES: self._handle_places, SERVICES: self._handle_services}, {})

    def members(self) -> Sequence[Member]:
        """None: there is no pool."""
        return ()

    def datacenters(self) -> list[str]:
        """Our own."""
        return [self._datacenter]

    def servers(self, datacenter: str) -> list[DcServer]:
        """The servers of our own data center."""
        return _lan_servers(self._gossip, self._datacenter, datacenter)

    async def places(self) -> list[DcPlace]:
        """Where our own servers are in the LAN."""
        return places(self.servers(self._datacenter), [self._datacenter])

    def stats(self) -> dict[str, object]:
        """None: we are not in the pool."""
        return {}

    async def join(self, address: str) -> int:
        """Refuse.

        Raises:
            JoinError: Always.
        """
        raise JoinError("WAN gossip is turned off (ports.serf_wan)")

    async def services(self) -> list[GlobalService]:
        """Those of our own data center."""
        counts = dict(self._counts.all())
        return global_services([(self._datacenter, {})], self._datacenter, counts)

    async def _handle_places(self, _: Any, __: float) -> Any:  # noqa: ANN401 -- msgpack
        return pack_places(await self.places())

    async def _handle_services(self, _: Any, __: float) -> Any:  # noqa: ANN401 -- likewise
        return pack_services(await self.services())


def _lan_servers(gossip: Gossip, own: str, datacenter: str) -> list[DcServer]:
    if datacenter.lower() != own:
        return []
    return nearest_first(_ours(gossip, own))


def _ours(gossip: Gossip, datacenter: str) -> Iterable[DcServer]:
    here = gossip.coordinate()
    for member in gossip.members():
        where = gossip.cached_coordinate(member.name)
        distance = inf if where is None else distance_s(here, where)
        server = dc_server(member, datacenter, where, distance)
        if server is not None and server.is_svcmesh:
            yield server
