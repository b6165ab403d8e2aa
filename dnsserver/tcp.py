"""DNS over TCP (RFC 7766): queries with a length each, pipelined, on connections that stay open.

Answers come in the order of the queries, but for those that others have to be asked for: nothing
waits for these, as section 6.2.1.1 allows. Who does not read answers is not read from, and who
sends no queries or takes no answers for a while is closed. So of a connection there is never more
in memory than a buffer of queries, a batch of answers and a number of answers under way.
"""

import asyncio
import socket
import time
from typing import Final, cast

from dnsserver.config import ServerLimits
from dnsserver.counters import DnsCounters
from dnsserver.finishing import Finisher
from dnsserver.query import QUERY_BYTES_MAX
from dnsserver.responder import Pending, Responder

BACKLOG: Final = 128
ACCEPTING_TURNS: Final = 3
"""Of the loop, until a connection that was just accepted is made."""
LENGTH_BYTES: Final = 2
MESSAGE_BYTES_MAX: Final = QUERY_BYTES_MAX + 1
"""What is looked at of a message. One byte more than is answered shows that it is longer."""
BUFFER_BYTES: Final = 2 * (LENGTH_BYTES + MESSAGE_BYTES_MAX)
BATCH_BYTES: Final = 16_384
"""No further answer is begun in a batch that is as large, nor while as much is not sent."""


class TcpListener:
    """Accepts connections on a socket; `connections` are those of all listeners."""

    def __init__(
        self,
        responder: Responder,
        finisher: Finisher,
        counters: DnsCounters,
        limits: ServerLimits,
        connections: "set[TcpConnection]",
    ) -> None:
        self.finisher, self.counters, self._connections = finisher, counters, connections
        self._server: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()
        self.use(responder, limits)

    def use(self, responder: Responder, limits: ServerLimits) -> None:
        """Answer by these from the next batch on."""
        self.responder, self.limits = responder, limits

    async def listen(self, sock: socket.socket) -> None:
        """Begin to accept. The socket, which is bound, belongs to the listener from now on."""
        self._server = await self._loop.create_server(
            lambda: TcpConnection(self), sock=sock, backlog=BACKLOG
        )

    async def close(self) -> None:
        """Accept no more. Connections stay as they are."""
        if self._server is None:
            return
        for sock in self._server.sockets:
            self._loop.remove_reader(sock)
        # asyncio loses whom it has accepted but not attached when its server is closed.
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)
        self._server.close()

    def admit(self, connection: "TcpConnection", *, now: float) -> bool:
        """Count a new connection. The one that is idle for longest makes room if there is none.

        False: all are busy. Else those who open many could keep everybody else out.
        """
        connections = self._connections
        if len(connections) >= self.limits.tcp_connections_max:
            self.counters.dropped["tcp_limit"] += 1
            longest = min(connections, key=lambda one: one.idle_since(now))
            if longest.idle_since(now) >= now:
                return False
            connections.discard(longest)
            longest.abort()
        connections.add(connection)
        self.counters.tcp_connections = len(connections)
        return True

    def forget(self, connection: "TcpConnection") -> None:
        """Count a connection no longer."""
        self._connections.discard(connection)
        self.counters.tcp_connections = len(self._connections)


class TcpConnection(asyncio.BufferedProtocol):
    """One client's connection, from its beginning to its end.

    Invariant: it reads if and only if all whole queries in the buffer are answered and the answers
    go out, so that there is always room in the buffer.
    """

    def __init__(self, listener: TcpListener) -> None:
        self._listener, self._loop = listener, asyncio.get_running_loop()
        self._buffer = bytearray(BUFFER_BYTES)
        self._filled = 0
        """How much of the buffer has been received."""
        self._to_skip = 0
        """What is still to come of a message that is longer than what is looked at."""
        self._pending: set[asyncio.Task[None]] = set()
        """Answers that others are asked for."""
        self._is_writable = True
        self._is_scheduled = False
        """Whether the next batch has its turn already."""
        self._has_ended = False
        """Whether the client has closed its side; it may still wait for answers."""
        self._active_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.admit(self, now=self._loop.time()):
            self._transport.abort()
            return
        self._client: str = (self._transport.get_extra_info("peername") or ("",))[0]
        self._transport.set_write_buffer_limits(high=BATCH_BYTES)
        self._arm(self._active_at)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is under way."""
        if exc is not None:
            self._listener.counters.dropped["tcp_reset"] += 1
        self._listener.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._pending:
            task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the room that is left, of which there is some."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Answer what has come."""
        self._filled += nbytes
        self._go_on()

    def eof_received(self) -> bool:
        """Note that no more queries will come. The connection stays until all are answered."""
        self._has_ended = True
        self._go_on()
        return True

    def pause_writing(self) -> None:
        """Answer nothing while the client does not read."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Go on when it does."""
        self._is_writable = True
        self._active_at = self._loop.time()
        self._go_on()

    def idle_since(self, now: float) -> float:
        """Say when something last happened: now if answers are under way that will be read."""
        return now if self._pending and self._is_writable else self._active_at

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()

    def _go_on(self) -> None:
        """Answer a batch; then read, wait or end, whichever it is time for."""
        if self._is_scheduled or self._transport.is_closing():
            return
        is_all = self._answer_batch() if self._may_answer else False
        if not is_all or not self._may_answer:
            self._transport.pause_reading()
            if self._may_answer:
                # Others have their turn first.
                self._is_scheduled = True
                self._loop.call_soon(self._take_turn)
        elif not self._has_ended:
            self._transport.resume_reading()
        elif not self._pending:
            if self._filled:
                self._listener.counters.dropped["tcp_reset"] += 1
            self._transport.close()

    @property
    def _may_answer(self) -> bool:
        return self._is_writable and len(self._pending) < self._listener.limits.tcp_pending_max

    def _take_turn(self) -> None:
        self._is_scheduled = False
        self._go_on()

    def _answer_batch(self) -> bool:
        """Answer some of the queries in the buffer; say whether no whole one is left there."""
        buffer, limits, respond = self._buffer, self._listener.limits, self._respond
        now_utc, deadline_at = time.time(), self._loop.time() + limits.batch_s
        at = 0
        answers: list[bytes] = []
        answer_bytes = answered = 0
        is_all = False
        while True:
            skipped = min(self._to_skip, self._filled - at)
            at += skipped
            self._to_skip -= skipped
            length = int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            size = min(length, MESSAGE_BYTES_MAX)
            end = at + LENGTH_BYTES + size
            if end > self._filled:
                is_all = True
                break
            if (
                answered == limits.batch_queries
                or answer_bytes >= BATCH_BYTES
                or len(self._pending) >= limits.tcp_pending_max
                or self._loop.time() >= deadline_at
            ):
                break
            response = respond(bytes(buffer[at + LENGTH_BYTES : end]), now_utc)
            if response is not None:
                answers += len(response).to_bytes(LENGTH_BYTES, "big"), response
                answer_bytes += len(response)
            answered += 1
            at, self._to_skip = end, length - size
        left = self._filled - at
        buffer[:left] = buffer[at : self._filled]
        self._filled = left
        if answered:
            self._active_at = self._loop.time()
        if answers:
            self._transport.write(b"".join(answers))
        return is_all

    def _respond(self, packet: bytes, now_utc: float) -> bytes | None:
        """Return the response to a message, if it is here by now and there is one to give."""
        response = self._listener.responder.respond_tcp(packet, now_utc, self._client)
        if response is None or isinstance(response, bytes):
            return response
        task = self._listener.finisher.start(self._finish(response))
        self._pending.add(task)
        task.add_done_callback(self._on_finished)
        return None

    async def _finish(self, pending: Pending) -> None:
        response = await self._listener.finisher.finish(pending)
        if not self._transport.is_closing():
            self._transport.write(len(response).to_bytes(LENGTH_BYTES, "big") + response)

    def _on_finished(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        self._active_at = self._loop.time()
        self._go_on()

    def _arm(self, idle_since: float) -> None:
        timeout_s = self._listener.limits.tcp_idle_timeout_s
        self._timer = self._loop.call_at(idle_since + timeout_s, self._end_if_idle)

    def _end_if_idle(self) -> None:
        """End the connection when nothing has happened for long; look again later if not."""
        now = self._loop.time()
        idle_since = self.idle_since(now)
        if now - idle_since >= self._listener.limits.tcp_idle_timeout_s:
            self._listener.counters.dropped["tcp_idle"] += 1
            self._transport.abort()
        else:
            self._arm(idle_since)
