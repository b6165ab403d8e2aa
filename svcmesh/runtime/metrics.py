"""The asyncio shell around the agent's metrics: their intervals, and the event loop's stalls."""

import asyncio
import time

from gossip import LoopMonitor
from svcmesh.metrics import INTERVAL_S, Metrics


class MetricsRuntime:
    """Ends intervals and counts stalls, from `start` to `close`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._monitor = LoopMonitor(self._note_stall)
        self._timer = self._loop.call_later(INTERVAL_S, self._turn)

    def close(self) -> None:
        """Stop measuring."""
        self._monitor.close()
        self._timer.cancel()

    def _note_stall(self, late_s: float) -> None:
        self._metrics.sample("runtime.loop_stall", late_s * 1000)

    def _turn(self) -> None:
        self._metrics.end_interval(now_utc=time.time())
        self._timer = self._loop.call_later(INTERVAL_S, self._turn)
