"""How late the event loop runs what is due: the measure of our own process's health.

Callbacks that block, a busy machine and a stopped process all look alike from here, and to the
other members: as a member that is slow.

A `WatchedEventLoop` sees every turn of its own, without ever waking up for it. On another loop a
timer looks five times a second.
"""

import asyncio
import time
from collections.abc import Callable
from selectors import DefaultSelector, SelectorKey
from typing import Final, Protocol

OnLate = Callable[[float], None]

TICK_S: Final = 0.2
"""How often a loop is looked at that does not watch itself; a stall is measured to within this."""

LATE_S_MIN: Final = 0.005
"""Lateness below this is no stall, but the turn of somebody else."""

WINDOW_S: Final = 30.0
"""The worst delay is that of the last one or two windows."""


class Source(Protocol):
    """What tells of delays of `LATE_S_MIN` and more."""

    def listen(self, on_late: OnLate) -> None: ...
    def forget(self, on_late: OnLate) -> None: ...


class WatchedSelector(DefaultSelector):
    """Waits for the loop, and measures what happens between its waits and how late they end.

    A turn of the loop that took long has kept everybody else waiting; a wait that ended later than
    was asked means that the process did not run.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._listeners: list[OnLate] = []
        self._clock = clock
        self._returned_at = clock()

    def listen(self, on_late: OnLate) -> None:
        """Call `on_late` with each delay in seconds."""
        self._listeners.append(on_late)

    def forget(self, on_late: OnLate) -> None:
        """Call it no more."""
        self._listeners.remove(on_late)

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait as any selector does."""
        began_at = self._clock()
        if began_at - self._returned_at >= LATE_S_MIN and self._listeners:
            self._tell(began_at - self._returned_at)
            # The loop had decided how long to wait before the listeners gave it something to do.
            timeout = 0.0
        ready = super().select(timeout)
        self._returned_at = ended_at = self._clock()
        if timeout is not None and ended_at - began_at - max(0.0, timeout) >= LATE_S_MIN:
            self._tell(ended_at - began_at - max(0.0, timeout))
        return ready

    def _tell(self, late_s: float) -> None:
        for on_late in self._listeners:
            on_late(late_s)


class WatchedEventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with a selector that measures it."""

    def __init__(self) -> None:
        self.watched = WatchedSelector()
        super().__init__(self.watched)


class Ticks:
    """Looks at any other loop by a timer that should be punctual, while somebody listens."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._listeners: list[OnLate] = []
        self._timer: asyncio.TimerHandle | None = None

    def listen(self, on_late: OnLate) -> None:
        self._listeners.append(on_late)
        if self._timer is None:
            self._arm()

    def forget(self, on_late: OnLate) -> None:
        self._listeners.remove(on_late)
        if not self._listeners and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        assert self._timer is not None
        late_s = self._loop.time() - self._timer.when()
        self._arm()
        if late_s >= LATE_S_MIN:
            for on_late in self._listeners:
                on_late(late_s)


class LoopMonitor:
    """Watches the running loop until it is closed; `on_late` gets each delay in seconds."""

    def __init__(self, on_late: OnLate) -> None:
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._source: Source = (
            self._loop.watched if isinstance(self._loop, WatchedEventLoop) else Ticks(self._loop)
        )
        self._source.listen(self._note)
        self._worst_s = self._worst_before_s = 0.0
        self._window_ends_at = self._loop.time() + WINDOW_S

    @property
    def worst_s(self) -> float:
        """The worst delay of late."""
        self._turn_window()
        return max(self._worst_s, self._worst_before_s)

    def close(self) -> None:
        """Watch no more."""
        self._source.forget(self._note)

    def _note(self, late_s: float) -> None:
        self._turn_window()
        self._worst_s = max(self._worst_s, late_s)
        # Not from within the selector: what it raises is the loop's to report.
        self._loop.call_soon(self._on_late, late_s)

    def _turn_window(self) -> None:
        now = self._loop.time()
        if now >= self._window_ends_at:
            is_next = now < self._window_ends_at + WINDOW_S
            self._worst_before_s, self._worst_s = (self._worst_s if is_next else 0.0), 0.0
            self._window_ends_at = now + WINDOW_S
