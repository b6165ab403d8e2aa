"""Which servers answer: connections that are kept open, pinged, and ended when they are dead.

Who is in use, and who may soon be, is pinged. So whoever waits at a server that says nothing any
more learns it, and who has not answered is known before the next one asks.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple

from svcmesh.datacenters import Address, UnreachableError
from svcmesh.rpc import Body, RpcClosedError, RpcError, RpcPool, RpcRefusedError, RpcTimeoutError

logger = logging.getLogger("wan.calls")

PING: Final = "dc.ping"
PING_S: Final = 2.0
PING_DOWN_S: Final = 0.5
"""The same while somebody does not answer."""
PING_NOBODY_S: Final = 5.0
"""The same while there is nobody to ping."""
PING_TIMEOUT_S: Final = 3.0
DOWN_S: Final = 10.0
"""Who did not answer is asked last for so long."""
FAIL_FAST_S: Final = 5.0
"""If nobody has answered within this time, nobody is asked: pings notice who is back."""
WATCHED_MAX: Final = 128
IN_USE_S: Final = 60.0
"""A server is watched for so long after it was last asked."""


class Place(NamedTuple):
    """A server, and what to check its certificate for."""

    address: Address
    datacenter: str
    """Empty: ours."""

    def __str__(self) -> str:
        """Its address."""
        host, port = self.address
        return f"{host}:{port}"


class Reach:
    """What this agent knows of servers that it asks.

    `likely` gives those that may soon be asked.
    """

    def __init__(
        self, pool: RpcPool, likely: Callable[[], Sequence[Place]], counters: Counter[str]
    ) -> None:
        self._pool, self._likely, self._counters = pool, likely, counters
        self._loop = asyncio.get_running_loop()
        self._down_at: dict[Place, float] = {}
        self._used_at: dict[Place, float] = {}
        self._is_used = asyncio.Event()

    def in_order(self, targets: Sequence[Place]) -> Sequence[Place]:
        """Those that answered last before those that did not.

        Raises:
            UnreachableError: Nobody has answered just now.
        """
        now = self._loop.time()
        down = {to: at for to in targets if now - (at := self._down_at.get(to, -DOWN_S)) < DOWN_S}
        if len(down) == len(targets) and all(now - at < FAIL_FAST_S for at in down.values()):
            raise UnreachableError
        return sorted(targets, key=lambda to: to in down)

    def note_down(self, to: Place) -> None:
        """It did not answer somebody."""
        self._counters["servers_skipped"] += 1
        self._down_at[to] = self._loop.time()

    async def use(self, to: Place, method: str, body: Body, *, timeout_s: float) -> Body:
        """Call a method, and watch the server from now on; see `RpcPool.call`."""
        self._used_at[to] = self._loop.time()
        self._is_used.set()
        answer = await self.call(to, method, body, timeout_s=timeout_s)
        self._down_at.pop(to, None)
        return answer

    async def call(self, to: Place, method: str, body: Body, *, timeout_s: float) -> Body:
        """Call a method; see `RpcPool.call`."""
        return await self._pool.call(
            to.address, method, body, timeout_s=timeout_s, datacenter=to.datacenter
        )

    async def run(self) -> None:
        """Ping until cancelled."""
        while True:
            now = self._loop.time()
            self._used_at = {to: at for to, at in self._used_at.items() if now - at < IN_USE_S}
            self._down_at = {to: at for to, at in self._down_at.items() if now - at < DOWN_S}
            watched = dict.fromkeys([*self._used_at, *self._likely()])
            if not watched and not self._down_at:
                await self._next_use()
                continue
            await asyncio.gather(*(self._ping(to) for to in islice(watched, WATCHED_MAX)))
            await asyncio.sleep(PING_DOWN_S if self._down_at else PING_S)

    async def _next_use(self) -> None:
        """Wait until a server is asked, or may be."""
        self._is_used.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(PING_NOBODY_S):
                await self._is_used.wait()

    async def _ping(self, to: Place) -> None:
        try:
            await self.call(to, PING, None, timeout_s=PING_TIMEOUT_S)
        except RpcRefusedError:
            self._down_at[to] = self._loop.time()
        except RpcTimeoutError:
            # Who waits for an answer from there asks somebody else, or is told.
            logger.warning("server %s does not answer: its connection is ended", to)
            self._down_at[to] = self._loop.time()
            self._pool.drop(to.address)
        except (RpcClosedError, RpcError):
            # Dialled anew the next time; or no server that we can ask.
            self._down_at[to] = self._loop.time()
        else:
            self._down_at.pop(to, None)
