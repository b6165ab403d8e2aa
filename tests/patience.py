"""An event loop whose clock does not count what a busy machine takes from it.

Tests run with short timeouts, so that they are quick. A process that gets no CPU for a moment would
find all of them over at once when it goes on: leases lost, peers failed, calls given up, and
nothing of that says anything about the code. Here the clock goes on by no more than was to be
waited for and a little, so what should have happened within a time still does.
"""

import asyncio
import selectors
import time

LATE_S_MAX = 0.01
"""How much later than asked for a wait may end, and how long what is done in between may take."""


class PatientSelector(selectors.DefaultSelector):
    """Tells `clock` how long it was to wait, and that it did."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnClock()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.clock.begin_wait()
        try:
            return super().select(timeout)
        finally:
            self.clock.end_wait(timeout)


class TurnClock:
    """Monotonic seconds, less those in which nobody could do anything."""

    def __init__(self) -> None:
        self._real_at = self._own_at = time.monotonic()
        """When it was looked at last, by the system's clock and by ours."""

    def now(self) -> float:
        self._go_on(LATE_S_MAX)
        return self._own_at

    def begin_wait(self) -> None:
        self._go_on(LATE_S_MAX)

    def end_wait(self, timeout_s: float | None) -> None:
        self._go_on(float("inf") if timeout_s is None else max(0.0, timeout_s) + LATE_S_MAX)

    def _go_on(self, s_max: float) -> None:
        # Another thread may have looked later.
        real_at = max(time.monotonic(), self._real_at)
        self._own_at += min(real_at - self._real_at, s_max)
        self._real_at = real_at


class PatientLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = PatientSelector()
        self._clock = selector.clock
        super().__init__(selector)

    def time(self) -> float:
        return self._clock.now()


class PatientPolicy(asyncio.DefaultEventLoopPolicy):
    """`asyncio.run` takes a patient loop."""

    _loop_factory = PatientLoop
