"""Answers that wait for others: recursors, or those who know another data center."""

import asyncio
import time
from collections.abc import Coroutine

from dnsserver.recursion import Recursors
from dnsserver.responder import Forward, LookUp, Pending, Resolve, Responder


class Finisher:
    """Brings answers to an end for which others have to be asked, each in a task of its own."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, responder: Responder, recursors: Recursors) -> None:
        """Finish answers by these, also those that are under way. Called once before `finish`."""
        self._responder, self._recursors = responder, recursors

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work` until it ends or `close` is called."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, pending: Pending) -> bytes:
        """Return the response."""
        outcome: bytes | Pending = pending
        while not isinstance(outcome, bytes):
            match outcome:
                case Forward():
                    reply = await self._recursors.forward(outcome)
                    if reply is None:
                        return self._responder.fail(outcome.query, outcome.room)
                    return reply
                case Resolve():
                    found = await self._recursors.resolve(outcome)
                    outcome = self._responder.resume(outcome, found, now_utc=time.time())
                case LookUp():
                    plan = await outcome.awaited.plan()
                    outcome = self._responder.finish_look_up(outcome, plan)
        return outcome

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
