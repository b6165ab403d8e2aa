"""Requests to one agent, over aiohttp: deadlines, typed errors, closing."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp

from svcmesh.agentaccess import AgentAccess
from svcmesh.client.errors import (
    AgentUnreachableError,
    BadAnswerError,
    ClientClosedError,
    DeadlineExceededError,
    RequestRefusedError,
)
from svcmesh.client.instances import Json
from svcmesh.goformats import parse_uint

ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
"""A hundred thousand instances with their checks are half of it."""

PIECE_BYTES: Final = 1024 * 1024

ERROR_TEXT_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """The value of a JSON answer, and its index; 0 when it has none."""

    value: Json
    index: int


class Transport:
    """Calls one agent. Belongs to the event loop that it is first used in."""

    def __init__(self, access: AgentAccess) -> None:
        self.access = access
        self._session: aiohttp.ClientSession | None = None
        self._closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed.is_set()

    async def close(self) -> None:
        """Close every connection. Calls under way end with `ClientClosedError`."""
        self._closed.set()
        if self._session is not None:
            await self._session.close()

    async def get(
        self, path: str, query: Sequence[tuple[str, str]] = (), *, timeout_s: float
    ) -> Answer:
        """GET a JSON answer.

        Raises:
            ClientError: There is none.
        """
        content, index = await self._request("GET", path, query, None, timeout_s)
        try:
            return Answer(json.loads(content), index)
        except ValueError as error:
            raise BadAnswerError(f"{path}: not JSON: {error}") from error

    async def put(self, path: str, body: object = None, *, timeout_s: float) -> None:
        """PUT a JSON body, or none.

        Raises:
            ClientError: It was not taken.
        """
        content = None if body is None else json.dumps(body).encode()
        await self._request("PUT", path, (), content, timeout_s)

    async def send(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Json:
        """Send bytes; the value of the JSON answer.

        Raises:
            ClientError: There is none.
        """
        content, _ = await self._request(method, path, query, body, timeout_s)
        try:
            return json.loads(content)
        except ValueError as error:
            raise BadAnswerError(f"{path}: not JSON: {error}") from error

    async def pause(self, seconds: float) -> None:
        """Wait, unless the client is closed meanwhile.

        Raises:
            ClientClosedError: It is.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return
        raise ClientClosedError("the client is closed")

    async def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: bytes | None,
        timeout_s: float,
    ) -> tuple[bytes, int]:
        if self.is_closed:
            raise ClientClosedError("the client is closed")
        if self._session is None:
            self._session = self._make_session()
        url = f"{self._base()}{path}"
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method,
                    url,
                    params=list(query),
                    data=body,
                    server_hostname=self.access.tls.server_name or None,
                ) as response,
            ):
                content = await _read_bounded(response)
        except TimeoutError as error:
            raise DeadlineExceededError(f"{url}: no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            if self.is_closed:
                raise ClientClosedError("the client was closed during the call") from error
            why = str(error) or type(error).__name__
            raise AgentUnreachableError(f"{url}: {why}") from error
        if response.status != 200:
            text = content.decode(errors="replace").strip()[:ERROR_TEXT_MAX]
            raise RequestRefusedError(response.status, text)
        index = response.headers.get("X-Consul-Index", "")
        try:
            return content, parse_uint(index)
        except ValueError:
            # An answer without an index.
            return content, 0

    def _base(self) -> str:
        access = self.access
        return "http://localhost" if access.socket_path else f"{access.scheme}://{access.netloc}"

    def _make_session(self) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if self.access.socket_path:
            connector = aiohttp.UnixConnector(self.access.socket_path, limit=0)
        elif self.access.scheme == "https":
            connector = aiohttp.TCPConnector(limit=0, ssl=self.access.tls.context())
        else:
            connector = aiohttp.TCPConnector(limit=0)
        return aiohttp.ClientSession(
            connector=connector,
            headers=self.access.headers(),
            # Every call has its own deadline.
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=PIECE_BYTES,
        )


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    pieces, size_bytes = [], 0
    async for piece in response.content.iter_any():
        size_bytes += len(piece)
        if size_bytes > ANSWER_BYTES_MAX:
            raise BadAnswerError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        pieces.append(piece)
    return b"".join(pieces)
