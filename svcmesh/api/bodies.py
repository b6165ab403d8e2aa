"""Bodies of requests: bounded, and decoded with the words of Consul's errors."""

from typing import Final

import orjson
from aiohttp import web

from svcmesh.api.answers import ApiError

BODY_BYTES_MAX: Final = 512 * 1024


async def read_bytes(request: web.BaseRequest) -> bytes:
    """The body as it came.

    Raises:
        ApiError: Larger than `BODY_BYTES_MAX` (413).
    """
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, f"Request body too large, max allowed is {BODY_BYTES_MAX}") from None


async def read_json(request: web.BaseRequest) -> object:
    """The body as a JSON value.

    Raises:
        ApiError: Larger than `BODY_BYTES_MAX` (413), or no JSON (400).
    """
    body = await read_bytes(request)
    if not body.strip():
        raise ApiError(400, "Request decode failed: EOF")
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"Request decode failed: {error}") from None
    return value
