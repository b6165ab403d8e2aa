"""Direct user messages: by datagram where one holds them, else by stream in the background."""

import asyncio
from collections import Counter
from typing import Final

from gossip.driver.drops import DropLog
from gossip.driver.packets import PacketSocket
from gossip.driver.streams import StreamFailedError, Streams, spawn
from gossip.types import Address
from gossip.wire import encode_message
from gossip.wire.limits import MIB, USER_MESSAGE_BYTES_MAX
from gossip.wire.messages import UserMessage

IN_FLIGHT_MAX: Final = 64
BYTES_IN_FLIGHT_MAX: Final = 32 * MIB
FIRST_BYTE_MIN: Final = 0x80
"""Below it a user message is one of Serf's own."""


class PayloadSender:
    """Sends payloads without waiting for them; beyond the bounds in flight they are dropped."""

    def __init__(
        self,
        packets: PacketSocket,
        streams: Streams,
        *,
        timeout_s: float,
        counters: Counter[str],
        drops: DropLog,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self._packets, self._streams, self._timeout_s = packets, streams, timeout_s
        self._counters, self._drops, self._tasks = counters, drops, tasks
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._bytes_in_flight = 0

    def send(self, to: Address, payload: bytes, *, datagram_room_bytes: int) -> None:
        """Send one payload; a datagram has `datagram_room_bytes` for the message around it.

        Raises:
            ValueError: The first byte is one of Serf's types, or it is longer than 20 MiB.
        """
        if not payload or payload[0] < FIRST_BYTE_MIN:
            raise ValueError(f"payload: the first byte must be {FIRST_BYTE_MIN:#x} or above")
        if len(payload) > USER_MESSAGE_BYTES_MAX:
            raise ValueError(f"payload: at most {USER_MESSAGE_BYTES_MAX} bytes, got {len(payload)}")
        message = UserMessage(payload)
        if len(payload) < datagram_room_bytes:  # its type byte has to go in as well
            self._packets.send(to, (encode_message(message),), crc=False)
        elif (
            self._in_flight >= IN_FLIGHT_MAX
            or self._bytes_in_flight + len(payload) > BYTES_IN_FLIGHT_MAX
        ):
            self._drops.record("payloads-in-flight", now=self._loop.time(), source=to)
        else:
            self._in_flight += 1
            self._bytes_in_flight += len(payload)
            spawn(self._deliver(to, message), self._tasks)

    async def _deliver(self, to: Address, message: UserMessage) -> None:
        try:
            deadline_at = self._loop.time() + self._timeout_s
            await self._streams.deliver(to, message, deadline_at=deadline_at)
        except StreamFailedError as error:
            now = self._loop.time()
            self._drops.record("payload-undelivered", now=now, source=to, detail=str(error))
        finally:
            self._in_flight -= 1
            self._bytes_in_flight -= len(message.payload)
