"""From a value to a response, indented or compressed as the client asks."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from svcmesh.api.answers import (
    BASE_HEADERS,
    COMPRESS_BYTES_MIN,
    JSON_HEADERS,
    accepts_gzip,
    compress,
    json_bytes,
    prettify,
)
from svcmesh.api.lists import Fragments, Rows, encode_rows
from svcmesh.api.routing import Call, Request

PIECE_BYTES: Final = 512 * 1024
"""Of a body, written at once: about a millisecond's copying."""

COMPRESS_INLINE_BYTES_MAX: Final = 128 * 1024
"""Larger bodies are compressed on a thread."""


async def json_response(
    call: Call, value: object, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A value as JSON, with status 200."""
    body, dressed = await dress(call, value, {**JSON_HEADERS, **(headers or {})})
    return web.Response(body=body, headers=dressed)


async def in_pieces(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """`response`; a large one is written here, in pieces and as fast as the client reads it."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or len(body) <= PIECE_BYTES:
        return response
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    whole = memoryview(body)
    for start in range(0, len(body), PIECE_BYTES):
        await stream.write(whole[start : start + PIECE_BYTES])
        # Writing waits for a slow reader only: others get their turn in any case.
        await asyncio.sleep(0)
    await stream.write_eof()
    return stream


class AnsweredAlready(web.StreamResponse):
    """Stands for an answer that has been written to the connection, which stays open."""

    @property
    def keep_alive(self) -> bool:
        """The connection is kept."""
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """There is nothing left to write."""

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing left to write."""


def empty_response() -> web.Response:
    """Status 200 and nothing else."""
    return web.Response(headers=BASE_HEADERS)


async def dress(
    call: Call, value: object, headers: dict[str, str], fragments: Fragments | None = None
) -> tuple[bytes, dict[str, str]]:
    """The body for a JSON value or `Rows`, as the client wants it, and the headers with it."""
    body = await encode(value, pretty="pretty" in call.params, fragments=fragments)
    if len(body) < COMPRESS_BYTES_MIN or not takes_gzip(call.request):
        return body, headers
    if len(body) <= COMPRESS_INLINE_BYTES_MAX:
        packed = compress(body)
    else:
        packed = await asyncio.to_thread(compress, body)
    return packed, {**headers, "Content-Encoding": "gzip"}


async def encode(
    value: object, *, pretty: bool = False, fragments: Fragments | None = None
) -> bytes:
    """Encode an answer; a long list in slices, with turns for the event loop in between."""
    if isinstance(value, Rows):
        return await encode_rows(value, pretty=pretty, fragments=fragments)
    body = json_bytes(value)
    return prettify(body) if pretty else body


def takes_gzip(request: Request) -> bool:
    """Whether the client accepts gzip."""
    accept_encoding = request.headers.get("Accept-Encoding")
    return accept_encoding is not None and accepts_gzip(accept_encoding)
