"""Coalescing: of many user events with one name, a burst shows its user the last only (10.10).

A local matter of presentation, for events whose sender allowed it; the wire never sees it.
"""

from collections.abc import Callable

from gossip.serf.events import UserEventReceived
from gossip.swim.deadlines import Deadline, Deadlines

NAMES_MAX = 1024
"""Names held back at once; one more ends the burst."""


class EventCoalescer:
    """Holds events back until none has come for `quiet_s`, or `period_s` after the first.

    Invariant: while events are held, a deadline at the end of their burst is armed.
    """

    def __init__(
        self,
        *,
        period_s: float,
        quiet_s: float,
        deadlines: Deadlines,
        emit: Callable[[UserEventReceived], None],
    ) -> None:
        self._period_s, self._quiet_s = period_s, quiet_s
        self._deadlines, self._emit = deadlines, emit
        self._held: dict[str, list[UserEventReceived]] = {}
        """By name the events of the highest Lamport time, all of them."""
        self._ends_at = 0.0
        self._end: Deadline | None = None

    def take(self, event: UserEventReceived, *, now: float) -> None:
        """Take an event that may be coalesced."""
        if not self._held:
            self._ends_at = now + self._period_s
        held = self._held.get(event.name)
        if held is None or held[0].ltime < event.ltime:
            self._held[event.name] = [event]
        elif held[0].ltime == event.ltime:
            held.append(event)
        if len(self._held) > NAMES_MAX:
            self._flush(now)
            return
        if self._end is not None:
            self._deadlines.cancel(self._end)
        self._end = self._deadlines.call_at(min(now + self._quiet_s, self._ends_at), self._flush)

    def _flush(self, _now: float) -> None:
        if self._end is not None:
            self._deadlines.cancel(self._end)
            self._end = None
        held, self._held = self._held, {}
        for events in held.values():
            for event in events:
                self._emit(event)
