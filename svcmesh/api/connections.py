"""HTTP connections: bounded in number, and short of aiohttp for requests that are hot.

Bounds are in all, and by client address; one above them is told so and closed.
"""

import asyncio
import logging
import resource
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError

from svcmesh.api.answers import ApiError, error_response
from svcmesh.api.framing import Frame, escape_line, frame_untrusted
from svcmesh.api.hot import HotAnswers
from svcmesh.api.lane import KeyLane
from svcmesh.api.responses import AnsweredAlready

logger = logging.getLogger("http")

CONNECTIONS_MAX: Final = 16_384
"""At most, and at most half of the process's file descriptors: gossip and DNS need some too."""

LINE_BYTES_MAX: Final = 64 * 1024
"""Of a request: filters are long, once they are escaped."""

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
        self,
        *,
        total_max: int | None = None,
        per_client_max: Callable[[], int] = lambda: CONNECTIONS_PER_CLIENT_MAX,
    ) -> None:
        """`per_client_max` is asked at every connection; 0 is no bound."""
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
        most = self._per_client_max() or self._total_max
        if self._total >= self._total_max or (count >= most and not is_local):
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
    """One HTTP connection: counts against the bounds, and answers some requests without aiohttp.

    Invariant: `_is_between` is True only while all bytes that came were whole requests and all of
    them are answered, so that the next byte begins a request and nobody else writes.
    """

    __slots__ = (
        "_bounds", "_client", "_held", "_hot", "_in_lane", "_is_between", "_is_framed", "_lane",
        "_visit_at", "frame",
    )  # fmt: skip

    def __init__(
        self,
        server: web.Server,
        bounds: ConnectionBounds,
        hot: HotAnswers,
        lane: KeyLane,
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
            # A body is what came, whatever Content-Encoding says of it: so Consul stores it.
            auto_decompress=False,
            max_line_size=LINE_BYTES_MAX,
        )
        self._bounds, self._hot, self._lane = bounds, hot, lane
        self._client: str | None = None
        self.frame: Frame | None = None
        """The request that is being answered, if its beginning and end are known."""
        self._held = b""
        """Bytes that wait: for the rest of a body, or for the lane's answer."""
        self._in_lane: Frame | None = None
        """What the lane is answering; all that comes meanwhile waits."""
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
        """Answer what is hot at once, or by the lane; all else is aiohttp's."""
        if not data:
            # aiohttp's own way to go on with what it has.
            super().data_received(data)
            return
        if self._held or self._in_lane is not None:
            self._held = data = self._held + data
            if self._in_lane is not None:
                assert isinstance(self.transport, asyncio.ReadTransport)
                self.transport.pause_reading()
                return
            self._held = b""
        if self._is_between and not data.isascii():
            data = escape_line(data)
        if not self._is_between or not self._answer_directly(data):
            self._take_ordinary_way(data)

    def _answer_directly(self, data: bytes) -> bool:
        """Answer a request, or wait for its rest; False when it is for aiohttp."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        # A client that does not read waits in line, where its answers are bounded.
        may_answer = not transport.get_write_buffer_size() and self._loop.time() < self._visit_at
        response = self._hot.get(data) if may_answer else None
        if response is not None:
            transport.write(response)
            return True
        self.frame = frame = frame_untrusted(data)
        if frame is None:
            return False
        if frame.missing_bytes:
            self._held = data
            return True
        if not may_answer:
            return False
        self._is_between, self._in_lane = False, frame
        if self._lane.begin(frame, self._finish_lane):
            return True
        self._in_lane = None
        return False

    def _finish_lane(self, response: bytes | None) -> None:
        frame, self._in_lane = self._in_lane, None
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        assert frame is not None
        if response is None:
            self.frame = frame
            self._take_ordinary_way(frame.data)
        else:
            transport.write(response)
            self._is_between = True
        if self._held:
            held, self._held = self._held, b""
            assert isinstance(transport, asyncio.ReadTransport)
            transport.resume_reading()
            self.data_received(held)

    def answer(self, response: bytes) -> bool:
        """Answer the request that aiohttp has; the handler then gives `AnsweredAlready`.

        False, and nothing is written, unless it is the only one and the client reads.
        """
        transport = self.transport
        if (
            self.frame is None
            or transport is None
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            return False
        transport.write(response)
        self.frame, self._is_between = None, True
        self._visit_at = self._loop.time() + self.keepalive_timeout / 2
        return True

    def _take_ordinary_way(self, data: bytes) -> None:
        frame = self.frame
        # Bytes that are not one whole request end that for good: where a request begins is
        # the parser's secret from then on.
        self._is_framed = self._is_framed and frame is not None and frame.data is data
        if not self._is_framed:
            self.frame = None
        self._is_between = False
        super().data_received(data)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 -- aiohttp's
        """Let what is being answered be answered within the time, and hang up."""
        ends_at = self._loop.time() + (timeout or 0.0)
        while (  # noqa: ASYNC110 -- once in a connection's life, and mostly not at all
            self._in_lane is not None and self.transport and self._loop.time() < ends_at
        ):
            await asyncio.sleep(0.01)
        await super().shutdown(max(0.0, ends_at - self._loop.time()))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer; after the last one, hot requests may come."""
        finished = await super().finish_response(request, resp, start_time)
        if isinstance(resp, AnsweredAlready):
            # What is known of the connection is of a later request, perhaps.
            return finished
        self.frame = None
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
        self._held = b""
        super().connection_lost(exc)
