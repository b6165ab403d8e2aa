"""Keeps the garbage collector's full passes short.

A full pass goes over every object that it has not been told to leave alone: 70 ms and more over the
records of a large catalog, in which the event loop stands. Catalog rows free themselves when they
go; what a long pass went over is therefore mostly there to stay, and is frozen: later passes leave
it out. Cycles among frozen objects stay until the end; they are as rare as long passes, whose
number grows with the logarithm of the catalog's size.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PASS_S_MAX: Final = 0.005
"""A full pass that took longer was over too much."""

_FULL: Final = 2
"""The oldest generation, in which a pass is a full one."""


@contextmanager
def paused() -> Iterator[None]:
    """Keep the collector still while a great many objects are made that are there to stay.

    It would go over all of them again and again; afterwards they are frozen.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()


class CollectorWatch:
    """Freezes what is there to stay, from `start` to `stop`; one of it runs in a process."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.full_passes = self.freezes = 0
        self.longest_pass_s = 0.0
        self._clock = clock
        self._began_at = 0.0

    def start(self) -> None:
        """Freeze what is there, and watch the collector from now on."""
        gc.freeze()
        gc.callbacks.append(self._on_pass)

    def stop(self) -> None:
        """Let the collector be."""
        if self._on_pass in gc.callbacks:
            gc.callbacks.remove(self._on_pass)
            gc.unfreeze()

    def _on_pass(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] != _FULL:
            return
        now = self._clock()
        if phase == "start":
            self._began_at = now
            return
        took_s = now - self._began_at
        self.full_passes += 1
        self.longest_pass_s = max(self.longest_pass_s, took_s)
        if took_s > PASS_S_MAX:
            gc.freeze()
            self.freezes += 1
