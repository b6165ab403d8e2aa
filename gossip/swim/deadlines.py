"""The machines' timers: what is due when, and who is to be told.

The shell sees one number, the earliest deadline; it arms one timer for it.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from math import inf

Action = Callable[[float], None]


class Deadline:
    """One timer, to be armed with `Deadlines.arm`, again and again if need be."""

    __slots__ = ("action", "at", "number")

    def __init__(self) -> None:
        self.at = inf
        self.action: Action | None = None
        self.number = 0
        """That of its latest arming, 0 when it is not armed. Entries of the heap with another one
        are out of date."""

    @property
    def is_armed(self) -> bool:
        return self.number > 0


class Deadlines:
    """A heap of deadlines; equal instants run in the order in which they were armed.

    Entries out of date are swept out once they outnumber the others, so the heap stays
    proportional to what is armed. Invariant: the first of the heap is not out of date.
    """

    def __init__(self) -> None:
        self.next_at = inf
        """The earliest armed instant, infinity when nothing is armed. It is asked for after every
        input, which is far more often than it changes."""
        self._heap: list[tuple[float, int, Deadline]] = []
        self._order = count(1)
        self._out_of_date = 0

    def __len__(self) -> int:
        """How many entries are held, those out of date that are not yet swept out included."""
        return len(self._heap)

    def call_at(self, at: float, action: Action) -> Deadline:
        """Call `action(now)` at the first `run_due` from `at` on."""
        deadline = Deadline()
        self.arm(deadline, at, action)
        return deadline

    def arm(self, deadline: Deadline, at: float, action: Action) -> None:
        """Have a deadline call `action(now)` at the first `run_due` from `at` on.

        Whatever it was armed for before is called off.
        """
        heap = self._heap
        before, number = deadline.number, next(self._order)
        deadline.at, deadline.action, deadline.number = at, action, number
        if before and heap[0][1] == before:
            # The first: so it is when an ack ends the wait for it.
            heapreplace(heap, (at, number, deadline))
            self._find_next()
            return
        heappush(heap, (at, number, deadline))
        if at < self.next_at:
            self.next_at = at
        if before:
            self._note_out_of_date()

    def cancel(self, deadline: Deadline) -> None:
        """Do not run it. Cancelling one that has run, or twice, does nothing."""
        if deadline.number:
            deadline.action, deadline.number = None, 0
            self._note_out_of_date()
            self._find_next()

    def run_due(self, now: float) -> None:
        """Run everything due up to `now`, also what that arms for `now` or before."""
        while self.next_at <= now:
            deadline = heappop(self._heap)[2]
            action = deadline.action
            deadline.action, deadline.number = None, 0
            self._find_next()
            assert action is not None
            action(now)

    def _note_out_of_date(self) -> None:
        self._out_of_date += 1
        if self._out_of_date > 64 and self._out_of_date * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].number]
            heapify(self._heap)
            self._out_of_date = 0

    def _find_next(self) -> None:
        heap = self._heap
        while heap:
            at, number, deadline = heap[0]
            if number == deadline.number:
                self.next_at = at
                return
            heappop(heap)
            self._out_of_date -= 1
        self.next_at = inf
