"""The machines' timers: what is due when, and who is to be told.

The shell sees one number, the earliest deadline; it arms one timer for it.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf


class Deadline:
    """One armed timer."""

    __slots__ = ("_owner", "action", "at")

    def __init__(self, at: float, action: Callable[[float], None], owner: "Deadlines") -> None:
        self.at = at
        self.action: Callable[[float], None] | None = action
        """None when it was cancelled or has run."""
        self._owner = owner

    @property
    def is_armed(self) -> bool:
        return self.action is not None

    def cancel(self) -> None:
        """Do not run it. Cancelling one that has run, or twice, does nothing."""
        if self.action is not None:
            self.action = None
            self._owner.note_cancelled(self.at)


class Deadlines:
    """A heap of deadlines; equal instants run in the order in which they were armed.

    Cancelled ones are swept out once they outnumber the armed ones, so the heap stays
    proportional to what is armed. Invariant: the first of the heap is armed.
    """

    def __init__(self) -> None:
        self.next_at = inf
        """The earliest armed instant, infinity when nothing is armed. It is asked for after every
        input, which is far more often than it changes."""
        self._heap: list[tuple[float, int, Deadline]] = []
        self._order = count()
        self._cancelled = 0

    def __len__(self) -> int:
        """How many are held, cancelled ones that are not yet swept out included."""
        return len(self._heap)

    def arm(self, at: float, action: Callable[[float], None]) -> Deadline:
        """Call `action(now)` at the first `run_due` from `at` on."""
        deadline = Deadline(at, action, self)
        heappush(self._heap, (at, next(self._order), deadline))
        if at < self.next_at:
            self.next_at = at
        return deadline

    def run_due(self, now: float) -> None:
        """Run everything due up to `now`, also what that arms for `now` or before."""
        while self.next_at <= now:
            deadline = heappop(self._heap)[2]
            self._find_next()
            action, deadline.action = deadline.action, None
            assert action is not None
            action(now)

    def note_cancelled(self, at: float) -> None:
        self._cancelled += 1
        if at == self.next_at:
            self._find_next()
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].is_armed]
            heapify(self._heap)
            self._cancelled = 0

    def _find_next(self) -> None:
        heap = self._heap
        while heap and heap[0][2].action is None:
            heappop(heap)
            self._cancelled -= 1
        self.next_at = heap[0][0] if heap else inf
