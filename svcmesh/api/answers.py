"""How answers are written: JSON as Consul's, errors as lines of plain text."""

import gzip
import json
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from svcmesh.errors import SvcmeshError

COMPRESS_BYTES_MIN: Final = 1024
"""Smaller bodies gain nothing from compression."""
COPY_BYTES_MAX: Final = 64 * 1024

BASE_HEADERS: Final = {"Server": "svcmesh", "Vary": "Accept-Encoding"}
JSON_HEADERS: Final = {**BASE_HEADERS, "Content-Type": "application/json"}
TEXT_HEADERS: Final = {**BASE_HEADERS, "Content-Type": "text/plain; charset=utf-8"}


class ApiError(SvcmeshError):
    """A request that is refused: the status, and one or more lines of text as the body."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text = status, text
        self.headers = dict(headers or {})


def json_bytes(value: object) -> bytes:
    """Encode a value. Text that is not valid Unicode, as tags may be, gets replacement marks."""
    try:
        body = orjson.dumps(value)
    except TypeError:
        body = orjson.dumps(_valid_unicode(value))
    # orjson's result may hold on to all of the buffer it was written to, 4 kB at the least, and
    # bodies are kept by the ten thousand: a copy takes what it needs.
    return bytes(memoryview(body)) if len(body) <= COPY_BYTES_MAX else body


def prettify(body: bytes) -> bytes:
    """Indent JSON as `?pretty` wants it: by four spaces, with a final newline."""
    return json.dumps(orjson.loads(body), indent=4, ensure_ascii=False).encode() + b"\n"


def error_response(error: ApiError) -> web.Response:
    """A refusal as plain text; one that says nothing has no type either."""
    body = error.text.encode("utf-8", "replace")
    headers = TEXT_HEADERS if body else BASE_HEADERS
    return web.Response(status=error.status, body=body, headers={**headers, **error.headers})


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the value of Accept-Encoding allows gzip."""
    for offer in accept_encoding.split(","):
        coding, _, weight = offer.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def compress(body: bytes) -> bytes:
    """Gzip, fast rather than small; the same input gives the same output."""
    return gzip.compress(body, compresslevel=1, mtime=0)


def _valid_unicode(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case dict():
            return {_valid_unicode(key): _valid_unicode(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_valid_unicode(inner) for inner in value]
        case _:
            return value
