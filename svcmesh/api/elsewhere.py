"""Requests for another data center: passed on whole, and answered by a server there.

What is passed on is the request as a client made it; the server there puts it to its own router.
Only endpoints that are the data center's may be asked that way, never those of one agent.

An index of the catalog means something to the agent that gave it only. So an answer says which
server it is of, and a blocking query with an index of another one is answered at once.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from svcmesh.api.answers import TEXT_HEADERS, ApiError
from svcmesh.api.bodies import BODY_BYTES_MAX, read_bytes
from svcmesh.api.query import wait_options
from svcmesh.api.remote_answers import RemoteAnswers, freshness
from svcmesh.api.responses import takes_gzip
from svcmesh.api.routing import Call
from svcmesh.consensus.service import OutcomeUnknownError
from svcmesh.datacenters import NoPathError, UnreachableError
from svcmesh.errors import SvcmeshError
from svcmesh.goformats import parse_uint
from svcmesh.rpc import RpcError

METHOD: Final = "http"
"""Of the call that carries a request."""

TIMEOUT_S: Final = 10.0
"""For an answer, besides what the request itself wants to wait."""
WAIT_SPREAD: Final = 17 / 16
"""A blocking query may wait longer by a sixteenth."""
ANSWER_BYTES_MAX: Final = 15 * 1024 * 1024
TARGET_BYTES_MAX: Final = 64 * 1024
INDEXES_MAX: Final = 4096
"""Indexes of which it is remembered whose they are."""

STATUS_MIN: Final = 200
STATUS_MAX: Final = 599

CLIENT_HEADER: Final = "X-Forwarded-For"
"""Whom a query is for: those near it come first in the answer."""
PASSED_HEADERS: Final = ("Accept-Encoding", CLIENT_HEADER)

OF_DATACENTER: Final = frozenset({
    "/v1/catalog/connect/", "/v1/catalog/deregister", "/v1/catalog/gateway-services/",
    "/v1/catalog/node/", "/v1/catalog/node-services/", "/v1/catalog/nodes",
    "/v1/catalog/register", "/v1/catalog/service/", "/v1/catalog/services",
    "/v1/coordinate/node/", "/v1/coordinate/nodes", "/v1/coordinate/update",
    "/v1/event/fire/",
    "/v1/health/checks/", "/v1/health/connect/", "/v1/health/ingress/", "/v1/health/node/",
    "/v1/health/service/", "/v1/health/state/",
    "/v1/internal/ui/gateway-services-nodes/", "/v1/internal/ui/node/", "/v1/internal/ui/nodes",
    "/v1/internal/ui/services",
    "/v1/kv/",
    "/v1/operator/autopilot/configuration", "/v1/operator/autopilot/health",
    "/v1/operator/autopilot/state", "/v1/operator/raft/configuration", "/v1/operator/raft/peer",
    "/v1/operator/raft/transfer-leader",
    "/v1/query", "/v1/query/",
    "/v1/session/create", "/v1/session/destroy/", "/v1/session/info/", "/v1/session/list",
    "/v1/session/node/", "/v1/session/renew/",
    "/v1/status/leader", "/v1/status/peers",
    "/v1/txn",
})  # fmt: skip
"""Routes that take `dc`, by path: what another data center may ask."""

SAID_IN_BODY: Final = frozenset(
    {"/v1/catalog/deregister", "/v1/catalog/register", "/v1/coordinate/update"}
)
"""Routes whose body may name a data center, and then it counts."""

_CATALOG: Final = (
    "/v1/catalog/", "/v1/coordinate/", "/v1/health/", "/v1/internal/", "/v1/query",
)  # fmt: skip
"""Beginnings of paths whose answers are of one agent's catalog, and have an index of its own."""
_HAVE_INDEX: Final = (*_CATALOG, "/v1/session/")
_FAILED_READ_HEADERS: Final = {
    "X-Consul-Index": "1",
    "X-Consul-KnownLeader": "false",
    "X-Consul-LastContact": "0",
}
"""Of reads whose answers have an index, when nobody could be asked (as in Consul)."""

INDEX_HEADER: Final = "X-Consul-Index"


class WantedElsewhereError(SvcmeshError):
    """A request is, by its body, for another data center."""

    def __init__(self, datacenter: str) -> None:
        super().__init__(datacenter)
        self.datacenter = datacenter


class ForwardedRequest:
    """A request that came from another data center, whole."""

    def __init__(
        self, method: str, raw_path: str, headers: Mapping[str, str], content: bytes
    ) -> None:
        self.method, self.raw_path = method, raw_path
        self.headers = headers
        self.remote = None
        self._content = content

    async def read(self) -> bytes:
        """The body."""
        return self._content


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request of another data center, as it was carried here."""

    request: ForwardedRequest
    origin: str
    """The node of the agent that was asked."""
    run: str
    """Whose the index in the request is: a server and its start. Empty: nobody knows."""


def wanted_datacenter(call: Call) -> str | None:
    """The other data center that a request is for by its parameters; None: none."""
    if call.route.path not in OF_DATACENTER or call.route.path in SAID_IN_BODY:
        return None
    name = call.param("dc")
    return name if name and name.lower() != call.facade.view.datacenter.lower() else None


def check_wanted_here(call: Call, named_in_body: str) -> None:
    """Go on if a request whose body may name a data center is for ours.

    Raises:
        WantedElsewhereError: It is for another one, by its body or else by its parameter.
    """
    name = named_in_body or call.param("dc")
    if name and name.lower() != call.facade.view.datacenter.lower():
        raise WantedElsewhereError(name)


class Forwarder:
    """Has requests answered elsewhere; keeps some answers, and whose indexes are whose."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, str, int], str] = OrderedDict()
        """By data center, request and index."""
        self._answers = RemoteAnswers()

    async def forward(self, call: Call, datacenter: str) -> web.Response:
        """Have a server of another data center answer.

        Raises:
            ApiError: 500: it cannot be reached, or the outcome of a write is unknown.
        """
        if call.origin is not None:
            # It has come from another data center already, and goes to no third one.
            raise ApiError(500, str(NoPathError()))
        if call.request.method != "GET":
            return await self._write(call, datacenter)
        if not call.route.path.startswith(_CATALOG) or call.param("index"):
            return await self._read(call, datacenter)
        wanted = freshness(call)
        key = (datacenter.lower(), call.request.raw_path, takes_gzip(call.request))
        if (response := self._answers.fresh(key, wanted)) is not None:
            return response
        try:
            response = await self._read(call, datacenter)
        except ApiError as error:
            is_lost = isinstance(error.__cause__, UnreachableError)
            kept = self._answers.stale(key, wanted) if is_lost else None
            if kept is None:
                raise
            return kept
        return self._answers.keep(key, response, wanted)

    async def _read(self, call: Call, datacenter: str) -> web.Response:
        index, wait_s = wait_options(call)
        waits_s = wait_s * WAIT_SPREAD if index else 0.0
        request = _request_key(call.request.raw_path)
        run = ""
        if index and call.route.path.startswith(_CATALOG):
            run = self._runs.get((datacenter.lower(), request, index), "")
        answer = await _ask(call, datacenter, run=run, waits_s=waits_s)
        response, answered_by = _response_untrusted(answer)
        given = response.headers.get(INDEX_HEADER, "")
        with suppress(ValueError):  # an answer without an index
            key = (datacenter.lower(), request, parse_uint(given))
            self._runs[key] = answered_by
            self._runs.move_to_end(key)
            while len(self._runs) > INDEXES_MAX:
                self._runs.popitem(last=False)
        return response

    async def _write(self, call: Call, datacenter: str) -> web.Response:
        content = await read_bytes(call.request)
        answer = await _ask(call, datacenter, content=content, is_write=True)
        return _response_untrusted(answer)[0]


async def _ask(
    call: Call,
    datacenter: str,
    *,
    content: bytes = b"",
    run: str = "",
    is_write: bool = False,
    waits_s: float = 0.0,
) -> object:
    request = call.request
    headers = {name: value for name in PASSED_HEADERS if (value := request.headers.get(name))}
    if request.remote:
        headers.setdefault(CLIENT_HEADER, request.remote)
    try:
        return await call.facade.remote.call(
            datacenter,
            METHOD,
            [request.method, request.raw_path, headers, content, call.agent_name, run],
            timeout_s=TIMEOUT_S + waits_s,
            is_write=is_write,
            waits_s=waits_s,
        )
    except (NoPathError, UnreachableError) as error:
        is_hop = not call.facade.config.server
        text = f"rpc error making call: {error}" if is_hop else str(error)
        has_index = not is_write and call.route.path.startswith(_HAVE_INDEX)
        raise ApiError(500, text, _FAILED_READ_HEADERS if has_index else None) from error
    except (OutcomeUnknownError, RpcError) as error:
        raise ApiError(500, f"rpc error making call: {error}") from error


def answer_at_once(call: Call) -> None:
    """Take the index out of a blocking query, if it has one of this catalog."""
    if call.route.path.startswith(_CATALOG):
        call.params = {name: given for name, given in call.params.items() if name != "index"}


def pack_response(response: web.StreamResponse, run: str) -> list[Any]:
    """An answer as it is carried back, and whose it is."""
    body = response.body if isinstance(response, web.Response) else None
    content = body if isinstance(body, bytes | bytearray) else b""
    if len(content) > ANSWER_BYTES_MAX:
        text = (
            f"The answer has {len(content)} bytes, of which other data centers get at most "
            f"{ANSWER_BYTES_MAX}: ask an agent of this one\n"
        )
        return [500, dict(TEXT_HEADERS), text.encode(), run]
    return [response.status, dict(response.headers), bytes(content), run]


def unpack_request_untrusted(body: object) -> Forwarded:
    """The request in a call.

    Raises:
        RpcError: It is none, or larger than a client's may be.
    """
    match body:
        case [
            str() as method, str() as target, dict() as headers, bytes() as content,
            str() as origin, str() as run,
        ] if (
            len(target) <= TARGET_BYTES_MAX
            and len(content) <= BODY_BYTES_MAX
            and _are_texts(headers)
        ):  # fmt: skip
            kept = {name: headers[name] for name in PASSED_HEADERS if name in headers}
            return Forwarded(ForwardedRequest(method, target, kept, content), origin, run)
        case _:
            expected = "[method, target, headers, body, node, run]"
            raise RpcError("refused", f"{METHOD}: expected {expected}")


def _response_untrusted(answer: object) -> tuple[web.Response, str]:
    match answer:
        case [int() as status, dict() as headers, bytes() as content, str() as run] if (
            STATUS_MIN <= status <= STATUS_MAX and _are_texts(headers)
        ):
            kept = {name: value for name, value in headers.items() if name != "Content-Length"}
            return web.Response(status=status, body=content, headers=kept), run
        case _:
            raise ApiError(500, "rpc error making call: the answer is none")


def _are_texts(headers: Mapping[object, object]) -> bool:
    return all(
        isinstance(text, str) and "\n" not in text and "\r" not in text
        for item in headers.items()
        for text in item
    )


def _request_key(target: str) -> str:
    """A request without what it waits for."""
    path, _, query = target.partition("?")
    asked = [part for part in query.split("&") if not part.startswith(("index=", "wait="))]
    return "?".join([path, "&".join(asked)])
