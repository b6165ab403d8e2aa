"""HTTP probes: one request on a connection of its own, and what came back.

Not aiohttp's client: for each probe it takes 0.34 ms of processor time, this 0.19 ms, and ten
thousand checks at ten seconds are a thousand probes a second. httptools parses; what is left is
small.
"""

import asyncio
import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import httptools

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import HttpProbe
from svcmesh.checks.probes.dialing import Dialer, ProbeError
from svcmesh.checks.table import ProbeResult

REDIRECTS_MAX: Final = 10
READ_BYTES_MAX: Final = 256 * 1024
"""Of the body and of the headers; what comes after is not read."""

USER_AGENT: Final = "Consul Health Check"
"""What services know health checks by."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SECRETS: Final = frozenset({"authorization", "www-authenticate", "cookie", "cookie2"})
"""Headers that do not follow a redirect to another host."""


async def probe_http(probe: HttpProbe, dialer: Dialer, *, output_bytes_max: int) -> ProbeResult:
    """Send the request, follow redirects, judge by the status code.

    Raises:
        ProbeError: There was no answer; the text says why.
    """
    verb = probe.method[:1].upper() + probe.method[1:].lower()
    method, url = probe.method, probe.url
    body, header = probe.body, probe.header
    for _ in range(REDIRECTS_MAX + 1):
        request = _request(method, url, header, body)
        try:
            answer = await _exchange(request, probe, dialer, output_bytes_max)
        except ProbeError as error:
            raise ProbeError(f'{verb} "{request.shown_url}": {error}') from error
        if answer.status not in _REDIRECTS:
            return _result(probe, answer)
        if not answer.location:
            raise ProbeError(f'{verb} "{url}": {answer.status} response missing Location header')
        former, url = url, urljoin(url, answer.location)
        if answer.status < 307 and method != "HEAD":
            method, body = "GET", ""
        if urlsplit(url).hostname != urlsplit(former).hostname:
            header = tuple(pair for pair in header if pair[0].lower() not in _SECRETS)
    raise ProbeError(f'{verb} "{url}": stopped after {REDIRECTS_MAX} redirects')


def _result(probe: HttpProbe, answer: "_Answer") -> ProbeResult:
    status = HealthStatus.CRITICAL
    if 200 <= answer.status < 300:
        status = HealthStatus.PASSING
    elif answer.status == 429:
        status = HealthStatus.WARNING
    line = f"HTTP {probe.method} {probe.url}: {answer.status} {answer.reason} Output: "
    return ProbeResult(status, line + answer.body.decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that is ready to be sent."""

    address: str
    host: str
    uses_tls: bool
    is_head: bool
    raw: bytes
    shown_url: str


@lru_cache(maxsize=16384)
def _request(
    method: str, url: str, header: tuple[tuple[str, tuple[str, ...]], ...], body: str
) -> _Request:
    """Prepare a request. Cached: it is the same each time.

    Raises:
        ProbeError: It cannot be sent.
    """
    if not _TOKEN.fullmatch(method):
        raise ProbeError(f'net/http: invalid method "{method}"')
    verb = method[:1].upper() + method[1:].lower()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ProbeError(f'parse "{url}": {error}') from error
    if parts.scheme not in ("http", "https"):
        raise ProbeError(f'{verb} "{url}": unsupported protocol scheme "{parts.scheme}"')
    if not host:
        raise ProbeError(f'{verb} "{url}": http: no Host in request URL')
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ProbeError(f'parse "{url}": invalid character in URL')
    bracketed = f"[{host}]" if ":" in host else host
    address = f"{bracketed}:{port or (443 if parts.scheme == 'https' else 80)}"
    lines = [f"{method} {target} HTTP/1.1"]
    given = {name.lower() for name, _ in header}
    defaults = [
        ("Host", bracketed if port is None else f"{bracketed}:{port}"),
        ("User-Agent", USER_AGENT),
        ("Accept", "text/plain, text/*, */*"),
    ]
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = base64.b64encode(user.encode()).decode()
        defaults.append(("Authorization", f"Basic {credentials}"))
    lines += [f"{name}: {value}" for name, value in defaults if name.lower() not in given]
    lines += _header_lines(header, verb, url)
    data = body.encode()
    if data and "content-length" not in given:
        lines.append(f"Content-Length: {len(data)}")
    lines += ["Connection: close", "", ""]
    raw = "\r\n".join(lines).encode("utf-8") + data
    return _Request(address, host, parts.scheme == "https", method == "HEAD", raw, url)


def _header_lines(
    header: Iterable[tuple[str, tuple[str, ...]]], verb: str, url: str
) -> Iterable[str]:
    for name, values in header:
        if not _TOKEN.fullmatch(name):
            raise ProbeError(f'{verb} "{url}": net/http: invalid header field name "{name}"')
        if name.lower() in ("connection", "transfer-encoding"):
            # The connection is ours, and so is the framing.
            continue
        for value in values:
            if _BAD_VALUE.search(value):
                raise ProbeError(
                    f'{verb} "{url}": net/http: invalid header field value for "{name}"'
                )
            yield f"{name}: {value}"


async def _exchange(
    request: _Request, probe: HttpProbe, dialer: Dialer, output_bytes_max: int
) -> "_Answer":
    tls = None
    if request.uses_tls:
        tls = await dialer.tls_context(skip_verify=probe.tls_skip_verify)
    answer = await dialer.connect(
        lambda: _Answer(request, output_bytes_max),
        request.address,
        tls=tls,
        server_name=probe.tls_server_name,
    )
    try:
        await answer.done
    finally:
        answer.transport.abort()
    return answer


class _Answer(asyncio.Protocol):
    """Sends a request and takes the answer; `done` when that is complete, or with `ProbeError`."""

    transport: asyncio.Transport

    def __init__(self, request: _Request, output_bytes_max: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status, self.reason, self.location = 0, "", ""
        self.body = bytearray()
        self._request, self._output_bytes_max = request, output_bytes_max
        self._parser = httptools.HttpResponseParser(self)
        self._read_bytes = 0
        self._has_headers = False
        self._is_framed = False
        """Whether the headers say where the body ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request.raw)

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        self._read_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finish()
        except httptools.HttpParserError as error:
            self._fail(f"net/http: HTTP/1.x transport connection broken: {error}")
        if self._read_bytes > READ_BYTES_MAX:
            if self._has_headers:
                self._finish()
            else:
                self._fail("net/http: server response headers exceeded their limit")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._has_headers and not self._is_framed:
            # Without a length the body ends with the connection.
            self._finish()
        elif isinstance(exc, ConnectionResetError):
            self._fail("read: connection reset by peer")
        else:
            self._fail("unexpected EOF" if self._has_headers else "EOF")

    # -- what the parser calls --------------------------------------------------------------

    def on_status(self, reason: bytes) -> None:
        self.reason += reason.decode("utf-8", "replace")

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        if lowered == b"location":
            self.location = value.decode("utf-8", "replace")
        elif lowered in (b"content-length", b"transfer-encoding"):
            self._is_framed = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:
            # An interim answer: the one that counts follows.
            self.reason, self.location, self._is_framed = "", "", False
            return
        self._has_headers = True
        if self._request.is_head:
            self._finish()

    def on_body(self, data: bytes) -> None:
        self.body += data
        # The end of the output is what counts, as in Consul.
        del self.body[: -self._output_bytes_max]

    def on_message_complete(self) -> None:
        if self._has_headers:
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(ProbeError(why))
