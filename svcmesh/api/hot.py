"""Answers to hot requests, byte for byte: from what a client sent to what it gets, without parsing.

Clients of a service discovery repeat themselves: the same GET with the same headers, thousands of
times. A request that was answered from the kept answers (`reads.py`) is remembered here by all of
its bytes, and its finished response is written again as long as the topics that it was made from
stand where they stood. Whatever is not remembered takes the ordinary way through aiohttp.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from svcmesh.api.framing import Frame, Responses, head_of
from svcmesh.catalog.topics import Topic
from svcmesh.catalog.view import CatalogView

BODY_BYTES_MAX: Final = 64 * 1024
"""A larger answer is written by the ordinary way, which waits for a slow reader."""

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
ENTRY_OVERHEAD_BYTES: Final = 1024


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
    """Finished responses by raw request, bounded by `CACHE_BYTES_MAX`; the oldest go first."""

    def __init__(self, view: CatalogView, responses: Responses) -> None:
        self.hits = 0
        self._view, self._responses = view, responses
        self._answers: OrderedDict[bytes, _HotAnswer] = OrderedDict()
        self._size_bytes = 0

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
        date_s = self._responses.turn_clock()
        if answer.date_s != date_s:
            answer.date_s = date_s
            answer.response = self._responses.dated(answer.head, answer.body)
        self.hits += 1
        return answer.response

    def put(
        self,
        frame: Frame,
        *,
        topics: tuple[Topic, ...],
        index: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        """Remember the answer (status 200) to a GET that was built at `index` of `topics`.

        One that is too large is not kept.
        """
        if len(body) > BODY_BYTES_MAX or frame.method != b"GET":
            return
        request = frame.data
        self._drop(request)
        head = head_of(200, headers, len(body))
        date_s = self._responses.turn_clock()
        response = self._responses.dated(head, body)
        self._answers[request] = _HotAnswer(
            topics, index, self._view.index, head, body, date_s, response
        )
        self._size_bytes += _size_bytes(request, response)
        while self._size_bytes > CACHE_BYTES_MAX:
            self._drop(next(iter(self._answers)))

    def _drop(self, request: bytes) -> None:
        answer = self._answers.pop(request, None)
        if answer is not None:
            self._size_bytes -= _size_bytes(request, answer.response)


def _size_bytes(request: bytes, response: bytes) -> int:
    # The body is held twice: by itself and in the response.
    return len(request) + 2 * len(response) + ENTRY_OVERHEAD_BYTES
