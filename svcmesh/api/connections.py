"""HTTP connections: bounded in number, and short of aiohttp for requests that are hot.

Bounds are in all, and by client address; one above them is told so and closed.
"""

import asyncio
import logging
import resource
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError

from svcmesh.api.answers import ApiError, error_response
from svcmesh.api.hot import HotAnswers, RawRequest, whole_get_untrusted

logger = logging.getLogger("http")

CONNECTIONS_MAX: Final = 16_384
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
        is_local = client == "" or ip_address(client).is_loopback
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


class Connection(web.RequestHandler):
    """One HTTP connection: counts against the bounds, and answers hot requests by itself.

    Invariant: `_is_between` is True only while all bytes that came were whole requests and all of
    them are answered, so that the next byte begins a request and nobody else writes.
    """

    __slots__ = ("_bounds", "_client", "_hot", "_is_between", "_is_framed", "_visit_at", "raw")

    def __init__(
        self,
        server: web.Server,
        bounds: ConnectionBounds,
        hot: HotAnswers,
        *,
        keep_alive_s: float,
        linger_s: float,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keep_alive_s,
            lingering_time=linger_s,
            access_log=None,  # type: ignore[arg-type] # None turns it off
        )
        self._bounds, self._hot = bounds, hot
        self._client: str | None = None
        self.raw: RawRequest | None = None
        """The request that is being answered, if it could become hot."""
        self._is_framed = self._is_between = True
        self._visit_at = 0.0
        """From then on a hot request goes to aiohttp all the same: it closes idle connections."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it and hang up."""
        peer = transport.get_extra_info("peername")
        # A Unix socket's peer has no address.
        client = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else ""
        if self._bounds.take(client):
            self._client = client
            super().connection_made(transport)
            return
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(_TOO_MANY)
        transport.close()

    def data_received(self, data: bytes) -> None:
        """Answer what is hot at once; all else is aiohttp's."""
        transport = self.transport
        if self._is_between and transport is not None:
            response = self._hot.get(data)
            if (
                response is not None
                and not transport.is_closing()
                # A client that does not read waits in line, where its answers are bounded.
                and not transport.get_write_buffer_size()
                and self._loop.time() < self._visit_at
            ):
                transport.write(response)
                return
        self.raw = whole_get_untrusted(data) if self._is_between else None
        # Bytes that are not one whole request end that for good: where a request begins is
        # the parser's secret from then on.
        self._is_framed = self._is_framed and self.raw is not None
        self._is_between = False
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer; after the last one, hot requests may come."""
        finished = await super().finish_response(request, resp, start_time)
        self.raw = None
        self._is_between = self._is_framed and bool(resp.keep_alive)
        self._visit_at = self._loop.time() + self.keepalive_timeout / 2
        return finished

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
