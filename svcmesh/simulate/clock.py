"""Virtual time: a heap of what is to happen, run in order, as fast as the machine can.

Equal instants run in the order in which they were scheduled, so one seed gives one history.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class Timer:
    """A scheduled callback. Cancelling one that has run does nothing."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not run it."""
        self.callback = None

    def __call__(self) -> None:
        """Run it, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class VirtualClock:
    """Seconds since the start of a simulation, moved on by running what is due.

    Invariant: `now` never goes back; nothing in the heap is due before it.
    """

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        # The arguments stand beside their action: a closure for every packet would cost more than
        # the heap does.
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Schedule `callback`; an instant in the past means at once, after what is due now."""
        timer = Timer(callback)
        self.post_at(when, timer)
        return timer

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Schedule `callback` for `delay_s` seconds from now."""
        return self.call_at(self.now + delay_s, callback)

    def post(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401  # passed through to `action`
        """Schedule what nobody will cancel: `action(*arguments)`, `delay_s` >= 0 from now."""
        heapq.heappush(self._heap, (self.now + delay_s, next(self._order), action, arguments))

    def post_at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401  # as above
        """The same at an instant; one in the past means at once."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._order), action, arguments))

    def run_until(self, end: float) -> None:
        """Run everything due up to and including `end`, then stand at `end`."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, action, arguments = pop(heap)
            action(*arguments)
        self.now = max(self.now, end)

    def run_for(self, duration_s: float) -> None:
        """Run the next `duration_s` seconds."""
        self.run_until(self.now + duration_s)
