"""Bodies of requests: bounded, and decoded with the words of Consul's errors."""

import json
from typing import Final

import orjson
from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.routing import Request

BODY_BYTES_MAX: Final = 512 * 1024


async def read_bytes(request: Request) -> bytes:
    """The body as it came.

    Raises:
        ApiError: Larger than `BODY_BYTES_MAX` (413).
    """
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(413, f"Request body too large, max allowed is {BODY_BYTES_MAX}") from None


async def read_json(request: Request) -> object:
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
        return _first_value(body, str(error))
    return value


def _first_value(body: bytes, problem: str) -> object:
    """The value that the body begins with: Consul's decoder never looks at what follows it."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(text.rstrip())
        what = "unexpected EOF" if at_end else problem
        raise ApiError(400, f"Request decode failed: {what}") from None
    if end == len(text.rstrip()):
        # One decoder takes it and the other does not: no UTF-8, a number or a nesting too large.
        raise ApiError(400, f"Request decode failed: {problem}")
    found: object = value
    return found


def _no_number(text: str) -> object:
    raise ValueError(text)


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
