"""Virtual time: what is to happen, run in order, as fast as the machine can.

Equal instants run in the order in which they were scheduled, so one seed gives one history.

A heap holds the next moments only. What comes later waits unsorted, by slots of time, and is
sorted when its slot comes: most of it is timeouts, which are cancelled long before.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Final

SLOT_S: Final = 1 / 16
"""A power of two, so that every instant is in one slot exactly, whatever rounding does."""

Entry = list[Any]
"""When, the number of its posting, what to call (None once cancelled), the arguments: those stand
beside their action, because a closure for every packet would cost more than the heap does."""


def cancel(entry: Entry) -> None:
    """Do not run it. Doing so to one that has run does nothing."""
    entry[2] = None


class Timer:
    """A scheduled callback. Cancelling one that has run does nothing."""

    __slots__ = ("_entry",)

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def cancel(self) -> None:
        """Do not run it."""
        cancel(self._entry)


class VirtualClock:
    """Seconds since the start of a simulation, moved on by running what is due.

    Invariants: `now` never goes back; what is due before the horizon is in the heap, everything
    else in a slot behind it.
    """

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        self._horizon = start
        self._near: list[Entry] = []
        self._later: dict[int, list[Entry]] = {}
        self._slots: list[int] = []
        """A heap of the keys of `_later`."""
        self._order = count()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Schedule `callback`; an instant in the past means at once, after what is due now."""
        return Timer(self.enter(max(when, self.now), callback, ()))

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Schedule `callback` for `delay_s` seconds from now."""
        return self.call_at(self.now + delay_s, callback)

    def post(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401  # passed through to `action`
        """Schedule what nobody will cancel: `action(*arguments)`, `delay_s` >= 0 from now."""
        self.enter(self.now + delay_s, action, arguments)

    def post_at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401  # as above
        """The same at an instant; one in the past means at once."""
        self.enter(max(when, self.now), action, arguments)

    def enter(self, at: float, action: Callable[..., None], arguments: tuple[Any, ...]) -> Entry:
        """Schedule `action(*arguments)` for a finite instant, not in the past.

        The plainest of these, for every packet and every member's timer. The entry may be
        taken back by `cancel`.
        """
        entry = [at, next(self._order), action, arguments]
        if at < self._horizon:
            heappush(self._near, entry)
        else:
            number = int(at / SLOT_S)
            slot = self._later.get(number)
            if slot is None:
                slot = self._later[number] = []
                heappush(self._slots, number)
            slot.append(entry)
        return entry

    def run_until(self, end: float) -> None:
        """Run everything due up to and including `end`, then stand at `end`."""
        near = self._near
        while near or self._open_slot(end):
            entry = heappop(near)
            at, _, action, arguments = entry
            if at > end:
                heappush(near, entry)
                break
            if action is not None:
                self.now = at
                action(*arguments)
        self.now = max(self.now, end)

    def run_for(self, duration_s: float) -> None:
        """Run the next `duration_s` seconds."""
        self.run_until(self.now + duration_s)

    def _open_slot(self, end: float) -> bool:
        """Sort the next slot that is not empty and begins by `end`; False if there is none."""
        while self._slots and self._slots[0] * SLOT_S <= end:
            slot = heappop(self._slots)
            self._horizon = (slot + 1) * SLOT_S
            self._near += [entry for entry in self._later.pop(slot) if entry[2] is not None]
            if self._near:
                heapify(self._near)
                return True
        return False
