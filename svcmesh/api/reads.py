"""Reads of the catalog: blocking queries, and answers that are kept while they hold.

An endpoint says which topics its answer depends on and how to build it. An answer is kept, in a
bounded cache, and sent again as long as the index of its topics is the same; queries that differ
only in what they waited for get the same one. A long answer is built once for all who want it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

from aiohttp import web

from svcmesh.api.answers import JSON_HEADERS, ApiError
from svcmesh.api.lists import Fragments, Rows
from svcmesh.api.parking import Line, Outcome, Parking, Question, Ready
from svcmesh.api.query import ReadOptions, read_options
from svcmesh.api.responses import AnsweredAlready, dress, takes_gzip
from svcmesh.api.routing import Call, Request
from svcmesh.catalog.topics import Topic
from svcmesh.catalog.view import CatalogView

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
CACHE_BODY_BYTES_MAX: Final = 512 * 1024
CACHE_ENTRY_OVERHEAD_BYTES: Final = 2048

DIRECT_BYTES_MAX: Final = 64 * 1024
"""A longer answer is written by each waiting query itself, which waits for a slow reader."""

ALONE_ROWS_MAX: Final = 50
"""A longer list is built once for all who ask for it meanwhile."""


@dataclass(frozen=True, slots=True)
class Read:
    """What an endpoint answers, made when it is due."""

    topics: tuple[Topic, ...]
    build: Callable[[], object]
    """The answer as a JSON value or `lists.Rows`. It may raise `ApiError`."""
    is_kept: bool = True
    """False: the answer also depends on what no topic tells of, and is built every time."""


Endpoint = Callable[[Call], Read]


class ReadService:
    """Answers reads; owns the waiting queries and the kept answers of one HTTP server."""

    def __init__(
        self,
        rng: Random,
        *,
        line_of: Callable[[Request], Line | None],
        render: Callable[["KeptAnswer"], bytes],
    ) -> None:
        """Start with nothing kept.

        Args:
            rng: Spreads the ends of waiting times.
            line_of: The connection of a request, if its answer may be written there directly.
            render: A whole response.
        """
        self._rng, self._line_of, self._render = rng, line_of, render
        self._parking = Parking(self._ready)
        self._kept = AnswerCache()
        self._fragments = Fragments()
        self._being_built: dict[Question, tuple[int, asyncio.Task[KeptAnswer]]] = {}
        """Long answers, and the index of their topics when that began: the newest of each."""

    def close(self) -> None:
        """Answer all waiting queries now."""
        self._parking.close()

    def kept(self, view: CatalogView, request: Request) -> "KeptAnswer | None":
        """The answer to the same request, if it still holds and the request does not block."""
        return self._kept.get(view, (request.raw_path, takes_gzip(request)))

    async def answer(self, call: Call, endpoint: Endpoint) -> web.StreamResponse:
        """Wait if the query asks for it, then build the answer.

        Raises:
            ApiError: The query or the endpoint refuses.
        """
        options = read_options(call)
        read = endpoint(call)
        view = call.facade.view
        if options.index and await self._wait(call, read.topics, options):
            return AnsweredAlready()
        # Taken before building: a change in between makes the answer newer than it says.
        index = view.topic_index(read.topics)
        if not read.is_kept or not call.facade.is_ready:
            answer = await self._dress(call, options, read, index, read.build())
            return answer.response()
        key = _question(call.request)
        kept = self._kept.get(view, key)
        if kept is None:
            kept = await self._build_once(key, call, options, read, index)
        return kept.response()

    async def _build_once(
        self, key: Question, call: Call, options: ReadOptions, read: Read, index: int
    ) -> "KeptAnswer":
        value = read.build()
        if not isinstance(value, Rows) or len(value.rows) <= ALONE_ROWS_MAX:
            answer = await self._dress(call, options, read, index, value)
            self._kept.put(key, answer)
            return answer
        built_at, building = self._being_built.get(key, (0, None))
        if building is None or built_at != index:
            building = asyncio.create_task(self._dress(call, options, read, index, value))
            self._being_built[key] = (index, building)
            building.add_done_callback(partial(self._end_building, key))
        # The others still want it when this client hangs up.
        return await asyncio.shield(building)

    def _end_building(self, key: Question, building: "asyncio.Task[KeptAnswer]") -> None:
        is_done = not building.cancelled() and building.exception() is None
        _, newest = self._being_built.get(key, (0, None))
        if newest is not building:
            return
        del self._being_built[key]
        if is_done:
            self._kept.put(key, building.result())

    async def _dress(
        self, call: Call, options: ReadOptions, read: Read, index: int, value: object
    ) -> "KeptAnswer":
        headers = {
            **JSON_HEADERS,
            "X-Consul-Effective-Consistency": options.consistency,
            "X-Consul-Index": str(index),
            # Differs from Consul: the catalog has no leader to lose. What a client wants to know
            # by this header is whether the answer can be trusted.
            "X-Consul-KnownLeader": "true" if call.facade.is_ready else "false",
            "X-Consul-LastContact": "0",
        }
        if options.is_cached:
            headers |= {"X-Cache": "HIT", "Age": "0"}
        body, headers = await dress(call, value, headers, self._fragments)
        return KeptAnswer(read.topics, index, body, headers, call.route.metric)

    async def _wait(self, call: Call, topics: tuple[Topic, ...], options: ReadOptions) -> bool:
        """Wait for a change, or for the time to be over; whether the client has been answered."""
        view, question = call.facade.view, _question(call.request)
        line = self._line_of(call.request)
        deadline_at = self._deadline_at(options)
        # An index above ours is of another run or another agent: it says nothing.
        while (
            view.topic_index(topics) <= options.index <= view.index and not self._parking.is_closed
        ):
            outcome = await self._parking.wait(
                view, topics, question, index=options.index, line=line, deadline_at=deadline_at
            )
            if outcome is not Outcome.CHANGED:
                return outcome is Outcome.ANSWERED
        return False

    def _deadline_at(self, options: ReadOptions) -> float:
        spread_s = self._rng.uniform(0, options.wait_s / 16)
        return asyncio.get_running_loop().time() + options.wait_s + spread_s

    def _ready(self, view: CatalogView, question: Question) -> Ready | None:
        kept = self._kept.get(view, question)
        if kept is None or len(kept.body) > DIRECT_BYTES_MAX:
            return None
        return Ready(kept.index, self._render(kept))

    async def next_change(
        self, view: CatalogView, topics: tuple[Topic, ...], deadline_at: float
    ) -> bool:
        """Wait for a change of `topics`, or for closing; False when the time is over."""

        def watch(on_change: Callable[[], None]) -> Callable[[], object]:
            return partial(view.cancel_watch, view.watch(topics, on_change))

        return await self._parking.next_call(watch, deadline_at)

    async def next_call(
        self, watch: Callable[[Callable[[], None]], Callable[[], object]], deadline_at: float
    ) -> bool:
        """Wait until what is given to `watch` is called, or for closing; False otherwise.

        What `watch` returns is called at the end, to cancel it.
        """
        return await self._parking.next_call(watch, deadline_at)


class NotReadyError(ApiError):
    """Nothing was found, and the catalog is not in sync yet: others may know."""

    def __init__(self) -> None:
        super().__init__(500, "The catalog is not in sync yet")


def known(call: Call, rows: Sequence[Any]) -> Sequence[Any]:
    """`rows`, unless they are empty for want of synchronisation.

    Raises:
        NotReadyError: There are none, and the catalog is not in sync yet.
    """
    if not rows and not call.facade.is_ready:
        raise NotReadyError
    return rows


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer and what it was made from."""

    topics: tuple[Topic, ...]
    index: int
    body: bytes
    headers: dict[str, str]
    metric: str
    """What the request is measured as."""

    @property
    def size_bytes(self) -> int:
        """What keeping it costs, about."""
        return len(self.body) + CACHE_ENTRY_OVERHEAD_BYTES

    def response(self) -> web.Response:
        """It, to send."""
        return web.Response(body=self.body, headers=self.headers)


class AnswerCache:
    """Answers by request, at most `CACHE_BYTES_MAX` of them; the least recently used go first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Question, KeptAnswer] = OrderedDict()
        self._size_bytes = 0

    def get(self, view: CatalogView, key: Question) -> KeptAnswer | None:
        """The answer, if what it was made from has not changed."""
        kept = self._answers.get(key)
        if kept is None:
            return None
        if view.topic_index(kept.topics) != kept.index:
            del self._answers[key]
            self._size_bytes -= kept.size_bytes
            return None
        self._answers.move_to_end(key)
        return kept

    def put(self, key: Question, answer: KeptAnswer) -> None:
        """Keep an answer, unless it is too large."""
        if len(answer.body) > CACHE_BODY_BYTES_MAX:
            return
        self._drop(key)
        self._answers[key] = answer
        self._size_bytes += answer.size_bytes
        while self._size_bytes > CACHE_BYTES_MAX:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Question) -> None:
        kept = self._answers.pop(key, None)
        if kept is not None:
            self._size_bytes -= kept.size_bytes


def _question(request: Request) -> Question:
    path, mark, query = request.raw_path.partition("?")
    asked = [part for part in query.split("&") if not part.startswith(("index=", "wait="))]
    return path + mark + "&".join(asked) if asked else path, takes_gzip(request)
