"""One UDP socket of the DNS front, read in bounded batches.

So a flood of queries leaves the loop to others. What cannot be received or sent is counted.
"""

import asyncio
import socket
import struct
import termios
import time
from fcntl import ioctl
from ipaddress import ip_address
from typing import Final

from dnsserver.binding import Address
from dnsserver.config import ServerLimits
from dnsserver.counters import DnsCounters
from dnsserver.finishing import Finisher
from dnsserver.query import QUERY_BYTES_MAX
from dnsserver.ratelimit import RateLimiter, Verdict
from dnsserver.responder import Pending, Responder

# Linux; the socket module names it from Python 3.14 on only.
_IP_PKTINFO: Final = 8
_PKTINFO_V4 = struct.Struct("=i4s4s")
_ANCILLARY_BYTES: Final = 64
_NO_PACKET: Final = bytes(4)
"""What the system says of the size of the next datagram when there is none."""

Ancillary = list[tuple[int, int, bytes]]
_NONE: Ancillary = []


class UdpListener:
    """Answers what comes in on a socket whenever the loop finds it readable."""

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        finisher: Finisher,
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
        now_utc, deadline_at = time.time(), time.monotonic() + self._limits.batch_s
        respond, receive, ancillary = self._responder.respond_udp, self._sock.recvfrom, _NONE
        limiter = self._limiter
        for number in range(self._limits.batch_queries):
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
            # Mostly there is one. Asking costs less than the exception that would say so; in a
            # flood it is asked once a batch.
            if not number and ioctl(self._sock, termios.FIONREAD, _NO_PACKET) == _NO_PACKET:
                return
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
