"""How late the event loop runs what is due: the measure of our own process's health.

Callbacks that block, a busy machine and a stopped process all look alike from here, and to the
other members: as a member that is slow.
"""

import asyncio
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.2
"""How often the loop is looked at; a stall is measured to within this."""
WINDOW_TICKS: Final = 150
"""The worst delay is that of the last half to whole minute."""


class LoopMonitor:
    """Measures from its creation on until it is closed; `on_late` gets each delay in seconds."""

    def __init__(self, on_late: Callable[[float], None]) -> None:
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._ticks = 0
        self._worst_s = self._worst_before_s = 0.0
        self._due_at = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(self._due_at, self._tick)

    @property
    def worst_s(self) -> float:
        """The worst delay of late."""
        return max(self._worst_s, self._worst_before_s)

    def close(self) -> None:
        self._timer.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        late_s = now - self._due_at
        self._ticks += 1
        if self._ticks % WINDOW_TICKS == 0:
            self._worst_before_s, self._worst_s = self._worst_s, 0.0
        self._worst_s = max(self._worst_s, late_s)
        self._due_at = now + TICK_S
        self._timer = self._loop.call_at(self._due_at, self._tick)
        self._on_late(late_s)
