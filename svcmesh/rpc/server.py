"""Listens for connections of other agents, a bounded number of them."""

import asyncio
from collections import Counter

from svcmesh.rpc.connection import Bounds, Connection, Methods

CONNECTIONS_MAX = 8192


class RpcServer:
    """One listener. Every connection may call `methods`."""

    def __init__(self, methods: Methods, *, bounds: Bounds | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self._methods, self._bounds = methods, bounds or Bounds()
        self._listener: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address with the port that was bound.

        Raises:
            OSError: It cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._accept, host, port)
        name: tuple[str, int] = self._listener.sockets[0].getsockname()[:2]
        return name

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.close()
        # The transports close in the loop's next turn.
        await asyncio.sleep(0)

    def _accept(self) -> asyncio.Protocol:
        if len(self._connections) >= CONNECTIONS_MAX:
            self.counters["dropped.connections"] += 1
            return _Refusal()
        connection = Connection(
            self._methods,
            bounds=self._bounds,
            counters=self.counters,
            on_lost=self._connections.discard,
        )
        self._connections.add(connection)
        return connection


class _Refusal(asyncio.Protocol):
    """Hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """At once."""
        transport.close()
