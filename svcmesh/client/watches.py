"""A watch: the instances of a service now, and again whenever they change."""

import asyncio
import logging
from random import Random
from urllib.parse import quote

from svcmesh.client.errors import (
    AgentUnreachableError,
    BadAnswerError,
    ClientClosedError,
    ClientError,
    RequestRefusedError,
)
from svcmesh.client.instances import Instance, ServiceQuery
from svcmesh.client.transport import Answer, Transport
from svcmesh.client.watching import WatchConfig, WatchState

logger = logging.getLogger("svcmesh.client")


class ServiceWatch:
    """An asynchronous iterator over the instances of a service, whole each time.

    Asks only while somebody waits for the next change, so a slow reader misses states in between
    and never lags behind; there is no task to end. While the agent is down it waits for it.
    Iteration ends when the watch or its client is closed. Not for several tasks at once.
    """

    def __init__(
        self,
        transport: Transport,
        query: ServiceQuery,
        config: WatchConfig,
        *,
        call_timeout_s: float,
        rng: Random,
    ) -> None:
        self.query = query
        self.failure: ClientError | None = None
        """Why there was no answer last time; None while all is well."""
        self._transport, self._config = transport, config
        # An agent holds a question back for up to a sixteenth longer than it was asked to.
        self._timeout_s = config.wait_s * 17 / 16 + call_timeout_s
        self._call_timeout_s = call_timeout_s
        self._rng = rng
        self._state: WatchState | None = None
        self._last: tuple[Instance, ...] | None = None
        self._is_closed = False

    def __aiter__(self) -> "ServiceWatch":
        return self

    async def __anext__(self) -> tuple[Instance, ...]:
        """Wait for instances other than the last ones; the first time, for any answer.

        Raises:
            RequestRefusedError: The question is wrong, and would be for ever.
            StopAsyncIteration: The watch or its client is closed.
        """
        while not self._is_closed:
            try:
                instances = await self.ask()
            except ClientClosedError:
                break
            if instances is not None and instances != self._last:
                self._last = instances
                return instances
        raise StopAsyncIteration

    def close(self) -> None:
        """End the iteration, at the next turn. Cancel the task that waits to end it at once."""
        self._is_closed = True

    async def ask(self) -> tuple[Instance, ...] | None:
        """Ask once, when it is time; the answer, or None when there was none.

        Raises:
            RequestRefusedError: The question is wrong. It may be asked again, in case the agent
                thinks otherwise some day.
            ClientClosedError: The client is closed.
        """
        clock = asyncio.get_running_loop().time
        if self._state is None:
            self._state = WatchState(self._config, now=clock(), rng=self._rng)
        state = self._state
        if (pause_s := state.ask_at - clock()) > 0:
            await self._transport.pause(pause_s)
        state.handle_asked(now=clock())
        try:
            answer = await self._question(state.index)
            instances = self.query.read(answer.value)
        except (AgentUnreachableError, BadAnswerError, RequestRefusedError) as error:
            if self.failure is None:
                logger.warning("watching %s: %s", self.query.service, error)
            self.failure = error
            state.handle_failure(now=clock())
            if isinstance(error, RequestRefusedError) and error.is_final:
                raise
            return None
        if self.failure is not None:
            logger.info("watching %s: the agent answers again", self.query.service)
            self.failure = None
        state.handle_answer(answer.index, now=clock())
        return instances

    async def _question(self, index: int) -> Answer:
        query = self.query.parameters()
        if index:
            query += [("index", str(index)), ("wait", f"{self._config.wait_s:g}s")]
        return await self._transport.get(
            f"/v1/health/service/{quote(self.query.service, safe='')}",
            query,
            # Without an index the agent has no reason to take its time.
            timeout_s=self._timeout_s if index else self._call_timeout_s,
        )
