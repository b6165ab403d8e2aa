"""The HTTP server: sockets, connections and the way of a request through the API.

A request that fails by our fault is logged and answered with 500. No cross-origin header is sent
of our own accord: a web page of another origin cannot read answers, nor write (`access.py`).
"""

import asyncio
import logging
import secrets
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Final

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

from svcmesh.api import (
    agent,
    agent_checks,
    agent_health,
    agent_services,
    catalog,
    consistency,
    coordinates,
    elsewhere,
    events,
    explaining,
    global_services,
    health,
    host,
    insight,
    internal,
    kv,
    metrics,
    monitor,
    operator_raft,
    pool,
    prepared_queries,
    sessions,
    snapshot,
    status,
    txn,
    unbuilt,
)
from svcmesh.api.access import AccessRules
from svcmesh.api.answers import TEXT_HEADERS, ApiError, error_response
from svcmesh.api.bodies import BODY_BYTES_MAX
from svcmesh.api.connections import Connection, ConnectionBounds
from svcmesh.api.facade import AgentFacade
from svcmesh.api.framing import Responses, head_of
from svcmesh.api.hot import HotAnswers
from svcmesh.api.lane import KeyLane
from svcmesh.api.listeners import (
    Listen,
    TcpAddress,
    UnixAddress,
    listening_unix_socket,
    stop_accepting,
)
from svcmesh.api.reads import Endpoint, KeptAnswer, NotReadyError, ReadService
from svcmesh.api.responses import in_pieces, takes_gzip
from svcmesh.api.routing import Call, Request, Router, split_target
from svcmesh.consensus.service import NoLeaderError
from svcmesh.datacenters import UnreachableError
from svcmesh.errors import ConfigError
from svcmesh.rpc import RpcError

logger = logging.getLogger("http")

BACKLOG: Final = 512
KEEP_ALIVE_S: Final = 120.0
LINGER_S: Final = 1.0
"""How long the rest of a refused body is read."""

KV_PATH: Final = "/v1/kv/"

ERROR_STATUS_MIN: Final = 400

LEADERLESS_S: Final = 7.0
"""How long a request of another data center waits for the servers to elect a leader (as Consul)."""
LEADERLESS_PAUSE_S: Final = 0.1

SHUTDOWN_S: Final = 1.0
"""What a request that is being answered gets when the server closes."""


class HttpServer:
    """The HTTP API of one agent."""

    def __init__(
        self,
        facade: AgentFacade,
        *,
        bounds: ConnectionBounds | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` is for addresses that have it."""
        self._facade = facade
        self._reads = ReadService(Random(), line_of=_line_of, render=self._whole)
        self._forwarder = elsewhere.Forwarder()
        self._run = secrets.token_hex(6)
        """Whose the indexes are that other data centers get from us."""
        self._router = self._routes()
        self._server: web.Server | None = None
        self._listeners: list[asyncio.Server] = []
        self._bounds = bounds or ConnectionBounds(
            per_client_max=lambda: facade.config.limits.http_max_conns_per_client
        )
        self._rules = AccessRules(facade.config.http_config)
        self._responses = Responses(time.time)
        self._hot = HotAnswers(facade.view, self._responses)
        self._lane = KeyLane(facade, self._rules, self._responses)
        self._tls = tls
        self._unix_paths: list[Path] = []

    @property
    def hot_hits(self) -> int:
        """How many requests were answered without being parsed (`hot.py`)."""
        return self._hot.hits

    @property
    def lane_answers(self) -> int:
        """How many reads and writes of single keys have taken the fast lane (`lane.py`)."""
        return self._lane.answers

    @property
    def routes(self) -> list[tuple[str, str]]:
        """Method and path of every endpoint; a path that ends in a slash takes an argument."""
        return self._router.all()

    def counters(self) -> dict[str, int]:
        """Totals since the start."""
        return {"hot_answers": self.hot_hits, "lane_answers": self.lane_answers}

    async def start(self, addresses: Iterable[Listen]) -> list[tuple[str, int]]:
        """Listen on all addresses; returns those of TCP with the ports that were bound.

        Raises:
            OSError: An address cannot be bound; nothing listens then.
            ConfigError: Unix sockets are not as configured; likewise.
        """
        loop = asyncio.get_running_loop()
        self._server = web.Server(
            self.handle,
            request_factory=_make_request,
            # A blocking query whose client has hung up must not wait on.
            handler_cancellation=True,
        )
        bound: list[tuple[str, int]] = []
        try:
            for address in addresses:
                listener = await self._listen(loop, address)
                self._listeners.append(listener)
                if isinstance(address, TcpAddress):
                    bound.append(listener.sockets[0].getsockname()[:2])
        except (OSError, ConfigError):
            await self.close()
            raise
        return bound

    async def _listen(self, loop: asyncio.AbstractEventLoop, address: Listen) -> asyncio.Server:
        config = self._facade.config
        if isinstance(address, UnixAddress):
            made = listening_unix_socket(address, config.unix_sockets)
            self._unix_paths.append(address.path)
            return await loop.create_unix_server(self._accept, sock=made, backlog=BACKLOG)
        assert self._tls is not None or not address.is_tls
        return await loop.create_server(
            self._accept,
            address.host,
            address.port,
            backlog=BACKLOG,
            ssl=self._tls if address.is_tls else None,
            ssl_handshake_timeout=(
                config.limits.https_handshake_timeout_s if address.is_tls else None
            ),
        )

    async def close(self) -> None:
        """Stop listening, answer what waits, and close all connections within `SHUTDOWN_S`."""
        await stop_accepting(self._listeners)
        self._listeners.clear()
        for path in self._unix_paths:
            path.unlink(missing_ok=True)
        self._unix_paths.clear()
        self._reads.close()
        if self._server is not None:
            await self._server.shutdown(SHUTDOWN_S)
            self._server = None

    def _accept(self) -> Connection:
        assert self._server is not None
        return Connection(
            self._server,
            self._bounds,
            self._hot,
            self._lane,
            keep_alive_s=KEEP_ALIVE_S,
            linger_s=LINGER_S,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if "Expect" in request.headers:
            await _invite_body(request)
        response = await self._answer(request)
        response.headers.update(self._rules.headers)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s from=%s status=%d",
                request.method,
                request.raw_path,
                request.remote,
                response.status,
            )
        return await in_pieces(request, response)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        method, facade = request.method, self._facade
        began_at = time.perf_counter()
        metric = ""
        try:
            # What a client says of caches is looked at anew each time: it may be ill-formed.
            is_usual = "Cache-Control" not in request.headers
            if method == "GET" and is_usual:
                kept = self._reads.kept(facade.view, request)
                if kept is not None:
                    metric = kept.metric
                    self._make_hot(request, kept)
                    return kept.response()
            path, query, params = split_target(request.raw_path)
            route, rest = self._router.resolve(method, path, query)
            self._rules.check(method, path, request.remote)
            self._rules.check_origin(method, request.headers)
            metric = route.metric
            if route.path == KV_PATH and is_usual:
                self._teach_lane(request)
            return await self._handle(Call(facade, request, route, rest, params))
        except ApiError as error:
            if error.status >= ERROR_STATUS_MIN:
                facade.metrics.count("http.errors", (("status", str(error.status)),))
            return error_response(error)
        except Exception:
            # The last line of defence: one bad request must not take the API down.
            logger.exception("request failed: %s %s", method, request.raw_path)
            facade.metrics.count("http.errors", (("status", "500"),))
            return web.Response(status=500, text="Internal error", headers=TEXT_HEADERS)
        finally:
            if metric:
                facade.metrics.sample(metric, (time.perf_counter() - began_at) * 1000)

    async def serve_datacenter(self, body: object, timeout_s: float) -> object:
        """Answer a request of another data center: the method `elsewhere.METHOD` of remote calls.

        Raises:
            RpcError: It is none that may be asked from there.
            UnreachableError: We have just started; another server may know.
        """
        forwarded = elsewhere.unpack_request_untrusted(body)
        request, facade = forwarded.request, self._facade
        ends_at = asyncio.get_running_loop().time() + min(timeout_s, LEADERLESS_S)
        response: web.StreamResponse
        try:
            path, query, params = split_target(request.raw_path)
            route, rest = self._router.resolve(request.method, path, query)
            if route.path not in elsewhere.OF_DATACENTER:
                raise RpcError("refused", f"{route.path} is not for other datacenters")
            call = Call(facade, request, route, rest, params, origin=forwarded.origin)
            if forwarded.run != self._run:
                elsewhere.answer_at_once(call)
            response = await self._handle_with_leader(call, ends_at)
        except NotReadyError as error:
            raise UnreachableError from error
        except ApiError as error:
            response = error_response(error)
        return elsewhere.pack_response(response, self._run)

    async def _handle(self, call: Call) -> web.StreamResponse:
        """The answer, from here or from the data center that it is wanted of.

        Raises:
            ApiError: The endpoint's.
        """
        datacenter = elsewhere.wanted_datacenter(call)
        try:
            if datacenter is None:
                return await call.route.handler(call)
        except elsewhere.WantedElsewhereError as error:
            datacenter = error.datacenter
        return await self._forwarder.forward(call, datacenter)

    async def _handle_with_leader(self, call: Call, ends_at: float) -> web.StreamResponse:
        """The answer; while nobody leads, and so nothing has been done, it is asked for again.

        Raises:
            ApiError: The endpoint's.
        """
        while True:
            try:
                return await self._handle(call)
            except ApiError as error:
                left_s = ends_at - asyncio.get_running_loop().time()
                if not isinstance(error.__cause__, NoLeaderError) or left_s <= LEADERLESS_PAUSE_S:
                    raise
            await asyncio.sleep(LEADERLESS_PAUSE_S)

    def _teach_lane(self, request: web.BaseRequest) -> None:
        connection = request.protocol
        if isinstance(connection, Connection) and connection.frame is not None:
            self._lane.learn(connection.frame, takes_gzip=takes_gzip(request))

    def _make_hot(self, request: web.BaseRequest, kept: KeptAnswer) -> None:
        connection = request.protocol
        # At debug level every request is a line in the log.
        if (
            isinstance(connection, Connection)
            and connection.frame is not None
            and not logger.isEnabledFor(logging.DEBUG)
        ):
            self._hot.put(
                connection.frame,
                topics=kept.topics,
                index=kept.index,
                headers={**kept.headers, **self._rules.headers},
                body=kept.body,
            )

    def _whole(self, kept: KeptAnswer) -> bytes:
        """A kept answer as it goes out."""
        self._responses.turn_clock()
        headers = {**kept.headers, **self._rules.headers}
        return self._responses.dated(head_of(200, headers, len(kept.body)), kept.body)

    def _routes(self) -> Router:
        router = Router()

        def read(path: str, endpoint: Endpoint) -> None:
            async def handler(call: Call) -> web.StreamResponse:
                return await self._reads.answer(call, endpoint)

            router.add("GET", path, handler)

        router.add("GET", "/ui/", _no_page)
        agent.add_routes(router)
        agent_services.add_routes(router, self._reads)
        agent_checks.add_routes(router)
        agent_health.add_routes(router)
        catalog.add_routes(router, read)
        coordinates.add_routes(router, read)
        global_services.add_routes(router, self._reads)
        events.add_routes(router, self._reads)
        consistency.add_routes(router)
        explaining.add_routes(router)
        insight.add_routes(router)
        health.add_routes(read)
        host.add_routes(router)
        internal.add_routes(read)
        metrics.add_routes(router)
        monitor.add_routes(router)
        pool.add_routes(router)
        prepared_queries.add_routes(router, self._reads)
        status.add_routes(router)
        for area in (kv, sessions, txn, snapshot, operator_raft):
            area.add_routes(router)
        unbuilt.add_routes(router)
        return router


async def _invite_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send the body (RFC 9110, 10.1.1); others are let be."""
    is_awaited = request.headers["Expect"].lower() == "100-continue"
    if is_awaited and request.version >= HttpVersion11 and request.can_read_body:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # As aiohttp's own resources do, which its low-level server has not: this is no body.
        request.writer.output_size = 0


def _line_of(request: Request) -> Connection | None:
    connection = request.protocol if isinstance(request, web.BaseRequest) else None
    return connection if isinstance(connection, Connection) else None


async def _no_page(_: Call) -> web.Response:
    raise ApiError(501, "svcmesh has no web page yet. Its API is under /v1/.\n")


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=BODY_BYTES_MAX
    )
