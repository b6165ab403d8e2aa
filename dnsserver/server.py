"""The DNS front with its sockets: UDP and TCP on several addresses, one event loop.

Nothing that comes in stops the server; what is dropped is counted.
"""

import asyncio
from collections.abc import Sequence
from random import Random, SystemRandom

from dnsserver.binding import Address, bind_pair
from dnsserver.config import DnsConfig, ServerLimits
from dnsserver.counters import DnsCounters
from dnsserver.directory import Directory
from dnsserver.finishing import Finisher
from dnsserver.ratelimit import RateLimiter
from dnsserver.recursion import Recursors
from dnsserver.responder import Responder
from dnsserver.tcp import TcpConnection, TcpListener
from dnsserver.udp import UdpListener


class DnsServer:
    """Answers DNS on UDP and TCP from a directory.

    Made outside of an event loop or inside; `start` and `close` belong to one loop. It can be
    started again after it was closed.
    """

    def __init__(
        self,
        directory: Directory,
        config: DnsConfig,
        *,
        rng: Random,
        limits: ServerLimits | None = None,
    ) -> None:
        """`rng` decides the order of answers; it is used by nobody else afterwards."""
        self.counters = DnsCounters()
        self._directory, self._rng = directory, rng
        self._finisher = Finisher()
        self._udp: list[UdpListener] = []
        self._tcp: list[TcpListener] = []
        self._connections: set[TcpConnection] = set()
        self.reconfigure(config, limits or ServerLimits())

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that were chosen for port 0."""
        return tuple(listener.address for listener in self._udp)

    def reconfigure(self, config: DnsConfig, limits: ServerLimits) -> None:
        """Answer by these settings from the next query on; kept answers are forgotten.

        The domains stay those of the first configuration.
        """
        self._limits = limits
        self._responder = Responder(self._directory, config, self.counters, self._rng)
        recursors = Recursors(config.recursors, self.counters, SystemRandom())
        self._finisher.use(self._responder, recursors)
        self._limiter = (
            RateLimiter(limits.responses_per_s, limits.slip) if limits.responses_per_s else None
        )
        for udp in self._udp:
            udp.use(self._responder, limits, self._limiter)
        for tcp in self._tcp:
            tcp.use(self._responder, limits)

    async def start(self, addresses: Sequence[Address]) -> None:
        """Listen on UDP and TCP at each (IP, port).

        Port 0 takes a port that is free for both.

        Raises:
            DnsBindError: An address cannot be used; nothing is left open.
        """
        assert not self._udp, "already started"
        try:
            for address in addresses:
                await self._listen(address)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening and end all connections. Does nothing when it is not running."""
        for udp in self._udp:
            udp.close()
        # Those that were accepted last are among the connections then.
        await asyncio.gather(*(tcp.close() for tcp in self._tcp))
        for connection in self._connections:
            connection.abort()
        await self._finisher.close()
        self._udp, self._tcp = [], []

    async def _listen(self, address: Address) -> None:
        udp_socket, tcp_socket = bind_pair(address)
        responder, finisher, counters = self._responder, self._finisher, self.counters
        self._udp.append(
            UdpListener(udp_socket, responder, finisher, counters, self._limits, self._limiter)
        )
        tcp = TcpListener(responder, finisher, counters, self._limits, self._connections)
        self._tcp.append(tcp)
        await tcp.listen(tcp_socket)
