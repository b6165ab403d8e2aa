"""Finished responses by the bytes of the query, bounded in number and size. No I/O.

A key is what a query says apart from its id, so that a hit costs one look-up and no decoding. What
has changed since is noticed by the stamp of the directory, when the entry is next asked for.

There are two generations. New entries go into the young one; when that is full it becomes the old
one, and what is asked for again is carried over. So entries in use stay, at no cost per hit, and a
flood of names that are asked once passes through.
"""

import math
from collections.abc import Iterator
from typing import Final

from dnsserver.directory import Stamp
from dnsserver.schedule import RowSchedule, Schedule

ENTRIES_MAX: Final = 16384
BYTES_MAX: Final = 64 * 1024 * 1024
SCHEDULE_BYTES_MAX: Final = BYTES_MAX // 4
"""Of one entry: ten thousand responses of the size that resolvers offer, 1,232 bytes."""

Key = bytes | tuple[bytes]
"""What was asked, without its id; in a tuple when over TCP. No datagram is a tuple, whatever it has
in it, so none is answered with what is large because it was meant for a connection."""

_ENTRY_BYTES: Final = 600
"""What an entry takes besides its responses, about."""


class Entry:
    """The responses to one question, without their ids."""

    __slots__ = (
        "expires_at_utc", "has_opt", "is_cut", "is_for_subnet", "rcode", "responses", "schedule",
        "sized", "stamp",
    )  # fmt: skip

    schedule: Schedule | RowSchedule
    """What makes the responses; set before any is asked for."""

    def __init__(self, stamp: Stamp) -> None:
        self.stamp, self.expires_at_utc = stamp, math.inf
        self.responses: Iterator[bytes] = iter(())
        """The next ones to hand out; the schedule has more."""
        self.rcode = 0
        self.is_cut = False
        """Whether responses leave something out."""
        self.has_opt = False
        """Whether responses end with an OPT record without options."""
        self.is_for_subnet = False
        """Whether the client's subnet is echoed as what responses are meant for."""
        self.sized = 0
        """What the cache has counted of it."""

    def next_response(self) -> bytes:
        """Return the next response."""
        response = next(self.responses, None)
        if response is None:
            self.responses = self.schedule.refill()
            response = next(self.responses)
        return response


class AnswerCache:
    """Entries by key."""

    __slots__ = ("_bytes", "_old", "young")

    def __init__(self) -> None:
        self.young: dict[Key, Entry] = {}
        """Where to look first. An entry there may be out of date: `find` knows."""
        self._old: dict[Key, Entry] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """The number of entries."""
        return len(self.young.keys() | self._old.keys())

    def find(self, key: Key, *, now_utc: float) -> Entry | None:
        """Return the entry of this key if it still holds."""
        entry = self.young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            if entry.stamp.is_current and now_utc < entry.expires_at_utc:
                self.keep(key, entry)
                return entry
            return None
        return entry if entry.stamp.is_current and now_utc < entry.expires_at_utc else None

    def keep(self, key: Key, entry: Entry) -> None:
        """Add an entry, or count again what it takes when it has grown."""
        taken = _ENTRY_BYTES + entry.schedule.bytes_kept
        held = self.young.get(key)
        if held is not entry:
            if held is not None:
                self._bytes -= held.sized
            elif len(self.young) >= ENTRIES_MAX // 2:
                self._age()
            self.young[key] = entry
            entry.sized = 0
        self._bytes += taken - entry.sized
        entry.sized = taken
        if self._bytes > BYTES_MAX // 2:
            self._age()

    def _age(self) -> None:
        self._old, self.young, self._bytes = self.young, {}, 0
