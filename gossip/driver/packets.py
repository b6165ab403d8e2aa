"""The UDP socket: datagrams in bounded batches, and out without ever waiting."""

import asyncio
import socket
import termios
from collections import Counter
from collections.abc import Callable, Sequence
from fcntl import ioctl
from typing import Final

from gossip.driver.drops import DropLog
from gossip.driver.seals import Seals
from gossip.driver.sockets import AddressFamily, next_refusal
from gossip.types import Address
from gossip.wire import PacketCodec
from gossip.wire.limits import DATAGRAM_BYTES_MAX
from gossip.wire.messages import PacketMessage

BATCH_DATAGRAMS_MAX: Final = 64
BATCH_S_MAX: Final = 0.005
"""A batch ends after this long: datagrams can be made costly to decode."""

_NOTHING: Final = bytes(4)
"""What the system says of the size of the next datagram when there is none."""


class PacketSocket:
    """Reads and writes the pool's datagrams until it is closed.

    `receive` gets each message, `refused` each address that a datagram of ours found nobody at, and
    `finish_batch` is called after each batch. A full batch leaves the
    rest to the loop's next turn, so a flood cannot keep timers and streams from running.
    """

    def __init__(
        self,
        sock: socket.socket,
        family: AddressFamily,
        codec: PacketCodec,
        *,
        receive: Callable[[PacketMessage, Address], None],
        refused: Callable[[Address], None],
        finish_batch: Callable[[], None],
        counters: Counter[str],
        drops: DropLog,
    ) -> None:
        self._sock, self._family, self._codec = sock, family, codec
        self._receive, self._refused, self._finish_batch = receive, refused, finish_batch
        self._counters, self._drops = counters, drops
        self.seals = Seals()
        """How each source's packets were sealed."""
        self._buffer = memoryview(bytearray(DATAGRAM_BYTES_MAX))
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._loop.add_reader(sock, self._read_batch)

    def send(self, to: Address, parts: Sequence[bytes], *, crc: bool) -> None:
        """Send one datagram. What the system refuses is lost, as datagrams may be, and counted."""
        if not self._is_open:
            return
        if not self._family.reaches(to.host) or not to.port:
            self._counters["send_errors.unreachable"] += 1
            return
        datagram = self._codec.encode(parts, crc=crc)
        try:
            try:
                self._sock.sendto(datagram, self._family.to_sockaddr(to))
            except ConnectionRefusedError:
                # That was an earlier datagram's answer; this one has not been sent yet.
                self._sock.sendto(datagram, self._family.to_sockaddr(to))
        except BlockingIOError:
            self._counters["send_errors.full"] += 1
        except OSError:
            self._counters["send_errors.refused"] += 1
        else:
            self._counters["packets_out"] += 1
            self._counters["bytes_out"] += len(datagram)

    def close(self) -> None:
        """Stop reading and give the port back."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _read_batch(self) -> None:
        batch_ends_at = self._loop.time() + BATCH_S_MAX
        # The loop wakes us for reports of refused datagrams too; then there may be nothing to read.
        has_reports = True
        for number in range(BATCH_DATAGRAMS_MAX):
            try:
                size, sockaddr = self._sock.recvfrom_into(self._buffer)
            except BlockingIOError:
                break
            except OSError:
                # An earlier send's error, reported here; the socket goes on working.
                self._counters["receive_errors"] += 1
                has_reports = True
                continue
            has_reports = False
            self._take_datagram(bytes(self._buffer[:size]), self._family.from_sockaddr(sockaddr))
            if not self._is_open:
                return
            # Mostly there is one. Asking costs less than the exception that would say so; in a
            # flood it is asked once a batch. An empty datagram, which looks like none, is read in
            # the loop's next turn.
            if not number and ioctl(self._sock, termios.FIONREAD, _NOTHING) == _NOTHING:
                break
            if self._loop.time() > batch_ends_at:
                break
        if has_reports:
            self._read_refusals()
        self._finish_batch()

    def _read_refusals(self) -> None:
        refused: dict[Address, None] = {}
        for _ in range(BATCH_DATAGRAMS_MAX):
            try:
                address = next_refusal(self._sock, self._family)
            except OSError:
                break  # no more, or not on this system
            if address is not None:
                self._counters["packets_refused"] += 1
                refused[address] = None
        for address in refused:
            if self._is_open:
                self._refused(address)

    def _take_datagram(self, datagram: bytes, source: Address) -> None:
        self._counters["packets_in"] += 1
        self._counters["bytes_in"] += len(datagram)
        decoded = self._codec.decode_untrusted(datagram)
        if decoded.messages:
            self.seals.note(source, decoded.key)
        for message in decoded.messages:
            self._receive(message, source)
        if decoded.drops:
            now = self._loop.time()
            for drop in decoded.drops:
                self._drops.record(drop.reason, now=now, source=source, detail=str(drop))
