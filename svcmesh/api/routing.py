"""From a path and a method to a handler, by the rules of the Go server that Consul is built on.

A route is a whole path, or a prefix that ends in a slash; the rest of the path is then the
handler's argument, slashes included. Paths are cleaned by redirect, methods checked, OPTIONS
answered.
"""

import html
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qs, quote, unquote

from aiohttp import web

from svcmesh.api.answers import BASE_HEADERS, ApiError
from svcmesh.api.facade import AgentFacade

PARAMETERS_MAX: Final = 256

_ORIGIN: Final = re.compile(r"https?://[^/?]*", re.IGNORECASE)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Request(Protocol):
    """What handlers see of a request: aiohttp's, or one of another data center."""

    @property
    def method(self) -> str: ...

    @property
    def raw_path(self) -> str:
        """The target as it was sent, with its query."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in any letter case."""

    @property
    def remote(self) -> str | None:
        """The address of who has connected; None: it came from another data center."""

    async def read(self) -> bytes:
        """The body, however often it is asked for."""


class Call:
    """One request on its way to a handler."""

    __slots__ = ("facade", "origin", "params", "request", "rest", "route")

    def __init__(
        self,
        facade: AgentFacade,
        request: Request,
        route: "Route",
        rest: str,
        params: Mapping[str, list[str]],
        *,
        origin: str | None = None,
    ) -> None:
        self.facade, self.request, self.route = facade, request, route
        self.rest = rest
        """What follows the prefix of the route, decoded."""
        self.params = params
        self.origin = origin
        """The node of the agent of another data center that was asked; None: we were."""

    @property
    def agent_name(self) -> str:
        """The node of the agent that was asked, here or in another data center."""
        return self.facade.config.node_name if self.origin is None else self.origin

    @property
    def http_request(self) -> web.BaseRequest:
        """The request with its connection, for what only a client of this agent may ask."""
        assert isinstance(self.request, web.BaseRequest)
        return self.request

    def param(self, name: str) -> str | None:
        """The first value of a query parameter; empty when it has none, None when not given."""
        values = self.params.get(name)
        return values[0] if values else None


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers one method of a path."""

    handler: Handler
    path: str
    metric: str
    """What its requests are measured as, by Consul's names: `http.GET.v1.health.service._`."""


class Router:
    """Routes by path. Filled once, at the start."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._prefixes: dict[str, dict[str, Route]] = {}
        self._refusals: dict[str, Callable[[str, str], ApiError]] = {}
        """By prefix: what to say to methods without a route, given the rest of the path."""

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Route one method of a path; one that ends in a slash is a prefix."""
        table = self._prefixes if path.endswith("/") else self._exact
        metric = ".".join(["http", method, *path.removeprefix("/").split("/")])
        metric += "_" if path.endswith("/") else ""
        routes = table.setdefault(path, {})
        assert method not in routes, f"{method} {path} has a handler already"
        routes[method] = Route(handler, path, metric)

    def refuse_others(self, prefix: str, refusal: Callable[[str, str], ApiError]) -> None:
        """Have methods refused that a prefix has no route for, by method and rest of the path."""
        self._refusals[prefix] = refusal

    def all(self) -> list[tuple[str, str]]:
        """Method and path of every route; a path that ends in a slash takes an argument."""
        tables = (self._exact, self._prefixes)
        return [
            (method, path)
            for table in tables
            for path, routes in table.items()
            for method in routes
        ]

    def resolve(self, method: str, path: str, query: str = "") -> tuple[Route, str]:
        """The route of a decoded path, and the rest of the path behind its prefix.

        Raises:
            ApiError: There is none: 301, 404 or 405, or 200 for OPTIONS.
        """
        if path == "/":
            raise moved("/ui/", query)
        if (routes := self._exact.get(path)) is not None:
            return _by_method(routes, method), ""
        if path + "/" in self._prefixes:
            raise moved(path + "/", query)
        end = path.rfind("/")
        while end >= 0:
            prefix = path[: end + 1]
            if (routes := self._prefixes.get(prefix)) is not None:
                rest = path[end + 1 :]
                if method not in routes and prefix in self._refusals:
                    raise self._refusals[prefix](method, rest)
                return _by_method(routes, method), rest
            end = path.rfind("/", 0, end)
        raise ApiError(404, "")


def moved(path: str, query: str = "") -> ApiError:
    """Send the client to another path, given decoded, with the query that it came with."""
    location = quote(path, safe="/:@!$&'()*+,;=~") + ("?" + query if query else "")
    link = f'<a href="{html.escape(location)}">Moved Permanently</a>.\n\n'
    headers = {**BASE_HEADERS, "Content-Type": "text/html; charset=utf-8", "Location": location}
    return ApiError(301, link, headers)


def split_target(target: str) -> tuple[str, str, dict[str, list[str]]]:
    """The decoded path of a request target, its query, and the parameters in the query.

    Raises:
        ApiError: A broken escape or an unprintable character (400), or a path that has a cleaner
            form (301).
    """
    if not target.startswith("/"):
        # The absolute form, which clients of a proxy send.
        target = _ORIGIN.sub("", target, count=1) or "/"
    path, _, query = target.partition("?")
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            raise ApiError(400, "400 Bad Request")
        path = unquote(path)
        if not path.isprintable():
            raise ApiError(400, "")
    if "//" in path or "/." in path:
        cleaned = posixpath.normpath(path).replace("//", "/")
        cleaned += "/" if path.endswith("/") and cleaned != "/" else ""
        if cleaned != path:
            raise moved(cleaned, query)
    if not query:
        return path, "", {}
    if "%" in query and _BAD_ESCAPE.search(query):
        raise ApiError(500, "invalid URL escape")  # a client's mistake, but so says Consul
    try:
        # A semicolon separates too, as it did when Consul's server was written.
        params = parse_qs(
            query.replace(";", "&"), keep_blank_values=True, max_num_fields=PARAMETERS_MAX
        )
    except ValueError:
        raise ApiError(400, f"More than {PARAMETERS_MAX} query parameters") from None
    return path, query, params


def _by_method(routes: Mapping[str, Route], method: str) -> Route:
    route = routes.get(method)
    if route is not None:
        return route
    allow = {**BASE_HEADERS, "Allow": ",".join(["OPTIONS", *routes])}
    if method == "OPTIONS":
        raise ApiError(200, "", allow)
    raise ApiError(405, f"method {method} not allowed", allow)
