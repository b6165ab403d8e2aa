"""Queries that wait for a change: thousands of them, most for the same answer.

Guests with one question wait together, on one watch. When it fires, the first of them is sent on to
build the answer; the bytes of that answer are then written to all others, directly to their
connections. Only when everybody has been told do their tasks run, to see to what aiohttp wants to
be seen to: that takes several times as long as the writing. All of it is done in slices, with turns
for the event loop between: gossip does not wait for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from time import perf_counter
from typing import Final, Protocol

from svcmesh.catalog.topics import Topic
from svcmesh.catalog.view import CatalogView

WAKE_BATCH: Final = 50
"""Tasks that go on in one turn of the event loop: a few milliseconds' work."""

SLICE_S: Final = 0.004
"""How long answers are written before the event loop gets its turn."""

Question = tuple[str, bool]
"""What a client asked for, but for what it waits; and whether it takes gzip."""


class Outcome(Enum):
    """Why a guest waits no more."""

    CHANGED = auto()
    """What it asked for has changed, or the server closes."""
    OVER = auto()
    """Its time is over."""
    ANSWERED = auto()
    """It has been answered already."""


class Line(Protocol):
    """A client's connection, while its request waits."""

    def answer(self, response: bytes) -> bool:
        """Write the whole response now; False when this is not possible."""


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer that may be written."""

    index: int
    """Of what it was made from."""
    response: bytes
    """All of it, as a client gets it."""


ReadyFor = Callable[[CatalogView, Question], Ready | None]
"""The answer to a question as it is now, if there is one."""


@dataclass(slots=True, eq=False)
class _Guest:
    index: int
    """An answer above is news."""
    line: Line | None
    waiting: "asyncio.Future[Outcome]"
    is_answered: bool = False


@dataclass(slots=True, eq=False)
class _Table:
    """Guests who wait for the same."""

    view: CatalogView
    question: Question
    topics: tuple[Topic, ...]
    guests: dict[_Guest, None] = field(default_factory=dict)
    cancel: Callable[[], object] = lambda: None
    in_turn: deque[_Guest] = field(default_factory=deque)
    """After a change: who has not been seen to."""
    has_sent_one: bool = False
    """Whether a guest is on its way to build the answer."""


class Parking:
    """Where queries wait. `ready_for` has the answers that have been built."""

    def __init__(self, ready_for: ReadyFor) -> None:
        self._ready_for = ready_for
        self._tables: dict[tuple[Question, tuple[Topic, ...]], _Table] = {}
        self._fired: deque[_Table] = deque()
        self._due: deque[asyncio.Future[Outcome]] = deque()
        """Who is to go on, in this turn of the event loop or a later one."""
        self._answered: deque[_Guest] = deque()
        """Whose tasks are to go on when all have been answered."""
        self._waiting: set[asyncio.Future[Outcome]] = set()
        self._is_working = False
        self._is_closed = False

    def close(self) -> None:
        """Let everybody go, now and from now on."""
        self._is_closed = True
        for waiting in self._waiting:
            _end(waiting, Outcome.CHANGED)

    @property
    def is_closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._is_closed

    async def wait(
        self,
        view: CatalogView,
        topics: tuple[Topic, ...],
        question: Question,
        *,
        index: int,
        line: Line | None,
        deadline_at: float,
    ) -> Outcome:
        """Wait for a change of `topics`; a guest with a `line` may be answered while it waits.

        It is answered with what is ready for its question, if the index of that is above `index`.
        """
        guest = _Guest(index, line, asyncio.get_running_loop().create_future())
        key = (question, topics)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = _Table(view, question, topics)
            watch = view.watch(topics, partial(self._fire, table))
            table.cancel = partial(view.cancel_watch, watch)
        table.guests[guest] = None
        try:
            outcome = await self._outcome(guest.waiting, deadline_at)
            # Its time may have ended after it was answered, and before its task went on.
            return Outcome.ANSWERED if guest.is_answered else outcome
        finally:
            del table.guests[guest]
            if not table.guests and self._tables.get(key) is table:
                del self._tables[key]
                table.cancel()

    async def next_call(
        self, watch: Callable[[Callable[[], None]], Callable[[], object]], deadline_at: float
    ) -> bool:
        """Wait until what is given to `watch` is called, or for closing; False otherwise.

        What `watch` returns is called at the end, to cancel it.
        """
        waiting: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        cancel = watch(partial(self._wake, waiting))
        try:
            outcome = await self._outcome(waiting, deadline_at)
        finally:
            cancel()
        return outcome is Outcome.CHANGED and not self._is_closed

    async def _outcome(self, waiting: "asyncio.Future[Outcome]", deadline_at: float) -> Outcome:
        timer = asyncio.get_running_loop().call_at(deadline_at, _end, waiting, Outcome.OVER)
        self._waiting.add(waiting)
        try:
            return await waiting
        finally:
            timer.cancel()
            self._waiting.discard(waiting)

    # -- after a change ---------------------------------------------------------------------

    def _fire(self, table: _Table) -> None:
        # Who comes from now on waits for the next change.
        del self._tables[table.question, table.topics]
        table.in_turn.extend(table.guests)
        self._fired.append(table)
        self._work_soon()

    def _wake(self, waiting: "asyncio.Future[Outcome]") -> None:
        self._due.append(waiting)
        self._work_soon()

    def _work_soon(self) -> None:
        if not self._is_working:
            self._is_working = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._is_working = False
        ends_at = perf_counter() + SLICE_S
        for _ in range(len(self._fired)):
            table = self._fired.popleft()
            if self._serve(table, ends_at):
                self._fired.append(table)
            if perf_counter() >= ends_at:
                break
        else:
            self._let_go()
        if self._fired or self._due or self._answered:
            self._work_soon()

    def _serve(self, table: _Table, ends_at: float) -> bool:
        """Answer guests of a table, or send them on; whether some are left."""
        in_turn = table.in_turn
        ready = None if self._is_closed else self._ready_for(table.view, table.question)
        if ready is None:
            if table.has_sent_one:
                # It takes longer, or there will be none. They share what is being built.
                self._due.extend(guest.waiting for guest in in_turn)
                return False
            while in_turn and not table.has_sent_one:
                table.has_sent_one = _end(in_turn.popleft().waiting, Outcome.CHANGED)
            return bool(in_turn)
        table.has_sent_one = False
        index, response = ready.index, ready.response
        while in_turn:
            guest = in_turn.popleft()
            if guest.waiting.done():
                continue
            if guest.line is not None and guest.index < index and guest.line.answer(response):
                guest.is_answered = True
                self._answered.append(guest)
                if perf_counter() >= ends_at:
                    break
            else:
                self._due.append(guest.waiting)
        return bool(in_turn)

    def _let_go(self) -> None:
        """Let some tasks go on."""
        for _ in range(WAKE_BATCH):
            if self._due:
                _end(self._due.popleft(), Outcome.CHANGED)
            elif self._answered and not self._fired:
                _end(self._answered.popleft().waiting, Outcome.ANSWERED)
            else:
                break


def _end(waiting: "asyncio.Future[Outcome]", outcome: Outcome) -> bool:
    """Let a task go on; False if it does already."""
    if waiting.done():
        return False
    waiting.set_result(outcome)
    return True
