"""Connections to other agents, by address: dialled when needed, kept, dialled again when lost."""

import asyncio
from collections import Counter
from typing import Final

from svcmesh.rpc.connection import NO_METHODS, Body, Bounds, Connection, Methods
from svcmesh.rpc.errors import RpcRefusedError

DIAL_TIMEOUT_S: Final = 1.0
REDIAL_S: Final = 0.25
"""Between two attempts to dial an address for notes; calls dial at once."""
NOTES_MAX: Final = 64
"""Kept for one address while it is dialled; more are dropped."""

Address = tuple[str, int]


class RpcPool:
    """One connection for each address."""

    def __init__(self, methods: Methods = NO_METHODS, *, bounds: Bounds | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self._methods, self._bounds = methods, bounds
        self._open: dict[Address, Connection] = {}
        self._dialling: dict[Address, asyncio.Task[Connection]] = {}
        self._dialled_at: dict[Address, float] = {}
        self._notes: dict[Address, list[tuple[str, Body]]] = {}
        """For addresses that are being dialled."""
        self._is_closed = False

    async def call(self, to: Address, method: str, body: Body, *, timeout_s: float) -> Body:
        """Call a method of the agent at an address.

        Raises:
            RpcError: It answered with one.
            RpcRefusedError: Not sent: nobody answers there, or too much waits.
            RpcClosedError, RpcTimeoutError: What became of it is unknown.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        connection = self._open.get(to)
        if connection is None or not connection.is_open:
            try:
                async with asyncio.timeout(min(timeout_s, DIAL_TIMEOUT_S)):
                    connection = await asyncio.shield(self._dial(to))
            except (OSError, TimeoutError) as error:
                raise RpcRefusedError(f"cannot reach {to[0]}:{to[1]}: {error}") from error
        return await connection.call(method, body, timeout_s=max(0.001, ends_at - loop.time()))

    def note(self, to: Address, method: str, body: Body) -> None:
        """Tell the agent at an address, at once or when it is connected; or drop it.

        Two servers that never had anything to say to each other do when they vote: that their first
        words wait for the connection saves a round of the election.
        """
        connection = self._open.get(to)
        if connection is not None:
            if not connection.note(method, body):
                self.counters["dropped.notes"] += 1
            return
        now = asyncio.get_running_loop().time()
        if now - self._dialled_at.get(to, -REDIAL_S) >= REDIAL_S:
            self._dialled_at[to] = now
            self._dial(to).add_done_callback(_ignore_failure)
        waiting = self._notes.get(to)
        if waiting is not None and len(waiting) < NOTES_MAX:
            waiting.append((method, body))
        else:
            self.counters["dropped.notes"] += 1

    def drop(self, to: Address) -> None:
        """End the connection to an address; who waits for an answer from there is told."""
        connection = self._open.pop(to, None)
        if connection is not None:
            connection.abort()

    async def close(self) -> None:
        """End all connections."""
        self._is_closed = True
        for task in self._dialling.values():
            task.cancel()
        for connection in list(self._open.values()):
            connection.close()
        await asyncio.gather(*self._dialling.values(), return_exceptions=True)

    def _dial(self, to: Address) -> "asyncio.Task[Connection]":
        task = self._dialling.get(to)
        if task is None:
            self._notes[to] = []
            task = self._dialling[to] = asyncio.get_running_loop().create_task(self._connect(to))
        return task

    async def _connect(self, to: Address) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: Connection(
                        self._methods,
                        bounds=self._bounds,
                        counters=self.counters,
                        on_lost=lambda lost: self._forget(to, lost),
                    ),
                    *to,
                )
            if connection.is_open and not self._is_closed:
                self._open[to] = connection
                for method, body in self._notes[to]:
                    connection.note(method, body)
                self._notes[to] = []
            return connection
        finally:
            self._dialling.pop(to, None)
            self.counters["dropped.notes"] += len(self._notes.pop(to, ()))

    def _forget(self, to: Address, lost: Connection) -> None:
        if self._open.get(to) is lost:
            del self._open[to]


def _ignore_failure(task: "asyncio.Task[Connection]") -> None:
    # Nobody waits for this one; the next note dials again.
    if not task.cancelled():
        task.exception()
