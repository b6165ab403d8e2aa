"""Which user events and queries were seen already (10.10, 10.11).

Both are rings over Lamport time: what is older than the ring is too old to be judged, and refused.
"""

from dataclasses import dataclass, field

from gossip.serf import drops
from gossip.types import LamportTime
from gossip.wire.limits import EVENT_BYTES_MAX, EVENTS_PER_SLOT_MAX
from gossip.wire.messages import Query, UserEvent, UserEventEntry, UserEventSlot

EVENTS_BYTES_MAX = 4 * 1024 * 1024
"""All remembered events together; push/pulls carry them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a ring says of a message: new, or why not."""

    is_new: bool
    drop_reason: str | None = None
    """None also for duplicates, which are ordinary."""


_NEW = Seen(True)
_DUPLICATE = Seen(False)


def _is_too_old(ltime: LamportTime, clock: LamportTime, slots: int) -> bool:
    return clock > slots and ltime < clock - slots


@dataclass(slots=True)
class _EventSlot:
    ltime: LamportTime
    entries: list[UserEventEntry] = field(default_factory=list)
    entries_bytes: int = 0


class EventRing:
    """The user events of the last `slots` Lamport times.

    Invariants: at most `slots` slots of at most 256 events, `EVENTS_BYTES_MAX` bytes in all. Slots
    that had to go early make everything up to their time too old, so nothing is taken twice.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._ring: dict[int, _EventSlot] = {}
        self._bytes = 0
        self._ltime_min = LamportTime(0)
        self._said: tuple[UserEventSlot, ...] | None = None
        """`slots`, until there is something new."""

    def ignore_before(self, ltime: LamportTime) -> None:
        """Refuse everything older than `ltime` from now on."""
        self._ltime_min = max(self._ltime_min, ltime)

    def see(self, event: UserEvent, *, clock: LamportTime) -> Seen:
        """Judge and remember an event; `clock` has witnessed it."""
        if event.ltime < self._ltime_min or _is_too_old(event.ltime, clock, self._slots):
            return Seen(False, drops.EVENT_TOO_OLD)
        entry = UserEventEntry(event.name, event.payload)
        entry_bytes = len(event.name.encode(errors="surrogateescape")) + len(event.payload)
        if entry_bytes > EVENT_BYTES_MAX:
            return Seen(False, drops.EVENT_TOO_LARGE)
        place = event.ltime % self._slots
        slot = self._ring.get(place)
        if slot is None or slot.ltime != event.ltime:
            self._drop(place)
            slot = self._ring[place] = _EventSlot(event.ltime)
        elif entry in slot.entries:
            return _DUPLICATE
        elif len(slot.entries) >= EVENTS_PER_SLOT_MAX:
            return Seen(False, drops.EVENT_SLOT_FULL)
        self._said = None
        slot.entries.append(entry)
        slot.entries_bytes += entry_bytes
        self._bytes += entry_bytes
        while self._bytes > EVENTS_BYTES_MAX:
            self._drop_oldest()
        return _NEW

    def slots(self) -> tuple[UserEventSlot, ...]:
        """Everything remembered, as a push/pull carries it (10.8); the same until that changes."""
        if self._said is None:
            self._said = tuple(
                UserEventSlot(slot.ltime, tuple(slot.entries))
                for _, slot in sorted(self._ring.items(), key=lambda item: item[0])
            )
        return self._said

    def _drop_oldest(self) -> None:
        place = min(self._ring, key=lambda place: self._ring[place].ltime)
        self.ignore_before(LamportTime(self._ring[place].ltime + 1))
        self._drop(place)

    def _drop(self, place: int) -> None:
        slot = self._ring.pop(place, None)
        if slot is not None:
            self._said = None
            self._bytes -= slot.entries_bytes


@dataclass(slots=True)
class _QuerySlot:
    ltime: LamportTime
    ids: set[int] = field(default_factory=set)


class QueryRing:
    """The ids of the queries of the last `slots` Lamport times, at most 256 for each time."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._ring: dict[int, _QuerySlot] = {}
        self._ltime_min = LamportTime(0)

    def ignore_before(self, ltime: LamportTime) -> None:
        """Refuse everything older than `ltime` from now on."""
        self._ltime_min = max(self._ltime_min, ltime)

    def see(self, query: Query, *, clock: LamportTime) -> Seen:
        """Judge and remember a query; `clock` has witnessed it."""
        if query.ltime < self._ltime_min or _is_too_old(query.ltime, clock, self._slots):
            return Seen(False, drops.QUERY_TOO_OLD)
        place = query.ltime % self._slots
        slot = self._ring.get(place)
        if slot is None or slot.ltime != query.ltime:
            slot = self._ring[place] = _QuerySlot(query.ltime)
        elif query.id in slot.ids:
            return _DUPLICATE
        elif len(slot.ids) >= EVENTS_PER_SLOT_MAX:
            return Seen(False, drops.QUERY_SLOT_FULL)
        slot.ids.add(query.id)
        return _NEW
