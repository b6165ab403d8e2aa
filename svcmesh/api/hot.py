"""Answers to hot requests, byte for byte: from what a client sent to what it gets, without parsing.

Clients of a service discovery repeat themselves: the same GET with the same headers, thousands of
times. A request that was answered from the kept answers (`reads.py`) is remembered here by all of
its bytes, and its finished response is written again as long as the topics that it was made from
stand where they stood. Whatever is not remembered takes the ordinary way through aiohttp.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, NewType

from svcmesh.catalog.topics import Topic
from svcmesh.catalog.view import CatalogView

RawRequest = NewType("RawRequest", bytes)
"""One whole request without a body, as it came."""

REQUEST_BYTES_MAX: Final = 2048
BODY_BYTES_MAX: Final = 64 * 1024
"""A larger answer is written by the ordinary way, which waits for a slow reader."""

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
ENTRY_OVERHEAD_BYTES: Final = 1024

_HEAD_END: Final = b"\r\n\r\n"
_NEEDS_MORE: Final = (b"\r\nconnection:", b"\r\ncontent-length:", b"\r\ntransfer-encoding:",
                      b"\r\nupgrade:", b"\r\nexpect:")  # fmt: skip
"""Headers with which a request is more than its head, or changes the connection."""


def whole_get_untrusted(data: bytes) -> RawRequest | None:
    """`data` if it is one whole GET request and nothing else; None when it is not, or in doubt."""
    if (
        len(data) > REQUEST_BYTES_MAX
        or not data.startswith(b"GET /v1/")
        or data.find(_HEAD_END) != len(data) - len(_HEAD_END)
        or data.find(b" HTTP/1.1\r\n") != data.find(b"\r\n") - len(b" HTTP/1.1")
    ):
        return None
    lowered = data.lower().replace(b"\r\nconnection: keep-alive\r\n", b"\r\n")
    if any(name in lowered for name in _NEEDS_MORE):
        return None
    return RawRequest(data)


@dataclass(slots=True)
class _HotAnswer:
    topics: tuple[Topic, ...]
    index: int
    """Of the topics, when the answer was built."""
    view_index: int
    """Of the whole view, when the index was last looked up; no change since: it holds."""
    head: bytes
    body: bytes
    date_s: int
    response: bytes
    """Whole, with the date of `date_s`."""


class HotAnswers:
    """Finished responses by raw request, bounded by `CACHE_BYTES_MAX`; the oldest go first.

    `now_utc` gives wall-clock seconds, for the header Date.
    """

    def __init__(self, view: CatalogView, *, now_utc: Callable[[], float]) -> None:
        self.hits = 0
        self._view, self._now_utc = view, now_utc
        self._answers: OrderedDict[bytes, _HotAnswer] = OrderedDict()
        self._size_bytes = 0
        self._date_s, self._date = -1, b""

    def get(self, request: bytes) -> bytes | None:
        """The response to exactly these bytes, if what it was made from has not changed."""
        answer = self._answers.get(request)
        if answer is None:
            return None
        view = self._view
        if answer.view_index != view.index:
            if view.topic_index(answer.topics) != answer.index:
                self._drop(request)
                return None
            answer.view_index = view.index
        self._turn_clock()
        if answer.date_s != self._date_s:
            answer.date_s, answer.response = self._date_s, self._dated(answer.head, answer.body)
        self.hits += 1
        return answer.response

    def put(
        self,
        request: RawRequest,
        *,
        topics: tuple[Topic, ...],
        index: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Remember the answer (status 200) that was built at `index` of `topics`.

        One that is too large is not kept.
        """
        if len(body) > BODY_BYTES_MAX:
            return
        self._drop(request)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"HTTP/1.1 200 OK\r\n{''.join(lines)}Content-Length: {len(body)}\r\n".encode()
        self._turn_clock()
        response = self._dated(head, body)
        self._answers[request] = _HotAnswer(
            topics, index, self._view.index, head, body, self._date_s, response
        )
        self._size_bytes += _size_bytes(request, response)
        while self._size_bytes > CACHE_BYTES_MAX:
            self._drop(next(iter(self._answers)))

    def _drop(self, request: bytes) -> None:
        answer = self._answers.pop(request, None)
        if answer is not None:
            self._size_bytes -= _size_bytes(request, answer.response)

    def _turn_clock(self) -> None:
        second = int(self._now_utc())
        if second != self._date_s:
            self._date_s, self._date = second, formatdate(second, usegmt=True).encode()

    def _dated(self, head: bytes, body: bytes) -> bytes:
        return b"%sDate: %s\r\n\r\n%s" % (head, self._date, body)


def _size_bytes(request: bytes, response: bytes) -> int:
    # The body is held twice: by itself and in the response.
    return len(request) + 2 * len(response) + ENTRY_OVERHEAD_BYTES
