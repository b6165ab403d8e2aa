"""Bodies of requests: bounded, and decoded with the words of Consul's errors."""

import json
import math
from typing import Final

import orjson
from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.routing import Request

BODY_BYTES_MAX: Final = 512 * 1024

DECODE_FAILED: Final = "Request decode failed"


async def read_bytes(request: Request) -> bytes:
    """The body as it came.

    Raises:
        ApiError: Larger than `BODY_BYTES_MAX` (413).
    """
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        said = request.headers.get("Content-Length")
        size = f"({said} bytes)" if said else ""
        text = f"Request body{size} too large, max size: {BODY_BYTES_MAX} bytes"
        raise ApiError(413, text) from None


async def read_json(request: Request, *, failed: str = DECODE_FAILED) -> object:
    """The body as a JSON value; `failed` begins the text of the error when it is none.

    Raises:
        ApiError: Larger than `BODY_BYTES_MAX` (413), or no JSON (400).
    """
    body = await read_bytes(request)
    if not body.strip():
        raise ApiError(400, f"{failed}: EOF")
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _first_value(body, f"{failed}: {{}}", str(error))
    return value


def _first_value(body: bytes, words: str, problem: str) -> object:
    """The value that the body begins with, as Consul's decoder takes it.

    What follows the value is never looked at, and what is no text in it becomes replacement marks.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        value, _ = _DECODER.raw_decode(text)
        return _without_surrogates(value)
    except (ValueError, RecursionError) as error:
        at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(text.rstrip())
        raise ApiError(400, words.format("unexpected EOF" if at_end else problem)) from None


def _without_surrogates(value: object) -> object:
    """The value with a mark for each half of a surrogate pair, which UTF-8 cannot spell."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {
                _without_surrogates(key): _without_surrogates(inner) for key, inner in value.items()
            }
        case list():
            return [_without_surrogates(inner) for inner in value]
        case _:
            return value


def _no_number(text: str) -> object:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
