"""Asking recursors: names outside our domains as they are, and host names for aliases.

Every question goes out from a socket of its own, connected, with a random port and id (RFC 5452);
anything that comes back without that id and question is ignored, up to a number. A recursor
that fails, refuses or is silent is followed by the next one. How many questions may be under way is
bounded; nobody else waits for them.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from dnsserver.config import RecursorConfig
from dnsserver.counters import DnsCounters
from dnsserver.envelope import UDP_BYTES_DEFAULT
from dnsserver.records import AAAA, NOERROR, NXDOMAIN, A, Record
from dnsserver.replies import (
    ReplyError,
    addresses_untrusted,
    is_reply_untrusted,
    is_truncated,
    rcode_of,
    truncated,
)
from dnsserver.responder import Forward, Resolve

Address = tuple[str, int]

REPLIES_MAX: Final = 64
"""What comes back for one question, before it counts as failed. Each one that is not the answer may
be a guess of its id, and they are read without giving others their turn."""

_LENGTH = struct.Struct(">H")
_RECEIVE_BYTES = 65535
_RECURSION_DESIRED = 0x0100


@dataclass(frozen=True, slots=True)
class _Question:
    """A query on its way to recursors."""

    packet: bytes
    id: int
    question: bytes


class Recursors:
    """Asks the configured recursors. `rng` makes ids and must be hard to predict."""

    def __init__(self, config: RecursorConfig, counters: DnsCounters, rng: Random) -> None:
        self._config, self._counters, self._rng = config, counters, rng
        self._under_way = 0

    async def forward(self, pending: Forward) -> bytes | None:
        """Return the first good response as it came, with the client's id; None: there is none.

        What does not fit the client is cut down to a TC.
        """
        asked = self._renumbered(pending.packet, pending.query.question)
        reply = await self._ask(asked, is_tcp=pending.is_tcp, bytes_max=pending.room.bytes_max)
        if reply is None:
            return None
        reply = pending.packet[:2] + reply[2:]
        if len(reply) > pending.room.bytes_max:
            return truncated(reply, asked.question)
        return reply

    async def resolve(self, pending: Resolve) -> Mapping[bytes, Sequence[Record]]:
        """Return the addresses of the targets for which there are any."""
        type_ = AAAA if pending.query.type == AAAA else A
        found = await asyncio.gather(
            *(self._addresses(target, type_) for target in pending.targets)
        )
        return dict(zip(pending.targets, found, strict=True))

    async def _addresses(self, target: bytes, type_: int) -> Sequence[Record]:
        question = target + struct.pack(">HH", type_, 1)
        header = struct.pack(">HHHHHH", 0, _RECURSION_DESIRED, 1, 0, 0, 0)
        asked = self._renumbered(header + question, question)
        reply = await self._ask(asked, is_tcp=False, bytes_max=_RECEIVE_BYTES)
        if reply is None:
            return ()
        try:
            return addresses_untrusted(reply, question)
        except ReplyError:
            self._counters.dropped["recursor_reply"] += 1
            return ()

    def _renumbered(self, packet: bytes, question: bytes) -> _Question:
        id_ = self._rng.getrandbits(16)
        return _Question(id_.to_bytes(2, "big") + packet[2:], id_, question)

    async def _ask(self, asked: _Question, *, is_tcp: bool, bytes_max: int) -> bytes | None:
        if self._under_way >= self._config.queries_max:
            self._counters.dropped["recursor_limit"] += 1
            return None
        self._under_way += 1
        self._counters.recursor_queries += 1
        try:
            for address in self._in_order():
                reply = await self._ask_one(asked, address, is_tcp=is_tcp, bytes_max=bytes_max)
                if reply is not None and rcode_of(reply) in (NOERROR, NXDOMAIN):
                    return reply
                self._counters.dropped["recursor_failed"] += 1
            return None
        finally:
            self._under_way -= 1

    def _in_order(self) -> Sequence[Address]:
        addresses = self._config.addresses
        return self._rng.sample(addresses, len(addresses)) if self._config.is_random else addresses

    async def _ask_one(
        self, asked: _Question, address: Address, *, is_tcp: bool, bytes_max: int
    ) -> bytes | None:
        """Ask one recursor, again over TCP when its answer was cut and a whole one is of use."""
        if is_tcp:
            return await self._exchange(_ask_tcp, asked, address)
        reply = await self._exchange(_ask_udp, asked, address)
        if reply is None or not is_truncated(reply) or bytes_max <= UDP_BYTES_DEFAULT:
            return reply
        whole = await self._exchange(_ask_tcp, asked, address)
        return reply if whole is None or len(whole) > bytes_max else whole

    async def _exchange(
        self,
        ask: Callable[[_Question, Address], Awaitable[bytes]],
        asked: _Question,
        address: Address,
    ) -> bytes | None:
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await ask(asked, address)
        except (OSError, asyncio.IncompleteReadError, ReplyError):
            # Silence, nobody there, or a connection that ended; TimeoutError is an OSError.
            return None


async def _ask_udp(asked: _Question, address: Address) -> bytes:
    """Send a query and wait for its answer. The kernel drops what comes from elsewhere."""
    loop = asyncio.get_running_loop()
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(address)
        await loop.sock_sendall(sock, asked.packet)
        for _ in range(REPLIES_MAX):
            reply = await loop.sock_recv(sock, _RECEIVE_BYTES)
            if is_reply_untrusted(reply, asked.id, asked.question):
                return reply
    raise ReplyError("somebody is guessing")


async def _ask_tcp(asked: _Question, address: Address) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(_LENGTH.pack(len(asked.packet)) + asked.packet)
        for _ in range(REPLIES_MAX):
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            reply = await reader.readexactly(length)
            if is_reply_untrusted(reply, asked.id, asked.question):
                return reply
        raise ReplyError("no answer among many")
    finally:
        writer.close()


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
