"""A process on a simulated host: it takes what arrives in order, unless it is held or busy.

A held process is one that gets no processor: what comes for it waits in its sockets. A busy one
takes its time over every arrival.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from svcmesh.simulate.clock import VirtualClock

QUEUE_MAX: Final = 4096
"""Arrivals that wait, about what the sockets' buffers hold; more are lost."""


class Process:
    """Handles arrivals for one endpoint.

    Invariant: `queue` is None exactly when arrivals may be handled without `arrive`, because the
    process is neither held nor ever busy.
    """

    __slots__ = (
        "_busy_until",
        "_clock",
        "_is_draining",
        "_is_held",
        "_service_s",
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
        self.queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] | None = None
        self.dropped = 0
        """Arrivals that found the queue full."""
        self._clock, self._service_s = clock, service_s
        self._busy_until = 0.0
        self._is_held = self._is_draining = False
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
        queue, now = self.queue, self._clock.now
        if queue is None:
            action(*arguments)
        elif self._is_held or queue or now < self._busy_until:
            if len(queue) < QUEUE_MAX:
                queue.append((action, arguments))
                self._drain_later()
            else:
                self.dropped += 1
        else:
            self._busy_until = now + self._service_s
            action(*arguments)

    def hold(self) -> None:
        """Stop: arrivals wait."""
        self._is_held = True
        if self.queue is None:
            self.queue = deque()

    def release(self) -> None:
        """Go on with what waits; without a service time all of it now."""
        self._is_held = False
        self._busy_until = self._clock.now
        self._drain()

    def end(self) -> None:
        """Forget what waits."""
        self._is_held = True
        self.queue = deque()

    def _drain_later(self) -> None:
        if not self._is_held and not self._is_draining:
            self._is_draining = True
            delay_s = max(0.0, self._busy_until - self._clock.now)
            self._clock.post(delay_s, self._drain_next)

    def _drain_next(self) -> None:
        self._is_draining = False
        self._drain()

    def _drain(self) -> None:
        queue = self.queue
        while queue and not self._is_held:
            if self._clock.now < self._busy_until:
                self._drain_later()
                return
            action, arguments = queue.popleft()
            self._busy_until = self._clock.now + self._service_s
            action(*arguments)
        if not queue and not self._service_s and not self._is_held:
            self.queue = None
