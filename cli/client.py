"""The agent's HTTP API, as a command needs it: one request, JSON in and out, errors in Go's words.

Kept apart from the client that applications import: this one is small and quick to start.
"""

import http.client
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import urlencode, urlsplit

from cli.errors import ApiError, CommandError
from cli.flags import HIDDEN, HTTP_OPTIONS, flag

F = TypeVar("F", bound=Callable[..., object])
Json: TypeAlias = Any  # an answer of the API, of the shape that its caller expects

DEFAULT_ADDRESS: Final = "127.0.0.1:8500"
ADDRESS_VARIABLES: Final = ("SVCMESH_HTTP_ADDR", "CONSUL_HTTP_ADDR")
NOT_BUILT: Final = {
    "TLS is": ("ca-file", "ca-path", "client-cert", "client-key", "tls-server-name"),
    "access control is": ("token", "token-file"),
}
"""Flags of Consul's commands that are refused, by the feature they belong to."""
TIMEOUT_S: Final = 60.0
"""For connecting, and between two pieces of an answer: joining and leaving take seconds."""

Query = Iterable[tuple[str, str]]


class Client:
    """Calls one agent. A connection for each request."""

    def __init__(self, address: str) -> None:
        """Take `host`, `host:port` or `http://host:port`.

        Raises:
            CommandError: Of another kind.
        """
        if address.startswith("unix://"):
            raise CommandError(f"Unix sockets are not built yet: {address}")
        if "://" not in address:
            address = f"http://{address}"
        parts = urlsplit(address)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise CommandError(f"-http-addr: {error}: {address}") from None
        if parts.scheme != "http":
            raise CommandError(f"only plain HTTP is built yet: {address}")
        if not host:
            raise CommandError(f"-http-addr: no host: {address}")
        self._host, self._port = host, port or 80
        self._base = f"http://{parts.netloc}"

    def get(self, path: str, query: Query = ()) -> Json:
        """GET a JSON answer.

        Raises:
            ApiError: No answer, or not 200.
        """
        body = self._request("GET", path, query, None)
        try:
            return json.loads(body)
        except ValueError as error:
            raise ApiError(f"the answer is not JSON: {error}") from None

    def put(self, path: str, query: Query = (), body: Mapping[str, object] | None = None) -> None:
        """PUT, with a JSON body or none; the answer has none of interest.

        Raises:
            ApiError: No answer, or not 200.
        """
        self._request("PUT", path, query, json.dumps(body) if body is not None else None)

    def _request(self, method: str, path: str, query: Query, body: str | None) -> bytes:
        encoded = urlencode(sorted(query))
        target = f"{path}?{encoded}" if encoded else path
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            raise ApiError(self._failure(method, target, self._dial_failure(error))) from error
        try:
            connection.request(method, target, body=body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(self._failure(method, target, str(error) or "EOF")) from error
        finally:
            connection.close()
        if response.status != 200:
            text = content.decode(errors="replace")
            raise ApiError(f"Unexpected response code: {response.status} ({text})")
        return content

    def _failure(self, method: str, target: str, why: str) -> str:
        return f'{method.capitalize()} "{self._base}{target}": {why}'

    def _dial_failure(self, error: OSError) -> str:
        import socket

        if isinstance(error, socket.gaierror):
            return f"dial tcp: lookup {self._host}: no such host"
        host = f"[{self._host}]" if ":" in self._host else self._host
        if isinstance(error, TimeoutError):
            return f"dial tcp {host}:{self._port}: i/o timeout"
        why = (error.strerror or str(error)).lower()
        return f"dial tcp {host}:{self._port}: connect: {why}"


def client_flags(callback: F) -> F:
    """Declare the flags of every command that calls the API."""
    for names in NOT_BUILT.values():
        for name in names:
            callback = flag(name, section=HIDDEN, help="Not built yet.")(callback)
    return flag(
        "http-addr",
        section=HTTP_OPTIONS,
        metavar="address",
        help="Address and port of the agent's HTTP API. Also taken from the environment: "
        f"{', then '.join(ADDRESS_VARIABLES)}. Default: {DEFAULT_ADDRESS}.",
    )(callback)


def read_flags(callback: F) -> F:
    """Declare the further flags of commands that read the catalog."""
    callback = flag(
        "stale",
        kind="bool",
        section=HTTP_OPTIONS,
        help="Accept an answer that may be stale. Reads of the catalog are always local.",
    )(callback)
    return flag(
        "datacenter",
        section=HTTP_OPTIONS,
        help="Data center to ask about. Default: the agent's own.",
    )(callback)


def client_from_flags(flags: Mapping[str, object]) -> Client:
    """Make the client that the flags of `client_flags` describe.

    Raises:
        CommandError: A flag asks for what is not built, or the address is wrong.
    """
    for feature, names in NOT_BUILT.items():
        for name in names:
            if flags.get(name.replace("-", "_")):
                raise CommandError(f"-{name}: {feature} not built yet")
    given = flags.get("http_addr") or next(
        filter(None, map(os.environ.get, ADDRESS_VARIABLES)), DEFAULT_ADDRESS
    )
    return Client(str(given))


def read_query(flags: Mapping[str, object]) -> list[tuple[str, str]]:
    """Give the query parameters of the flags of `read_flags`."""
    query = []
    if flags.get("datacenter"):
        query.append(("dc", str(flags["datacenter"])))
    if flags.get("stale"):
        query.append(("stale", ""))
    return query
