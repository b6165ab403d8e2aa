"""The asyncio shell around the agent's metrics: their intervals, and the event loop's stalls."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from svcmesh.metrics import INTERVAL_S, Metrics

STALL_TICK_S: Final = 0.1
"""How often the loop is looked at: of stalls shorter than this only a share is seen. Looking every
20 ms was half of what an idle agent costs."""

STALL_S_MIN: Final = 0.005
"""Lateness below this is no stall, but the turn of somebody else."""


class MetricsRuntime:
    """Ends intervals and measures stalls, from `start` to `close`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._due_at = self._loop.time()
        self._tick()
        self._timers[self._turn] = self._loop.call_later(INTERVAL_S, self._turn)

    def close(self) -> None:
        """Stop measuring."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _tick(self) -> None:
        now = self._loop.time()
        late_s = now - self._due_at
        if late_s >= STALL_S_MIN:
            self._metrics.sample("runtime.loop_stall", late_s * 1000)
        # From now, so that one stall is not seen again as many.
        self._due_at = now + STALL_TICK_S
        self._timers[self._tick] = self._loop.call_at(self._due_at, self._tick)

    def _turn(self) -> None:
        self._metrics.end_interval(now_utc=time.time())
        self._timers[self._turn] = self._loop.call_later(INTERVAL_S, self._turn)
