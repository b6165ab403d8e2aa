"""Reads of the catalog: blocking queries, and answers that are kept while they hold.

An endpoint says which topics its answer depends on and how to build it. An answer is kept, in a
bounded cache, and sent again as long as the index of its topics is the same; queries that differ
only in what they waited for get the same one. A long answer is built once for all who want it.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

from aiohttp import web

from svcmesh.api.answers import JSON_HEADERS, ApiError
from svcmesh.api.lists import Fragments, Rows
from svcmesh.api.query import ReadOptions, read_options
from svcmesh.api.responses import dress, takes_gzip
from svcmesh.api.routing import Call, Request
from svcmesh.catalog.topics import Topic
from svcmesh.catalog.view import CatalogView

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
CACHE_BODY_BYTES_MAX: Final = 512 * 1024
CACHE_ENTRY_OVERHEAD_BYTES: Final = 2048

WAKE_BATCH: Final = 50
"""Queries that are woken in one turn of the event loop: a few milliseconds' work."""

ALONE_ROWS_MAX: Final = 50
"""A longer list is built once for all who ask for it meanwhile."""

NOT_READY: Final = "The catalog is not in sync yet"

_Key = tuple[str, bool]
"""What a client asked for, but for what it waits; and whether it takes gzip."""


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

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._waiting: set[asyncio.Future[bool]] = set()
        self._woken: deque[asyncio.Future[bool]] = deque()
        """What waits to be woken, in this turn of the event loop or a later one."""
        self._is_closed = False
        self._kept = AnswerCache()
        self._fragments = Fragments()
        self._being_built: dict[_Key, tuple[int, asyncio.Task[KeptAnswer]]] = {}
        """Long answers, and the index of their topics when that began: the newest of each."""

    def close(self) -> None:
        """Answer all waiting queries now."""
        self._is_closed = True
        for waiting in self._waiting:
            _end(waiting, has_changed=True)

    def kept(self, view: CatalogView, request: Request) -> "KeptAnswer | None":
        """The answer to the same request, if it still holds and the request does not block."""
        return self._kept.get(view, (request.raw_path, takes_gzip(request)))

    async def answer(self, call: Call, endpoint: Endpoint) -> web.Response:
        """Wait if the query asks for it, then build the answer.

        Raises:
            ApiError: The query or the endpoint refuses.
        """
        options = read_options(call)
        read = endpoint(call)
        view = call.facade.view
        if options.index:
            await self._wait(view, read.topics, options)
        # Taken before building: a change in between makes the answer newer than it says.
        index = view.topic_index(read.topics)
        if not read.is_kept or not call.facade.is_ready:
            answer = await self._dress(call, options, read, index, read.build())
            return answer.response()
        key = _key(call.request)
        kept = self._kept.get(view, key)
        if kept is None:
            kept = await self._build_once(key, call, options, read, index)
        return kept.response()

    async def _build_once(
        self, key: _Key, call: Call, options: ReadOptions, read: Read, index: int
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

    def _end_building(self, key: _Key, building: "asyncio.Task[KeptAnswer]") -> None:
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

    async def _wait(
        self, view: CatalogView, topics: tuple[Topic, ...], options: ReadOptions
    ) -> None:
        loop = asyncio.get_running_loop()
        spread_s = options.wait_s / 16
        deadline_at = loop.time() + options.wait_s + self._rng.uniform(0, spread_s)
        # An index above ours is of another run or another agent: it says nothing.
        while view.topic_index(topics) <= options.index <= view.index and not self._is_closed:
            if not await self.next_change(view, topics, deadline_at):
                return

    async def next_change(
        self, view: CatalogView, topics: tuple[Topic, ...], deadline_at: float
    ) -> bool:
        """Wait for a change of `topics`, or for closing; False when the time is over."""

        def watch(on_change: Callable[[], None]) -> Callable[[], object]:
            return partial(view.cancel_watch, view.watch(topics, on_change))

        return await self.next_call(watch, deadline_at)

    async def next_call(
        self, watch: Callable[[Callable[[], None]], Callable[[], object]], deadline_at: float
    ) -> bool:
        """Wait until what is given to `watch` is called, or for closing; False otherwise.

        What `watch` returns is called at the end, to cancel it.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        cancel = watch(partial(self._wake, waiting))
        timer = loop.call_at(deadline_at, partial(_end, waiting, has_changed=False))
        self._waiting.add(waiting)
        try:
            has_changed = await waiting
        finally:
            timer.cancel()
            self._waiting.discard(waiting)
            cancel()
        return has_changed and not self._is_closed

    def _wake(self, waiting: "asyncio.Future[bool]") -> None:
        """Let a query go on; many at once in batches, with turns for the event loop between.

        What they do when they are woken is all done in one turn: thousands of them would keep
        gossip waiting for a good part of a second.
        """
        if not self._woken:
            asyncio.get_running_loop().call_soon(self._wake_some)
        self._woken.append(waiting)

    def _wake_some(self) -> None:
        for _ in range(min(WAKE_BATCH, len(self._woken))):
            _end(self._woken.popleft(), has_changed=True)
        if self._woken:
            asyncio.get_running_loop().call_soon(self._wake_some)


def known(call: Call, rows: Sequence[Any]) -> Sequence[Any]:
    """`rows`, unless they are empty for want of synchronisation.

    Raises:
        ApiError: Nothing was found and the catalog is not in sync yet: 500.
    """
    if not rows and not call.facade.is_ready:
        raise ApiError(500, NOT_READY)
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
        self._answers: OrderedDict[_Key, KeptAnswer] = OrderedDict()
        self._size_bytes = 0

    def get(self, view: CatalogView, key: _Key) -> KeptAnswer | None:
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

    def put(self, key: _Key, answer: KeptAnswer) -> None:
        """Keep an answer, unless it is too large."""
        if len(answer.body) > CACHE_BODY_BYTES_MAX:
            return
        self._drop(key)
        self._answers[key] = answer
        self._size_bytes += answer.size_bytes
        while self._size_bytes > CACHE_BYTES_MAX:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: _Key) -> None:
        kept = self._answers.pop(key, None)
        if kept is not None:
            self._size_bytes -= kept.size_bytes


def _key(request: Request) -> _Key:
    path, mark, query = request.raw_path.partition("?")
    asked = [part for part in query.split("&") if not part.startswith(("index=", "wait="))]
    return path + mark + "&".join(asked) if asked else path, takes_gzip(request)


def _end(waiting: "asyncio.Future[bool]", *, has_changed: bool) -> None:
    if not waiting.done():
        waiting.set_result(has_changed)
