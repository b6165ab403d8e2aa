"""The sockets of the DNS front: UDP and TCP on several addresses, one event loop.

UDP is read in bounded batches, so that a flood of queries leaves the loop to others. TCP follows
RFC 7766: messages with a length, pipelined, on connections that stay open for a while and whose
number is bounded. Nothing that comes in stops the server; what is dropped is counted.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine, Sequence
from ipaddress import ip_address
from random import Random, SystemRandom

from dnsserver.config import DnsConfig, ServerLimits
from dnsserver.counters import DnsCounters
from dnsserver.directory import Directory
from dnsserver.errors import DnsBindError
from dnsserver.query import QUERY_BYTES_MAX
from dnsserver.ratelimit import RateLimiter, Verdict
from dnsserver.recursion import Recursors
from dnsserver.responder import Forward, LookUp, Pending, Resolve, Responder

TCP_BACKLOG = 128
ANY_PORT_ATTEMPTS = 8
"""How often a free port is looked for that UDP and TCP can share, when port 0 was asked."""

_LENGTH = struct.Struct(">H")
# Linux; the socket module names it from Python 3.14 on only.
_IP_PKTINFO = 8
_PKTINFO_V4 = struct.Struct("=i4s4s")
_ANCILLARY_BYTES = 64

Address = tuple[str, int]
Ancillary = list[tuple[int, int, bytes]]
_NONE: Ancillary = []


class DnsServer:
    """Answers DNS on UDP and TCP from a directory.

    Made outside of an event loop or inside; `start` and `close` belong to one loop. It can be
    started again after it was closed.
    """

    def __init__(
        self,
        directory: Directory,
        config: DnsConfig,
        *,
        rng: Random,
        limits: ServerLimits | None = None,
    ) -> None:
        """`rng` decides the order of answers; it is used by nobody else afterwards."""
        self.counters = DnsCounters()
        self._directory, self._rng = directory, rng
        self._finisher = _Finisher()
        self._udp: list[_UdpListener] = []
        self._tcp: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self.reconfigure(config, limits or ServerLimits())

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that were chosen for port 0."""
        return tuple(listener.address for listener in self._udp)

    def reconfigure(self, config: DnsConfig, limits: ServerLimits) -> None:
        """Answer by these settings from the next query on; kept answers are forgotten.

        The domains stay those of the first configuration.
        """
        self._limits = limits
        self._responder = Responder(self._directory, config, self.counters, self._rng)
        recursors = Recursors(config.recursors, self.counters, SystemRandom())
        self._finisher.use(self._responder, recursors)
        self._limiter = (
            RateLimiter(limits.responses_per_s, limits.slip) if limits.responses_per_s else None
        )
        for listener in self._udp:
            listener.use(self._responder, limits, self._limiter)

    async def start(self, addresses: Sequence[Address]) -> None:
        """Listen on UDP and TCP at each (IP, port).

        Port 0 takes a port that is free for both.

        Raises:
            DnsBindError: An address cannot be used; nothing is left open.
        """
        assert not self._udp, "already started"
        try:
            for address in addresses:
                await self._listen(address)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening and end all connections. Does nothing when it is not running."""
        for listener in self._udp:
            listener.close()
        for server in self._tcp:
            server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await self._finisher.close()
        for server in self._tcp:
            await server.wait_closed()
        self._udp, self._tcp = [], []

    async def _listen(self, address: Address) -> None:
        udp, tcp = _bind_pair(address)
        self._udp.append(
            _UdpListener(
                udp, self._responder, self._finisher, self.counters, self._limits, self._limiter
            )
        )
        server = await asyncio.start_server(
            self._accept, sock=tcp, limit=QUERY_BYTES_MAX * 4, backlog=TCP_BACKLOG
        )
        self._tcp.append(server)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.tcp_connections_max:
            self.counters.dropped["tcp_limit"] += 1
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        self.counters.tcp_connections = len(self._connections)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self.counters.tcp_connections = len(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's queries until it ends, is idle or does not read.

        In order, but for those that recursors are asked: nothing waits for them (RFC 7766).
        """
        waiting: set[asyncio.Task[None]] = set()
        client: str = (writer.get_extra_info("peername") or ("",))[0]
        try:
            served = 0
            while True:
                async with asyncio.timeout(self._limits.tcp_idle_timeout_s):
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    packet = await reader.readexactly(length)
                    response = self._responder.respond_tcp(packet, time.time(), client)
                    if isinstance(response, bytes):
                        writer.write(_LENGTH.pack(len(response)) + response)
                    elif response is not None:
                        task = self._finisher.start(self._finish_tcp(response, writer))
                        waiting.add(task)
                        task.add_done_callback(waiting.discard)
                    await writer.drain()
                served += 1
                if served % self._limits.tcp_burst_queries == 0:
                    await asyncio.sleep(0)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.counters.dropped["tcp_reset"] += 1
            # A client may close its side and still wait for answers.
            await asyncio.gather(*waiting, return_exceptions=True)
        except TimeoutError:
            self.counters.dropped["tcp_idle"] += 1
            writer.transport.abort()
        except OSError:
            self.counters.dropped["tcp_reset"] += 1
        finally:
            for task in waiting:
                task.cancel()
            writer.close()

    async def _finish_tcp(self, pending: Pending, writer: asyncio.StreamWriter) -> None:
        response = await self._finisher.finish(pending)
        writer.write(_LENGTH.pack(len(response)) + response)


class _Finisher:
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


class _UdpListener:
    """One UDP socket, read whenever the loop finds it readable."""

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        finisher: "_Finisher",
        counters: DnsCounters,
        limits: ServerLimits,
        limiter: RateLimiter | None,
    ) -> None:
        self._sock, self._finisher, self._counters = sock, finisher, counters
        self.use(responder, limits, limiter)
        host, port = sock.getsockname()[:2]
        self.address: Address = (host, port)
        self._is_wildcard = ip_address(host).is_unspecified
        if self._is_wildcard:
            _ask_for_destination(sock)
        asyncio.get_running_loop().add_reader(sock, self._read_batch)

    def use(self, responder: Responder, limits: ServerLimits, limiter: RateLimiter | None) -> None:
        """Answer by these from the next batch on."""
        self._responder, self._limits, self._limiter = responder, limits, limiter

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def _read_batch(self) -> None:
        now_utc, deadline_at = time.time(), time.monotonic() + self._limits.udp_batch_s
        respond, receive, ancillary = self._responder.respond_udp, self._sock.recvfrom, _NONE
        limiter = self._limiter
        for number in range(self._limits.udp_batch_packets):
            try:
                # One byte more than is answered shows that a datagram is longer.
                if self._is_wildcard:
                    packet, ancillary, _, client = self._sock.recvmsg(
                        QUERY_BYTES_MAX + 1, _ANCILLARY_BYTES
                    )
                else:
                    packet, client = receive(QUERY_BYTES_MAX + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._counters.dropped["udp_receive"] += 1
                return
            if limiter is not None and not self._is_within(limiter, packet, client, ancillary):
                continue
            response = respond(packet, now_utc, client[0])
            if isinstance(response, bytes):
                self._send(response, client, ancillary)
            elif response is not None:
                self._finish_later(response, client, ancillary)
            if not number & 7 and time.monotonic() >= deadline_at:
                return

    def _is_within(
        self, limiter: RateLimiter, packet: bytes, client: Address, ancillary: Ancillary
    ) -> bool:
        """Say whether the client may have a response; tell it to use TCP, or nothing, if not."""
        match limiter.judge(client[0], now=time.monotonic()):
            case Verdict.SEND:
                return True
            case Verdict.SLIP:
                slip = self._responder.slip(packet)
                if slip is not None:
                    self._send(slip, client, ancillary)
            case Verdict.DROP:
                self._counters.dropped["rate_limit"] += 1
        return False

    def _finish_later(self, pending: Pending, client: Address, ancillary: Ancillary) -> None:
        async def finish() -> None:
            response = await self._finisher.finish(pending)
            if self._sock.fileno() >= 0:
                self._send(response, client, ancillary)

        self._finisher.start(finish())

    def _send(self, response: bytes, client: Address, ancillary: Ancillary) -> None:
        try:
            if self._is_wildcard:
                source = [_as_source(*message) for message in ancillary]
                self._sock.sendmsg([response], source, 0, client)
            else:
                self._sock.sendto(response, client)
        except OSError:
            # A full send buffer, or nobody there any more: the client asks again.
            self._counters.dropped["udp_send"] += 1


def _bind_pair(address: Address) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket with the same port."""
    attempts_left = ANY_PORT_ATTEMPTS if address[1] == 0 else 1
    while True:
        attempts_left -= 1
        udp = _bind(address, socket.SOCK_DGRAM)
        try:
            return udp, _bind((address[0], udp.getsockname()[1]), socket.SOCK_STREAM)
        except DnsBindError:
            udp.close()
            if not attempts_left:
                raise


def _bind(address: Address, kind: socket.SocketKind) -> socket.socket:
    """Return a bound non-blocking socket.

    Raises:
        DnsBindError: It cannot be bound.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    transport = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            # Not for UDP: there it lets two servers share a port, and one of them hears nothing.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        text = f"cannot listen for DNS on {transport} {place}: {error.strerror or error}"
        raise DnsBindError(text) from error
    return sock


def _ask_for_destination(sock: socket.socket) -> None:
    """Have each datagram say which of our addresses it was sent to, to answer from that one."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _as_source(level: int, type_: int, data: bytes) -> tuple[int, int, bytes]:
    """Turn what a datagram said about its destination into the source of the response."""
    if level == socket.IPPROTO_IP and type_ == _IP_PKTINFO and len(data) == _PKTINFO_V4.size:
        _, local, _ = _PKTINFO_V4.unpack(data)
        # No interface: routing decides, as for a bound socket.
        data = _PKTINFO_V4.pack(0, local, b"\0\0\0\0")
    return level, type_, data
