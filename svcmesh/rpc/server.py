"""Listens for connections of other agents, with TLS or without as the rules say, bounded in number.

The first byte tells which of both a peer speaks. Whoever is not let in is counted and, once a
minute, logged with the reason.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from svcmesh.rpc.connection import Bounds, Connection
from svcmesh.rpc.frames import refusal_frame
from svcmesh.rpc.remarks import Remarks
from svcmesh.rpc.security import TLS_RECORD, AcceptRules, Refusal, dns_names, refusal_of
from svcmesh.rpc.serving import Methods
from svcmesh.rpc.sockets import keep_alive

logger = logging.getLogger("rpc")

CONNECTIONS_MAX: Final = 8192
HELD_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of half frames and answers that nobody takes, over all connections; who holds most is dropped."""
BACKLOG: Final = 512
ACCEPT_PAUSE_S: Final = 0.5
"""When the process has no file descriptors left."""


@dataclass(frozen=True, slots=True)
class Callers:
    """Who is connected to a server."""

    connections: int = 0
    plain_hosts: tuple[str, ...] = ()
    """Addresses of those that do not encrypt, each as often as it is connected."""


class RpcServer:
    """One listener. Every connection may call `methods`."""

    def __init__(
        self,
        methods: Methods,
        *,
        bounds: Bounds | None = None,
        rules: AcceptRules | None = None,
        held_bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._methods, self._bounds = methods, bounds or Bounds()
        self._rules = rules or AcceptRules()
        self._held_bytes_max = held_bytes_max
        self._remarks = Remarks(asyncio.get_running_loop().time)
        self._listener: socket.socket | None = None
        self._by_address: Counter[str] = Counter()
        """Connections, those in their handshake included."""
        self.connections: set[Connection] = set()
        """Those that were let in."""
        self._plain: dict[Connection, str] = {}
        """Addresses of those that do not encrypt."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving: set[socket.socket] = set()
        """Those whose task has not begun: ended before, it would not close them."""

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address with the port that was bound.

        Raises:
            OSError: It cannot be bound.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self._spawn(self._accept(listener))
        name: tuple[str, int] = listener.getsockname()[:2]
        return name

    def reconfigure(self, rules: AcceptRules) -> None:
        """Go by other rules, and ask everybody who came in by the former ones to come in anew.

        Peers without encryption are asked too where that is refused from now on; what they have
        under way is finished.
        """
        former, self._rules = self._rules, rules
        if not rules.has_tls_of(former):
            for connection in list(self.connections):
                connection.leave()

    async def close(self) -> None:
        """Stop listening and end all connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for sock in self._arriving:
            sock.close()
        self._arriving.clear()
        for connection in list(self.connections):
            connection.close()
        # The transports close in the loop's next turn.
        await asyncio.sleep(0)

    def callers(self) -> Callers:
        """Who is connected now."""
        return Callers(len(self.connections), tuple(sorted(self._plain.values())))

    # -- letting in -------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await _until_readable(listener)
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                # Whoever it was has gone.
                continue
            except OSError as error:
                # Too many open files, mostly: the others must go on.
                self._remarks.warn("", "accept", f"cannot accept connections: {error.strerror}")
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            sock.setblocking(False)
            host = str(address[0])
            self.counters["accepted"] += 1
            full = self._full(host)
            if full is not None:
                self._turn_away(sock, host, full)
                continue
            self._by_address[host] += 1
            self._arriving.add(sock)
            self._spawn(self._let_in(sock, host))

    def _full(self, host: str) -> Refusal | None:
        if self._by_address.total() >= CONNECTIONS_MAX:
            return Refusal("connections", f"there are {CONNECTIONS_MAX} connections already")
        most = self._rules.per_address_max
        if self._by_address[host] >= most:
            return Refusal(
                "connections-of-address",
                f"it has {most} connections already (limits.rpc_max_conns_per_client)",
            )
        return None

    async def _let_in(self, sock: socket.socket, host: str) -> None:
        """Find out what the peer speaks, and make it a connection or turn it away."""
        self._arriving.discard(sock)
        rules = self._rules
        is_made = False

        def made(connection: Connection, transport: asyncio.Transport) -> None:
            nonlocal is_made
            is_made = True
            certificate = transport.get_extra_info("peercert")
            if rules.server_names and set(dns_names(certificate)).isdisjoint(rules.server_names):
                connection.distrust()
            self.connections.add(connection)
            if not is_encrypted:
                self._plain[connection] = host
            if not self._rules.has_tls_of(rules):
                # They changed during the handshake. Not before it has been told to be ready.
                asyncio.get_running_loop().call_soon(connection.leave)

        def lost(connection: Connection) -> None:
            self.connections.discard(connection)
            self._plain.pop(connection, None)
            self._forget_address(host)

        try:
            first = await self._first_byte(sock, host, rules)
            if first is None:
                sock.close()
                return
            is_encrypted = first == TLS_RECORD
            keep_alive(sock)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(
                    self._methods,
                    bounds=self._bounds,
                    counters=self.counters,
                    dialled=False,
                    on_made=made,
                    on_lost=lost,
                    on_large=lambda _: self._make_room(),
                ),
                sock,
                ssl=rules.tls if is_encrypted else None,
                ssl_handshake_timeout=rules.handshake_timeout_s if is_encrypted else None,
            )
        except OSError as error:
            # Of the handshake; TLS errors and timeouts are OSErrors too.
            self._refused(host, refusal_of(error))
        finally:
            if not is_made:
                self._forget_address(host)

    async def _first_byte(self, sock: socket.socket, host: str, rules: AcceptRules) -> int | None:
        """The peer's first byte, left where it is; None when the peer was turned away."""
        try:
            async with asyncio.timeout(rules.handshake_timeout_s):
                first = await _peek(sock)
        except OSError as error:
            self._turn_away(sock, host, refusal_of(error))
            return None
        except asyncio.CancelledError:
            sock.close()
            raise
        if first is None:
            # Gone without a word, as who only looks whether a port is open.
            self.counters["silent"] += 1
        elif first == TLS_RECORD and rules.tls is None:
            self._turn_away(
                sock,
                host,
                Refusal("tls-unknown", "it speaks TLS, and we have no cert_file and key_file"),
            )
        elif first != TLS_RECORD and rules.requires_tls:
            self._turn_away(
                sock, host, Refusal("not-encrypted", "it does not speak TLS (verify_incoming)")
            )
        else:
            return first
        return None

    def _turn_away(self, sock: socket.socket, host: str, why: Refusal) -> None:
        """Say why, in the clear, and hang up."""
        self._refused(host, why)
        with suppress(OSError):
            # What is left unread would reset the connection, and our word be lost.
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.recv(65_536)
            sock.send(refusal_frame(why.text))
        sock.close()

    def _refused(self, host: str, why: Refusal) -> None:
        self.counters[f"refused.{why.reason}"] += 1
        self._remarks.warn(host, why.reason, f"refused a connection from {host}: {why.text}")

    # -- bookkeeping ------------------------------------------------------------------------------

    def _forget_address(self, host: str) -> None:
        self._by_address[host] -= 1
        if self._by_address[host] <= 0:
            del self._by_address[host]

    def _make_room(self) -> None:
        held = {connection: connection.held_bytes for connection in self.connections}
        if sum(held.values()) > self._held_bytes_max:
            max(held, key=held.__getitem__).drop("memory")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end_task)

    def _end_task(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("letting in a connection has failed", exc_info=error)


async def _peek(sock: socket.socket) -> int | None:
    """Wait for a peer's first byte and leave it where it is; None when it hung up."""
    await _until_readable(sock)
    first = sock.recv(1, socket.MSG_PEEK)
    return first[0] if first else None


async def _until_readable(sock: socket.socket) -> None:
    """Wait, for at least a turn of the loop."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
