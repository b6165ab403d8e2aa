"""Bounds on connections: in all, and by client address. One above them is told so and closed."""

import asyncio
import logging
import resource
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError

from svcmesh.api.answers import ApiError, error_response

logger = logging.getLogger("http")

CONNECTIONS_MAX: Final = 4096
"""At most, and at most half of the process's file descriptors: gossip and DNS need some too."""

CONNECTIONS_PER_CLIENT_MAX: Final = 200
"""Consul's default. Differs from Consul: processes of this host are bounded together only."""

_REFUSAL: Final = b"Too many connections\n"
_TOO_MANY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)
)


class ConnectionBounds:
    """Counts open connections."""

    def __init__(
        self, *, total_max: int | None = None, per_client_max: int = CONNECTIONS_PER_CLIENT_MAX
    ) -> None:
        if total_max is None:
            descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            total_max = min(CONNECTIONS_MAX, max(descriptors // 2, 1))
        self._total_max, self._per_client_max = total_max, per_client_max
        self._total = 0
        self._by_client: dict[str, int] = {}

    def take(self, client: str) -> bool:
        """Count a new connection; False when there are too many already."""
        count = self._by_client.get(client, 0)
        is_local = client != "" and ip_address(client).is_loopback
        if self._total >= self._total_max or (count >= self._per_client_max and not is_local):
            return False
        self._total += 1
        self._by_client[client] = count + 1
        return True

    def give_back(self, client: str) -> None:
        """A connection that was taken has ended."""
        self._total -= 1
        if self._by_client[client] == 1:
            del self._by_client[client]
        else:
            self._by_client[client] -= 1


class BoundedConnection(web.RequestHandler):
    """One HTTP connection that counts against the bounds."""

    __slots__ = ("_bounds", "_client")

    def __init__(
        self, server: web.Server, bounds: ConnectionBounds, *, keep_alive_s: float, linger_s: float
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keep_alive_s,
            lingering_time=linger_s,
            access_log=None,  # type: ignore[arg-type] # None turns it off
        )
        self._bounds = bounds
        self._client: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it and hang up."""
        peer = transport.get_extra_info("peername")
        client = str(peer[0]).partition("%")[0] if peer else ""
        if self._bounds.take(client):
            self._client = client
            super().connection_made(transport)
            return
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(_TOO_MANY)
        transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP request, without repeating it, and hang up.

        Anybody can send such, so it is no more than a line at debug level.
        """
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        logger.debug("no HTTP request: from=%s error=%s", request.remote, type(exc).__name__)
        if isinstance(exc, BadHttpMethod):
            status = 405
        response = error_response(ApiError(status, f"{status} {HTTPStatus(status).phrase}"))
        response.force_close()
        return response

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection out."""
        if self._client is None:
            return
        self._bounds.give_back(self._client)
        self._client = None
        super().connection_lost(exc)
