"""Writes by request id: each happens once, and whoever asks again is told the same outcome.

A write whose connection is lost may have arrived or not. The caller then *settles* it: it gets the
outcome if the write has arrived; if not, the request is void here, and a copy of it that is still
on its way does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from svcmesh.rpc import Body, RpcError

REMEMBER_S: Final = 60.0
REQUESTS_MAX: Final = 16_384
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of all answers that are remembered."""
TRANSIT_S: Final = 5.0
"""A request is taken to be older by this than whoever sent it says: it has been on its way."""

VOID: Final = "void"
"""Code of the error for a request that was settled before it came: it was not done."""
FORGOTTEN: Final = "forgotten"
"""Code of the error for a request of which we cannot say whether it came."""


@dataclass(slots=True)
class _Request:
    began_at: float
    work: "asyncio.Task[Body] | None"
    """None: void."""
    answer_bytes: int = 0


class RequestMemory:
    """What became of the writes of the last `REMEMBER_S`; the oldest go first beyond the bounds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests: dict[bytes, _Request] = {}
        """The oldest first."""
        self._answer_bytes = 0
        self._complete_since = self._loop.time()
        """What came later than this is remembered."""

    async def run(self, request_id: bytes, work: Callable[[], Awaitable[Body]]) -> Body:
        """Do what a request asks for, or wait for what was begun; the answer.

        The work goes on if whoever waits is cancelled.

        Raises:
            RpcError: The work's own; `VOID`; or there is too much at once.
        """
        self._forget()
        request = self._requests.get(request_id)
        if request is None:
            if len(self._requests) >= REQUESTS_MAX:
                raise RpcError("overloaded", "too many writes at once")
            task = self._loop.create_task(_run(work))
            request = self._requests[request_id] = _Request(self._loop.time(), task)
            task.add_done_callback(lambda _: self._note_answer(request))
        if request.work is None:
            raise RpcError(VOID, "the write was given up before it arrived: nothing was done")
        return await asyncio.shield(request.work)

    async def settle(self, request_id: bytes, *, age_s: float) -> Body:
        """Give the answer of a request that was sent `age_s` ago; if it never came, make it void.

        Raises:
            RpcError: The work's own; `VOID`: it is; `FORGOTTEN`: it may have come before.
        """
        self._forget()
        now = self._loop.time()
        if request_id not in self._requests:
            if now - age_s - TRANSIT_S < self._complete_since:
                raise RpcError(FORGOTTEN, "this server does not remember as far back")
            self._requests[request_id] = _Request(now, None)
        request = self._requests[request_id]
        if request.work is None:
            raise RpcError(VOID, "the write has not arrived and will not be done")
        return await asyncio.shield(request.work)

    async def close(self) -> None:
        """Give up what is under way."""
        works = [request.work for request in self._requests.values() if request.work is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _forget(self) -> None:
        oldest_at = self._loop.time() - REMEMBER_S
        for request_id, request in list(self._oldest()):
            is_over = request.began_at <= oldest_at
            is_needed = len(self._requests) >= REQUESTS_MAX or self._answer_bytes > ANSWER_BYTES_MAX
            if not is_over and not is_needed:
                return
            if request.work is not None and not request.work.done():
                continue
            del self._requests[request_id]
            self._answer_bytes -= request.answer_bytes
            self._complete_since = max(self._complete_since, request.began_at)

    def _oldest(self) -> list[tuple[bytes, _Request]]:
        """The first few: each call may add one, so looking at some more than that suffices."""
        found = []
        for item in self._requests.items():
            found.append(item)
            if len(found) == 8:
                break
        return found

    def _note_answer(self, request: _Request) -> None:
        work = request.work
        if work is not None and not work.cancelled() and work.exception() is None:
            request.answer_bytes = _size(work.result())
            self._answer_bytes += request.answer_bytes


async def _run(work: Callable[[], Awaitable[Body]]) -> Body:
    return await work()


def _size(value: Body) -> int:
    match value:
        case bytes() | str():
            return len(value)
        case list() | tuple():
            return sum(_size(inner) for inner in value)
        case dict():
            return sum(_size(key) + _size(inner) for key, inner in value.items())
        case _:
            return 8
