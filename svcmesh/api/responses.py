"""From a value to a response: long lists in slices, indented or compressed as the client asks."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

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
from svcmesh.api.routing import Call

SLICE_ROWS: Final = 200
"""Rows that are turned into JSON before the event loop gets its turn: a few milliseconds."""

PRETTY_SLICE_ROWS: Final = 25
"""The same with indentation, which is many times slower."""

COMPRESS_INLINE_BYTES_MAX: Final = 128 * 1024
"""Larger bodies are compressed on a thread."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A list to send: rows, and how one of them looks as JSON."""

    rows: Sequence[Any]  # of one kind, the one that `render` takes
    render: Callable[[Any], object]


async def json_response(
    call: Call, value: object, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A value as JSON, with status 200."""
    body, dressed = await dress(call, value, {**JSON_HEADERS, **(headers or {})})
    return web.Response(body=body, headers=dressed)


def empty_response() -> web.Response:
    """Status 200 and nothing else."""
    return web.Response(headers=BASE_HEADERS)


async def dress(call: Call, value: object, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """The body for a JSON value or `Rows`, as the client wants it, and the headers with it."""
    body = await encode(value, pretty="pretty" in call.params)
    if len(body) < COMPRESS_BYTES_MIN or not takes_gzip(call.request):
        return body, headers
    if len(body) <= COMPRESS_INLINE_BYTES_MAX:
        packed = compress(body)
    else:
        packed = await asyncio.to_thread(compress, body)
    return packed, {**headers, "Content-Encoding": "gzip"}


async def encode(value: object, *, pretty: bool = False) -> bytes:
    """Encode an answer; a long list in slices, with turns for the event loop in between."""
    to_bytes, slice_rows = (
        (_pretty_bytes, PRETTY_SLICE_ROWS) if pretty else (json_bytes, SLICE_ROWS)
    )
    if not isinstance(value, Rows):
        return to_bytes(value)
    if len(value.rows) <= slice_rows:
        return to_bytes([value.render(row) for row in value.rows])
    # Each slice is a list of its own, whose brackets go.
    before, between, after = (b"[\n", b",\n", b"\n]\n") if pretty else (b"[", b",", b"]")
    parts = []
    rows = iter(value.rows)
    while part := [value.render(row) for row in islice(rows, slice_rows)]:
        parts.append(to_bytes(part)[len(before) : -len(after)])
        await asyncio.sleep(0)
    return before + between.join(parts) + after


def takes_gzip(request: web.BaseRequest) -> bool:
    """Whether the client accepts gzip."""
    accept_encoding = request.headers.get("Accept-Encoding")
    return accept_encoding is not None and accepts_gzip(accept_encoding)


def _pretty_bytes(value: object) -> bytes:
    return prettify(json_bytes(value))
