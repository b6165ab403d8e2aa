"""Measuring how a member can be reached: by UDP and TCP, how fast, and with how large datagrams.

Beside the machine: what is found here is for an operator and has no part in the protocol. The pings
are ordinary ones, so every member answers them, those of Serf and Consul too.
"""

import asyncio
from dataclasses import dataclass
from statistics import median
from typing import Final

from gossip.driver.packets import PacketSocket
from gossip.driver.streams import StreamFailedError, Streams
from gossip.types import Address, MemberName, SeqNo
from gossip.wire import PacketCodec, encode_message
from gossip.wire.messages import Ack, Ping

PINGS: Final = 3
PING_TIMEOUT_S: Final = 1.0
TCP_TIMEOUT_S: Final = 3.0
DATAGRAM_STEPS: Final = (576, 1200)
"""Sizes that are tried beside the largest that we send: what any path, and what most tunnels let
through."""
_FIRST_SEQ_NO: Final = 1 << 31
"""The machine counts up from 1 and does not get here."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """How one member was reached."""

    name: MemberName
    address: Address
    udp_rtt_s: float | None
    """None: no ping was answered."""
    udp_lost: int
    """Of `PINGS` small pings."""
    datagram_bytes: int
    """The largest datagram that was answered, 0 for none."""
    tcp_rtt_s: float | None
    """Dialling, asking and the answer."""
    tcp_error: str
    """Why TCP did not work, empty where it did."""


class Diagnostician:
    """Pings members for a diagnosis. `take_ack` is shown every ack, and says which are its own."""

    def __init__(
        self,
        packets: PacketSocket,
        streams: Streams,
        codec: PacketCodec,
        *,
        own_name: MemberName,
        public: Address,
        datagram_bytes_max: int,
    ) -> None:
        self._packets, self._streams, self._codec = packets, streams, codec
        self._own_name, self._public = own_name, public
        self._datagram_bytes_max = datagram_bytes_max
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[SeqNo, asyncio.Future[float]] = {}
        self._last = 0

    def take_ack(self, ack: Ack) -> bool:
        """Whether this ack answers a ping of ours; late ones do as well, and are ignored."""
        if ack.seq_no < _FIRST_SEQ_NO:
            return False
        waiting = self._waiting.pop(ack.seq_no, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(self._loop.time())
        return True

    async def diagnose(self, name: MemberName, to: Address) -> Diagnosis:
        """Try everything with one member; takes a few seconds where nothing answers."""
        sizes = sorted({*DATAGRAM_STEPS, self._datagram_bytes_max})
        (rtts, tcp), answered = await asyncio.gather(
            self._reach(name, to),
            asyncio.gather(*(self._ping(name, to, datagram_bytes=size) for size in sizes)),
        )
        fitting = [s for s, rtt_s in zip(sizes, answered, strict=True) if rtt_s is not None]
        found = [rtt_s for rtt_s in rtts if rtt_s is not None]
        tcp_rtt_s, tcp_error = tcp
        return Diagnosis(
            name,
            to,
            udp_rtt_s=median(found) if found else None,
            udp_lost=PINGS - len(found),
            datagram_bytes=max(fitting, default=0),
            tcp_rtt_s=tcp_rtt_s,
            tcp_error=tcp_error,
        )

    async def _reach(
        self, name: MemberName, to: Address
    ) -> tuple[list[float | None], tuple[float | None, str]]:
        # One after the other, so that each measures the way and not the others' company.
        rtts = [await self._ping(name, to) for _ in range(PINGS)]
        return rtts, await self._dial(name, to)

    async def _ping(
        self, name: MemberName, to: Address, *, datagram_bytes: int = 0
    ) -> float | None:
        """The round trip of one ping, in a datagram of at least that size; None without answer."""
        ping = self._new_ping(name)
        body = encode_message(ping)
        # What follows a body is ignored by everybody.
        body = body.ljust(self._codec.room_bytes(datagram_bytes), b"\0")
        answered: asyncio.Future[float] = self._loop.create_future()
        self._waiting[ping.seq_no] = answered
        begun_at = self._loop.time()
        self._packets.send(to, (body,), crc=False)
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                return await answered - begun_at
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(ping.seq_no, None)

    async def _dial(self, name: MemberName, to: Address) -> tuple[float | None, str]:
        begun_at = self._loop.time()
        try:
            reply = await self._streams.exchange(
                to, self._new_ping(name), deadline_at=begun_at + TCP_TIMEOUT_S
            )
        except StreamFailedError as error:
            return None, str(error)
        if not isinstance(reply, Ack):
            return None, "the answer is not an ack"
        return self._loop.time() - begun_at, ""

    def _new_ping(self, name: MemberName) -> Ping:
        self._last = (self._last + 1) % _FIRST_SEQ_NO
        seq_no = SeqNo(_FIRST_SEQ_NO + self._last)
        return Ping(seq_no, name, self._public.packed, self._public.port, self._own_name)
