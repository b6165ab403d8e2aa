"""Where one plain request begins and ends, without parsing what is in it; and answers as bytes.

What is judged here in doubt goes to aiohttp, which parses and refuses. Nothing is answered by what
this says alone: header fields count as well formed only once aiohttp has taken them.
"""

import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple

HEAD_BYTES_MAX: Final = 2048
REQUEST_BODY_BYTES_MAX: Final = 64 * 1024
"""A request with a larger one is read by the ordinary way."""

_HEAD_END: Final = b"\r\n\r\n"
_REQUEST_LINE: Final = re.compile(rb"(GET|PUT) (/v1/[!-~]*) HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,6})(?=\r\n)", re.IGNORECASE)
_NO_ASCII: Final = re.compile(rb"[^\x00-\x7f]")
_NEEDS_MORE: Final = (b"\r\nconnection:", b"\r\ncontent-length:", b"\r\ntransfer-encoding:",
                      b"\r\nupgrade:", b"\r\nexpect:")  # fmt: skip
"""Headers with which a request is more than head and body, or changes the connection."""


class Frame(NamedTuple):
    """One request, or its beginning."""

    data: bytes
    """All of it, as it came."""
    method: bytes
    target: bytes
    fields: bytes
    """The header fields, without Content-Length."""
    body_at: int
    missing_bytes: int
    """How much of the body has yet to come."""

    @property
    def body(self) -> bytes:
        """What follows the head."""
        return self.data[self.body_at :]


def frame_untrusted(data: bytes) -> Frame | None:
    """`data` as one request whose head is whole; None if it is not, in doubt, or more than one."""
    line = _REQUEST_LINE.match(data)
    if line is None:
        return None
    head_end = data.find(_HEAD_END, line.end() - 2)
    if not 0 <= head_end <= HEAD_BYTES_MAX:
        return None
    fields = data[line.end() - 2 : head_end + 2]
    length = _LENGTH.search(fields)
    body_bytes = 0
    if length is not None:
        body_bytes = int(length[1])
        fields = fields[: length.start()] + fields[length.end() :]
    if b"\n" in fields.replace(b"\r\n", b""):
        # Parsers differ on lines that end so.
        return None
    lowered = fields.lower().replace(b"\r\nconnection: keep-alive\r\n", b"\r\n")
    for name in _NEEDS_MORE:
        if name in lowered:
            return None
    method, target = line.groups()
    body_at = head_end + len(_HEAD_END)
    missing_bytes = body_at + body_bytes - len(data)
    if (
        missing_bytes < 0
        or body_bytes > REQUEST_BODY_BYTES_MAX
        or (body_bytes and method == b"GET")
    ):
        return None
    return Frame(data, method, target, fields, body_at, missing_bytes)


def escape_line(data: bytes) -> bytes:
    """`data`, which begins a request, with what is no ASCII in its first line escaped.

    Some clients send the text of a URL as it is; Go's server takes that, and aiohttp's does not.
    """
    end = data.find(b"\r\n")
    line = data if end < 0 else data[:end]
    if line.isascii():
        return data
    return _NO_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + data[len(line) :]


class Responses:
    """Puts responses together. `now_utc` gives wall-clock seconds, for the header Date."""

    def __init__(self, now_utc: Callable[[], float]) -> None:
        self._now_utc = now_utc
        self.date_s = -1
        """The second that `date` stands for."""
        self._date = b""

    def turn_clock(self) -> int:
        """The second that it is; responses have its date from now on."""
        second = int(self._now_utc())
        if second != self.date_s:
            self.date_s, self._date = second, formatdate(second, usegmt=True).encode()
        return second

    def dated(self, head: bytes, body: bytes) -> bytes:
        """A whole response from a head without its end (`head_of`), with the date."""
        return b"%sDate: %s\r\n\r\n%s" % (head, self._date, body)


def head_of(status: int, headers: Mapping[str, str], body_bytes: int) -> bytes:
    """The head of a response but for its date and its end."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    phrase = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}Content-Length: {body_bytes}\r\n".encode()
