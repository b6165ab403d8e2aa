"""The agent's HTTP API, as a command needs it: one request, JSON in and out, errors in Go's words.

Kept apart from the client that applications import: this one is small and quick to start.
"""

import http.client
import json
import os
import shutil
import socket
import ssl  # http.client has imported it already
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any, Final, TypeAlias, TypeVar
from urllib.parse import urlencode

from cli.errors import ApiError, CommandError
from cli.flags import HTTP_OPTIONS, flag
from svcmesh.agentaccess import (
    DEFAULT_ADDRESS,
    AccessError,
    AgentAccess,
    TlsFiles,
    agent_access,
)
from svcmesh.goformats import join_host_port, parse_uint

F = TypeVar("F", bound=Callable[..., object])
Json: TypeAlias = Any  # an answer of the API, of the shape that its caller expects

TIMEOUT_S: Final = 60.0
"""For connecting, and between two pieces of an answer: joining and leaving take seconds."""

LONG_TIMEOUT_S: Final = 600.0
"""Where the agent works on something large before it answers."""

PIECE_BYTES: Final = 256 * 1024

INDEX_HEADER: Final = "X-Consul-Index"

Query = Iterable[tuple[str, str]]


class NotFoundError(ApiError):
    """The agent answers that there is no such thing (404); `index` as for any answer."""

    def __init__(self, text: str, index: int) -> None:
        super().__init__(text)
        self.index = index


class NotBuiltError(ApiError):
    """The agent answers that it does not do this (501), now or later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and the index of what it shows."""

    value: Json
    index: int


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is no JSON, and its index."""

    content: bytes
    index: int


class Stream:
    """An answer that goes on."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        # Without a second reference there is no way to a socket that somebody reads from.
        self._socket = socket.socket(fileno=os.dup(response.fileno()))

    def read(self, bytes_max: int) -> bytes:
        """What has come, at least one byte; none when the answer has ended or been aborted."""
        return self._response.read1(bytes_max)

    def abort(self) -> None:
        """End a `read` that waits in another thread, now or later. Called once."""
        with self._socket, suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class Client:
    """Calls one agent. A connection for each request."""

    def __init__(self, access: AgentAccess) -> None:
        self._access = access

    def get(self, path: str, query: Query = ()) -> Json:
        """GET a JSON answer.

        Raises:
            ApiError: No answer, or not 200.
        """
        return self.read(path, query).value

    def read(self, path: str, query: Query = (), *, timeout_s: float = TIMEOUT_S) -> Answer:
        """GET a JSON answer with its index, as blocking queries need it; 0 when it has none.

        Raises:
            ApiError: No answer within `timeout_s`, or not 200.
        """
        with self._exchange("GET", path, query, None, timeout_s) as response:
            content = response.read()
            index = _index(response)
        try:
            value = json.loads(content)
        except ValueError as error:
            raise ApiError(f"the answer is not JSON: {error}") from None
        return Answer(value, index)

    def put(self, path: str, query: Query = (), body: Mapping[str, object] | None = None) -> Json:
        """PUT, with a JSON body or none. The decoded answer, None when it is empty.

        Raises:
            ApiError: No answer, not 200, or not JSON.
        """
        encoded = json.dumps(body) if body is not None else None
        with self._exchange("PUT", path, query, encoded, TIMEOUT_S) as response:
            content = response.read()
        try:
            return json.loads(content) if content.strip() else None
        except ValueError as error:
            raise ApiError(f"the answer is not JSON: {error}") from None

    def read_bytes(self, path: str, query: Query = ()) -> Download:
        """GET an answer as it is.

        Raises:
            ApiError: No answer, or not 200.
        """
        with self._exchange("GET", path, query, None, TIMEOUT_S) as response:
            return Download(response.read(), _index(response))

    def download(self, path: str, query: Query, to: IO[bytes]) -> int:
        """GET an answer into a file, of any size; its index.

        Raises:
            ApiError: No answer, not 200, or it ends too early.
        """
        with self._exchange("GET", path, query, None, LONG_TIMEOUT_S) as response:
            shutil.copyfileobj(response, to, PIECE_BYTES)
            if response.length:
                raise ApiError("unexpected EOF")
            return _index(response)

    def upload(self, path: str, query: Query, content: IO[bytes]) -> None:
        """PUT a file of any size.

        Raises:
            ApiError: No answer, or not 200.
        """
        size = {"Content-Length": str(os.fstat(content.fileno()).st_size)}
        with self._exchange("PUT", path, query, content, LONG_TIMEOUT_S, size):
            pass

    def send(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Mapping[str, object] | str | bytes = "",
    ) -> Json:
        """Send a JSON body, a text or bytes; the answer as JSON, None when it is empty.

        Raises:
            ApiError: No answer, or not 200.
        """
        encoded = body if isinstance(body, str | bytes) else json.dumps(body)
        with self._exchange(method, path, query, encoded, TIMEOUT_S) as response:
            content = response.read()
        try:
            return json.loads(content) if content.strip() else None
        except ValueError as error:
            raise ApiError(f"the answer is not JSON: {error}") from None

    @contextmanager
    def stream(self, path: str, query: Query = (), *, timeout_s: float) -> Iterator["Stream"]:
        """GET an answer that goes on, to be read as it comes.

        Raises:
            ApiError: No answer, not 200, or nothing for `timeout_s`.
        """
        with self._exchange("GET", path, query, None, timeout_s) as response:
            yield Stream(response)

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        query: Query,
        body: str | bytes | IO[bytes] | None,
        timeout_s: float,
        more_headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[http.client.HTTPResponse]:
        encoded = urlencode(sorted(query))
        target = f"{path}?{encoded}" if encoded else path
        connection = self._connection(timeout_s)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise self._failure(method, target, self._dial_failure(error)) from error
            try:
                headers = {**self._access.headers(), **more_headers}
                try:
                    connection.request(method, target, body=body, headers=headers)
                except ValueError as error:
                    # A token with a line break, say, makes no header.
                    why = f"net/http: {str(error).lower()}"
                    raise self._failure(method, target, why) from error
                response = connection.getresponse()
                if response.status != http.client.OK:
                    _refuse(response)
                yield response
            except (OSError, http.client.HTTPException) as error:
                raise self._failure(method, target, str(error) or "EOF") from error
        finally:
            connection.close()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        access = self._access
        if access.socket_path:
            return _UnixConnection(access.socket_path, timeout_s)
        if access.scheme == "http":
            return http.client.HTTPConnection(access.host, access.port, timeout=timeout_s)
        try:
            context = access.tls.context()
        except AccessError as error:
            raise CommandError(f"Error connecting to Consul agent: {error}") from None
        return _TlsConnection(access, context, timeout_s)

    def _failure(self, method: str, target: str, why: str) -> ApiError:
        return ApiError(f'{method.capitalize()} "{self._access.base_url}{target}": {why}')

    def _dial_failure(self, error: OSError) -> str:
        access = self._access
        why = (error.strerror or str(error)).lower()
        if access.socket_path:
            return f"dial unix {access.socket_path}: connect: {why}"
        if isinstance(error, socket.gaierror):
            return f"dial tcp: lookup {access.host}: no such host"
        if access.scheme == "https" and (tls_failure := _tls_failure(error)):
            return tls_failure
        where = join_host_port(access.host, access.port)
        if isinstance(error, TimeoutError):
            return f"dial tcp {where}: i/o timeout"
        return f"dial tcp {where}: connect: {why}"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)


class _TlsConnection(http.client.HTTPSConnection):
    """HTTPS, to a certificate that may have another name than the address."""

    def __init__(self, access: AgentAccess, context: ssl.SSLContext, timeout_s: float) -> None:
        super().__init__(access.host, access.port, timeout=timeout_s, context=context)
        self._server_name = access.tls.server_name or access.host
        self._tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._server_name)


def _tls_failure(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"x509: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
            return "http: server gave HTTP response to HTTPS client"
        return f"tls: {error.reason}"
    return ""


def _refuse(response: http.client.HTTPResponse) -> None:
    text = response.read().decode(errors="replace")
    why = f"Unexpected response code: {response.status} ({text})"
    if response.status == http.client.NOT_FOUND:
        raise NotFoundError(why, _index(response))
    if response.status == http.client.NOT_IMPLEMENTED:
        raise NotBuiltError(why)
    raise ApiError(why)


def _index(response: http.client.HTTPResponse) -> int:
    text = response.headers.get(INDEX_HEADER, "")
    try:
        return parse_uint(text)
    except ValueError:
        return 0


def client_flags(callback: F) -> F:
    """Declare the flags of every command that calls the API."""
    for name, metavar, text in (
        ("token-file", "path", "File with the token; wins over -token."),
        ("token", "value", "Access token to send along. Environment: CONSUL_HTTP_TOKEN."),
        ("tls-server-name", "name", "Name to expect in the agent's certificate."),
        ("client-key", "path", "Key of our own certificate."),
        ("client-cert", "path", "Our own certificate, for an agent that asks for one."),
        ("ca-path", "path", "Folder of certificates to check the agent's with."),
        ("ca-file", "path", "Certificates to check the agent's with. Environment: CONSUL_CACERT."),
        (
            "http-addr",
            "address",
            "The agent's HTTP API: host:port, with http:// or https:// before it, or unix:///path. "
            "Environment: SVCMESH_HTTP_ADDR, then CONSUL_HTTP_ADDR; CONSUL_HTTP_SSL=true for "
            f"https. Default: {DEFAULT_ADDRESS}.",
        ),
    ):
        callback = flag(name, section=HTTP_OPTIONS, metavar=metavar, help=text)(callback)
    return callback


def read_flags(callback: F) -> F:
    """Declare the further flags of commands that read the catalog."""
    callback = flag(
        "stale",
        kind="bool",
        section=HTTP_OPTIONS,
        help="Accept an answer that may be stale. Reads of the catalog are always local.",
    )(callback)
    callback = flag(
        "namespace",
        section=HTTP_OPTIONS,
        help="Namespace to ask about. There are none, so agents refuse it.",
    )(callback)
    return flag(
        "datacenter",
        section=HTTP_OPTIONS,
        help="Data center to ask about. Default: the agent's own.",
    )(callback)


def client_from_flags(flags: Mapping[str, object]) -> Client:
    """Make the client that the flags of `client_flags` describe.

    Raises:
        CommandError: The address has no meaning, or a file cannot be read.
    """
    return Client(access_from_flags(flags))


def agent_itself(client: Client) -> Json:
    """Ask the agent about itself, before anything else is asked of it.

    Raises:
        CommandError: It does not answer.
    """
    try:
        return client.get("/v1/agent/self")
    except ApiError as error:
        raise CommandError(f"Error querying Consul agent: {error}") from None


def access_from_flags(flags: Mapping[str, object]) -> AgentAccess:
    """Give the agent that the flags of `client_flags` describe.

    Raises:
        CommandError: The address has no meaning, or a file cannot be read.
    """

    def text(name: str) -> str:
        return str(flags.get(name) or "")

    tls = TlsFiles(
        ca_file=text("ca_file"),
        ca_path=text("ca_path"),
        client_cert=text("client_cert"),
        client_key=text("client_key"),
        server_name=text("tls_server_name"),
    )
    try:
        return agent_access(
            text("http_addr"), token=text("token"), token_file=text("token_file"), tls=tls
        )
    except AccessError as error:
        raise CommandError(f"Error connecting to Consul agent: {error}") from None


def read_query(flags: Mapping[str, object]) -> list[tuple[str, str]]:
    """Give the query parameters of the flags of `read_flags`."""
    query = []
    if flags.get("datacenter"):
        query.append(("dc", str(flags["datacenter"])))
    if flags.get("namespace"):
        query.append(("ns", str(flags["namespace"])))
    if flags.get("stale"):
        query.append(("stale", ""))
    return query
