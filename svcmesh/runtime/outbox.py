"""Messages to other agents, sent without keeping the event loop: a slice in each turn of it."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gossip.types import Address, MemberName

SLICE_S: Final = 0.004
"""After so long the loop gets its turn. A datagram takes 10 us, but each wakes its receiver: where
many agents share a host, those take the processor from us in between."""

MESSAGES_MAX: Final = 4096
"""Beyond so many, the oldest go out at once, however long it takes."""

To = MemberName | Address


class Outbox:
    """First in, first out; `send(to, payload)` hands a message to the gossip library."""

    def __init__(self, send: Callable[[To, bytes], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[To, bytes]] = deque()
        self._is_due = False
        """Whether a later turn of the loop sends on."""

    def __len__(self) -> int:
        """How many messages wait for a later turn."""
        return len(self._waiting)

    def post(self, to: To, payload: bytes) -> None:
        """Add a message; `send_some` is to follow in the same turn."""
        self._waiting.append((to, payload))
        while len(self._waiting) > MESSAGES_MAX:
            self._send(*self._waiting.popleft())

    def send_some(self) -> None:
        """Send for the time of a slice, and what is left in the next turns."""
        if self._waiting and not self._is_due:
            self._send_slice()

    def close(self) -> None:
        """Send nothing more."""
        self._waiting.clear()

    def _send_slice(self) -> None:
        self._is_due = False
        ends_at = self._loop.time() + SLICE_S
        while self._waiting:
            self._send(*self._waiting.popleft())
            if self._waiting and self._loop.time() >= ends_at:
                self._is_due = True
                self._loop.call_soon(self._send_slice)
                return
