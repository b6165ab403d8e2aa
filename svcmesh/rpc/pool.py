"""Connections to other agents, by address: dialled when needed, kept, dialled again when lost."""

import asyncio
from collections import Counter
from typing import Final

from svcmesh.rpc.calling import Ended
from svcmesh.rpc.connection import Bounds, Connection
from svcmesh.rpc.errors import RpcRefusedError
from svcmesh.rpc.frames import Body
from svcmesh.rpc.remarks import Remarks
from svcmesh.rpc.security import DialRules, Refusal, dns_names, refusal_of
from svcmesh.rpc.serving import NO_METHODS, Methods
from svcmesh.rpc.sockets import keep_alive

DIAL_TIMEOUT_S: Final = 1.0
REDIAL_S: Final = 0.25
"""Between two attempts to dial an address for notes; calls dial at once."""
NOTES_MAX: Final = 64
"""Kept for one address while it is dialled; more are dropped."""

Address = tuple[str, int]
Peer = tuple[str, int, str]
"""Address and data center. Both, because a certificate was checked for the data center: a server of
another one must not be taken for one of ours, whatever gossip says of its address."""


class RpcPool:
    """One connection for each server."""

    def __init__(
        self,
        methods: Methods = NO_METHODS,
        *,
        bounds: Bounds | None = None,
        rules: DialRules | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._methods, self._bounds = methods, bounds
        self._rules = rules or DialRules()
        self._remarks = Remarks(asyncio.get_running_loop().time)
        self._open: dict[Peer, Connection] = {}
        """Those that calls go to."""
        self._made: dict[Connection, Peer] = {}
        """All, also those whose last calls are waited for."""
        self._dialling: dict[Peer, asyncio.Task[Connection]] = {}
        self._dialled_at: dict[Peer, float] = {}
        self._notes: dict[Peer, list[tuple[str, Body]]] = {}
        """For servers that are being dialled."""

    async def call(
        self, to: Address, method: str, body: Body, *, timeout_s: float, datacenter: str = ""
    ) -> Body:
        """Call a method of the agent at an address, which is in `datacenter` if not in ours.

        Raises:
            RpcError: It answered with one.
            RpcRefusedError: Not sent: nobody answers there, too much waits, or one of us does not
                trust the other.
            RpcClosedError, RpcTimeoutError: What became of it is unknown.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        peer = self._peer(to, datacenter)
        connection = self._open.get(peer)
        if connection is None or not connection.is_open:
            try:
                async with asyncio.timeout(min(timeout_s, DIAL_TIMEOUT_S)):
                    connection = await asyncio.shield(self._dial(peer))
            except (OSError, TimeoutError) as error:
                raise RpcRefusedError(f"cannot reach {to[0]}:{to[1]}: {error}") from error
        return await connection.call(method, body, timeout_s=max(0.001, ends_at - loop.time()))

    def begin_call(
        self, to: Address, method: str, body: Body, ended: Ended, *, timeout_s: float
    ) -> bool:
        """Call without a task, if there is a connection: `ended` is called once.

        False: nothing was sent; `call` may find a way.
        """
        connection = self._open.get(self._peer(to, ""))
        if connection is None or not connection.is_open:
            return False
        try:
            connection.begin_call(method, body, ended, timeout_s=timeout_s)
        except RpcRefusedError:
            return False
        return True

    def note(
        self,
        to: Address,
        method: str,
        body: Body,
        *,
        datacenter: str = "",
        at_once: bool = False,
    ) -> None:
        """Tell the agent at an address, now (`Connection.note`) or when connected; or drop it.

        Two servers that never had anything to say to each other do when they vote: that their first
        words wait for the connection saves a round of the election.
        """
        peer = self._peer(to, datacenter)
        connection = self._open.get(peer)
        if connection is not None and connection.is_open:
            if not connection.note(method, body, at_once=at_once):
                self.counters["dropped.notes"] += 1
            return
        now = asyncio.get_running_loop().time()
        if now - self._dialled_at.get(peer, -REDIAL_S) >= REDIAL_S:
            self._dialled_at[peer] = now
            self._dial(peer)
        waiting = self._notes.get(peer)
        if waiting is not None and len(waiting) < NOTES_MAX:
            waiting.append((method, body))
        else:
            self.counters["dropped.notes"] += 1

    def drop(self, to: Address) -> None:
        """End the connections to an address; who waits for an answer from there is told."""
        for connection in [one for one, peer in self._made.items() if peer[:2] == to]:
            connection.abort()

    def reconfigure(self, rules: DialRules) -> None:
        """Dial by other rules from now on; connections by the former ones end with their calls."""
        if rules == self._rules:
            return
        self._rules = rules
        for connection in list(self._open.values()):
            connection.leave()

    async def close(self) -> None:
        """End all connections."""
        for task in self._dialling.values():
            task.cancel()
        for connection in list(self._made):
            connection.close()
        await asyncio.gather(*self._dialling.values(), return_exceptions=True)

    def _peer(self, to: Address, datacenter: str) -> Peer:
        return (to[0], to[1], (datacenter or self._rules.datacenter).lower())

    def _dial(self, peer: Peer) -> "asyncio.Task[Connection]":
        task = self._dialling.get(peer)
        if task is None:
            self._notes[peer] = []
            task = asyncio.get_running_loop().create_task(self._connect(peer))
            task.add_done_callback(_ignore_failure)
            self._dialling[peer] = task
        return task

    async def _connect(self, peer: Peer) -> Connection:
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                rules = self._rules
                connection = await self._connected(peer, rules)
                while rules != self._rules:
                    # They changed meanwhile.
                    connection.leave()
                    rules = self._rules
                    connection = await self._connected(peer, rules)
            if connection.is_open:
                self._open[peer] = connection
                for method, body in self._notes[peer]:
                    connection.note(method, body)
                self._notes[peer] = []
            return connection
        finally:
            self._dialling.pop(peer, None)
            self.counters["dropped.notes"] += len(self._notes.pop(peer, ()))

    async def _connected(self, peer: Peer, rules: DialRules) -> Connection:
        """Connect, and wait until both sides are content.

        Raises:
            OSError: Nobody answers, or TLS failed.
            RpcRefusedError: They are not.
        """
        host, port, datacenter = peer
        to = (host, port)
        tls, names = rules.tls, rules.server_names(datacenter)
        loop = asyncio.get_running_loop()
        self.counters["dialled"] += 1
        try:
            transport, connection = await loop.create_connection(
                lambda: Connection(
                    self._methods,
                    bounds=self._bounds,
                    counters=self.counters,
                    on_made=lambda made, _: self._made.update({made: peer}),
                    on_lost=self._forget,
                ),
                *to,
                ssl=tls,
                # Without names to choose by, any will do; an empty one sends none.
                server_hostname=None if tls is None else (names[0] if names else ""),
            )
        except OSError as error:
            if tls is not None and not isinstance(error, ConnectionRefusedError):
                raise self._not_trusted(to, refusal_of(error)) from error
            raise
        try:
            keep_alive(transport.get_extra_info("socket"))
            found = dns_names(transport.get_extra_info("peercert"))
            if names and set(names).isdisjoint(found):
                text = f"its certificate is for {', '.join(found)}, not for {' or '.join(names)}"
                raise self._not_trusted(to, Refusal("wrong-name", text))
            try:
                await connection.ready()
            except (RpcRefusedError, OSError) as error:
                why = str(error) or "it hung up before it was ready"
                raise self._not_trusted(to, Refusal("refused-by-peer", why)) from error
        except BaseException:
            transport.abort()
            raise
        return connection

    def _not_trusted(self, to: Address, why: Refusal) -> RpcRefusedError:
        self.counters[f"not_connected.{why.reason}"] += 1
        where = f"{to[0]}:{to[1]}"
        self._remarks.warn(where, why.reason, f"no connection to {where}: {why.text}")
        return RpcRefusedError(f"no connection to {where}: {why.text}")

    def _forget(self, lost: Connection) -> None:
        peer = self._made.pop(lost)
        if self._open.get(peer) is lost:
            del self._open[peer]


def _ignore_failure(task: "asyncio.Task[Connection]") -> None:
    # Who waits has been told; for a note nobody does, and the next one dials again.
    if not task.cancelled():
        task.exception()
