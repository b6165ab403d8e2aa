"""Queries as an application sees them: ask, then take the answers as they come."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from gossip.serf.events import QueryAcked, QueryAnswered, QueryFinished, QueryId
from gossip.types import MemberName


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What one member answered."""

    member: MemberName
    payload: bytes


class QueryCall:
    """A query under way: an asynchronous iterator over its answers, which ends when its time does.

    Answers wait here until they are taken, one for each member at most.
    """

    def __init__(self, query: QueryId, *, end: Callable[[QueryId], None]) -> None:
        self.id = query
        self.acked: list[MemberName] = []
        """Who has confirmed the query, if that was asked for."""
        self._end = end
        self._answers: deque[QueryAnswer] = deque()
        self._is_over = False
        self._news = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[QueryAnswer]:
        return self

    async def __anext__(self) -> QueryAnswer:
        while not self._answers:
            if self._is_over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._answers.popleft()

    async def finished(self) -> list[QueryAnswer]:
        """Wait for the end, and give the answers that were not taken."""
        while not self._is_over:
            self._news.clear()
            await self._news.wait()
        answers, self._answers = [*self._answers], deque()
        return answers

    def close(self) -> None:
        """Wait for no more answers; those that have come can be taken still."""
        if not self._is_over:
            self._end(self.id)

    def take(self, event: QueryAcked | QueryAnswered | QueryFinished) -> None:
        """Note what the machine tells of this query."""
        match event:
            case QueryAcked():
                self.acked.append(event.member)
            case QueryAnswered():
                self._answers.append(QueryAnswer(event.member, event.payload))
            case QueryFinished():
                self._is_over = True
        self._news.set()


class QueryCalls:
    """The calls under way."""

    def __init__(self, *, end: Callable[[QueryId], None]) -> None:
        self._end = end
        self._calls: dict[QueryId, QueryCall] = {}

    def add(self, query: QueryId) -> QueryCall:
        """A call for a query that was just sent."""
        call = self._calls[query] = QueryCall(query, end=self._end)
        return call

    def take(self, event: QueryAcked | QueryAnswered | QueryFinished) -> None:
        """Pass on what the machine tells."""
        call = self._calls.get(event.query)
        if call is None:
            return
        if isinstance(event, QueryFinished):
            del self._calls[event.query]
        call.take(event)

    def close(self) -> None:
        """End all of them."""
        for query in [*self._calls]:
            self.take(QueryFinished(query))
