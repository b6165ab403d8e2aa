"""A process on a simulated host: it takes what arrives in order, unless it is held or busy.

A held process is one that gets no processor: what comes for it waits in its sockets. A blocked one
does what is due of its own, but nothing that comes gets through to it. A busy one
takes its time over every arrival. As the agent's event loop does, it reads what waits before it
looks at its timers, but not more than a batch.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from svcmesh.simulate.clock import VirtualClock

QUEUE_MAX: Final = 4096
"""Arrivals that wait, about what the sockets' buffers hold; more are lost."""
BATCH_MAX: Final = 64
"""Arrivals that are read before timers get their turn (`gossip.driver.packets`)."""

_Work = tuple[Callable[..., None], tuple[Any, ...]]


class Process:
    """Handles arrivals for one endpoint.

    Invariant: `queue` is None exactly when arrivals may be handled without `arrive`, because the
    process is neither held nor ever busy.
    """

    __slots__ = (
        "_batch_left",
        "_busy_until",
        "_clock",
        "_is_blocked",
        "_is_draining",
        "_is_held",
        "_service_s",
        "_turns",
        "dropped",
        "queue",
        "receive",
        "refused",
        "serve",
    )

    def __init__(
        self,
        clock: VirtualClock,
        receive: Callable[[Any, Any], None],
        serve: Callable[[Any, Any], Any] | None,
        refused: Callable[[Any], None] | None,
        *,
        service_s: float,
    ) -> None:
        self.receive, self.serve, self.refused = receive, serve, refused
        self.queue: deque[_Work] | None = None
        self.dropped = 0
        """Arrivals that found the queue full."""
        self._clock, self._service_s = clock, service_s
        self._busy_until = 0.0
        self._is_held = self._is_blocked = self._is_draining = False
        self._turns: deque[_Work] = deque()
        self._batch_left = BATCH_MAX
        if service_s:
            self.queue = deque()

    @property
    def service_s(self) -> float:
        """How long each arrival keeps it busy."""
        return self._service_s

    @service_s.setter
    def service_s(self, value: float) -> None:
        self._service_s = value
        if value and self.queue is None:
            self.queue = deque()

    def arrive(self, action: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401  # passed through to `action`
        """Handle an arrival, now or when its turn comes."""
        queue = self.queue
        if queue is None:
            action(*arguments)
        elif len(queue) >= QUEUE_MAX:
            self.dropped += 1
        else:
            queue.append((action, arguments))
            self._drain()

    def turn(self, action: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401  # as above
        """Do what is due of its own, now or after the next batch."""
        if self.queue is None:
            action(*arguments)
        else:
            self._turns.append((action, arguments))
            self._drain()

    def hold(self) -> None:
        """Stop: arrivals wait."""
        self._is_held = True
        if self.queue is None:
            self.queue = deque()

    def block(self) -> None:
        """Let arrivals wait, but not its own doings."""
        self._is_blocked = True
        if self.queue is None:
            self.queue = deque()

    def release(self) -> None:
        """Go on with what waits; without a service time all of it now."""
        self._is_held = self._is_blocked = False
        self._busy_until = self._clock.now
        self._drain()

    def end(self) -> None:
        """Forget what waits."""
        self._is_held = True
        self.queue = deque()
        self._turns.clear()

    def _drain(self) -> None:
        """Work off what waits, until that takes time or is done."""
        clock, queue = self._clock, self.queue
        while queue is not None and not self._is_held:
            can_read = bool(queue) and not self._is_blocked
            if not can_read and not self._turns:
                break
            if clock.now < self._busy_until:
                if not self._is_draining:
                    self._is_draining = True
                    clock.post_at(self._busy_until, self._drain_next)
                return
            if self._turns and (not can_read or not self._batch_left):
                self._batch_left = BATCH_MAX
                action, arguments = self._turns.popleft()
            else:
                self._batch_left = max(0, self._batch_left - 1)
                action, arguments = queue.popleft()
            self._busy_until = clock.now + self._service_s
            action(*arguments)
            queue = self.queue
        if not self._service_s and not self._is_held and not self._is_blocked:
            self.queue = None

    def _drain_next(self) -> None:
        self._is_draining = False
        self._drain()
