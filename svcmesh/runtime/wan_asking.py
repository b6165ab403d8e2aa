"""The WAN as an agent sees it that is not in its pool.

A client agent asks a server of its data center. A server whose WAN gossip is turned off knows of
its own data center only.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final

from gossip import Gossip
from gossip.serf import distance_s
from gossip.serf.events import Member
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

PLACES: Final = "wan.places"
"""The call: no body; the answer is that of `federation.pack_places`."""
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
        for server in self.servers(self._datacenter)[:ASKED_MAX]:
            try:
                answer = await self._rpc.call(server.address, PLACES, None, timeout_s=ASK_TIMEOUT_S)
                self._places = unpack_places_untrusted(answer)
                break
            except (RpcError, RpcRefusedError, RpcClosedError, RpcTimeoutError, DecodeError):
                continue
        return self._places

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

    def __init__(self, datacenter: str, gossip: Gossip) -> None:
        self._datacenter, self._gossip = datacenter, gossip
        self.methods = Methods({PLACES: self._handle_places}, {})

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

    async def _handle_places(self, _: Any, __: float) -> Any:  # noqa: ANN401 -- msgpack
        return pack_places(await self.places())


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
