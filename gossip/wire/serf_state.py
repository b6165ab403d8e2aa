"""Serf's state in a push/pull (gossip protocol, 10.8), the one Serf message that can be large.

It is read piece by piece rather than unpacked as a whole: its arrays may be as long as the pool
is large, and a general bound that high would let nested arrays reserve gigabytes.
"""

from collections.abc import Callable
from typing import Final, TypeVar, cast

from msgpack import Unpacker

from gossip.errors import DecodeError
from gossip.types import LamportTime, MemberName
from gossip.wire import limits, reasons
from gossip.wire.body import blob, fields_untrusted, items, new_unpacker, pack, text, u64
from gossip.wire.fields import member_name
from gossip.wire.messages import SerfState, UserEventEntry, UserEventSlot

T = TypeVar("T")
_NIL: Final = 0xC0
_ltime: Final = cast("Callable[[object], LamportTime]", u64)
_LONG_MAPS: Final = {0xDE: 2, 0xDF: 4}
"""How long a count follows their first byte (msgpack: map 16, map 32)."""
_SLOT: Final = (b"LTime", b"Events")
_EVENT: Final = (b"Name", b"Payload")
_FIELDS: Final = (
    b"LTime",
    b"StatusLTimes",
    b"LeftMembers",
    b"EventLTime",
    b"Events",
    b"QueryLTime",
)


def encode_state(state: SerfState) -> bytes:
    """Encode the body. Only used event slots are written; a short array is fine."""
    events = [
        {
            "Events": [{"Name": e.name, "Payload": e.payload or None} for e in slot.events],
            "LTime": slot.ltime,
        }
        for slot in state.events
    ]
    return pack(
        {
            "EventLTime": state.event_ltime,
            "Events": events,
            "LTime": state.ltime,
            "LeftMembers": list(state.left_members),
            "QueryLTime": state.query_ltime,
            "StatusLTimes": state.status_ltimes,
        }
    )


def decode_state_untrusted(data: bytes) -> SerfState:
    """Read the body.

    Names that are too long, slots and events beyond the bounds of section 14.3 are left out: one
    member's excess must not keep us from the rest of the pool's state.

    Raises:
        DecodeError: It is undecodable, or names more members than any pool has.
    """
    try:
        return _StateReader(data).read()
    except DecodeError:
        raise
    except Exception as error:  # msgpack has no common root for what bad input makes it raise
        raise DecodeError(reasons.BAD_BODY, repr(error)) from error


class _StateReader:
    """Walks one body; every array and map of it is counted before it is read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unpacker: Unpacker = new_unpacker(max(len(data), 1))
        self._unpacker.feed(data)
        self._ltime = self._event_ltime = self._query_ltime = LamportTime(0)
        self._status_ltimes: dict[MemberName, LamportTime] = {}
        self._left_members: tuple[MemberName, ...] = ()
        self._events: tuple[UserEventSlot, ...] = ()

    def read(self) -> SerfState:
        if self._next_is_array():
            count = self._unpacker.read_array_header()
            for name in _FIELDS[:count]:
                self._read_field(name)
        else:
            for _ in range(self._unpacker.read_map_header()):
                self._read_field(self._unpacker.unpack())
        return SerfState(
            ltime=self._ltime,
            status_ltimes=self._status_ltimes,
            left_members=self._left_members,
            event_ltime=self._event_ltime,
            events=self._events,
            query_ltime=self._query_ltime,
        )

    def _read_field(self, name: object) -> None:
        unpack: Callable[[], object] = self._unpacker.unpack
        match name:
            case b"LTime":
                self._ltime = LamportTime(u64(unpack()))
            case b"EventLTime":
                self._event_ltime = LamportTime(u64(unpack()))
            case b"QueryLTime":
                self._query_ltime = LamportTime(u64(unpack()))
            case b"StatusLTimes":
                self._status_ltimes = self._read_status_ltimes()
            case b"LeftMembers":
                self._left_members = self._read_left_members()
            case b"Events":
                self._events = self._read_events()
            case _:
                self._unpacker.skip()

    def _read_status_ltimes(self) -> dict[MemberName, LamportTime]:
        if self._skipped_nil():
            return {}
        self._bounded(self._map_count())
        # All in one: entry by entry takes four times as long, and it is most of a large state.
        # Other than an array, a map reserves nothing for what it only announces.
        table = self._unpacker.unpack()
        return {
            member_name(name): _ltime(ltime)
            for name, ltime in table.items()
            if type(name) is not bytes or len(name) <= limits.NAME_BYTES_MAX
        }

    def _map_count(self) -> int:
        """How many entries the map has that comes next; it stays unread."""
        byte, at = self._next_byte(), self._unpacker.tell() + 1
        if byte in _LONG_MAPS:
            return int.from_bytes(self._data[at : at + _LONG_MAPS[byte]], "big")
        if byte is not None and 0x80 <= byte <= 0x8F:
            return byte & 0x0F
        raise DecodeError(reasons.BAD_FIELD, "not a map")

    def _read_left_members(self) -> tuple[MemberName, ...]:
        if self._skipped_nil():
            return ()
        count = self._bounded(self._unpacker.read_array_header())
        names = [self._unpacker.unpack() for _ in range(count)]
        return tuple(MemberName(text(name)) for name in names if not _is_too_long(name))

    def _read_events(self) -> tuple[UserEventSlot, ...]:
        if self._skipped_nil():
            return ()
        slots = []
        for index in range(self._unpacker.read_array_header()):
            if index >= limits.EVENT_SLOTS_MAX:
                self._unpacker.skip()
            elif (slot := self._unpacker.unpack()) is not None:
                slots.append(_slot(slot))
        return tuple(slots)

    def _next_byte(self) -> int | None:
        position = self._unpacker.tell()
        return self._data[position] if position < len(self._data) else None

    def _next_is_array(self) -> bool:
        byte = self._next_byte()
        return byte is not None and (0x90 <= byte <= 0x9F or byte in (0xDC, 0xDD))

    def _skipped_nil(self) -> bool:
        is_nil = self._next_byte() == _NIL
        if is_nil:
            self._unpacker.skip()
        return is_nil

    @staticmethod
    def _bounded(count: int) -> int:
        if count > limits.STATUS_LTIMES_MAX:
            raise DecodeError(reasons.TOO_MANY_NAMES, f"{count} names")
        return count


def _is_too_long(name: object) -> bool:
    return type(name) is bytes and len(name) > limits.NAME_BYTES_MAX


def _slot(body: object) -> UserEventSlot:
    ltime, events = fields_untrusted(body, _SLOT)[:2]
    entries = []
    for event in items(events)[: limits.EVENTS_PER_SLOT_MAX]:
        name, payload = fields_untrusted(event, _EVENT)[:2]
        entry = UserEventEntry(text(name), blob(payload))
        if len(entry.name.encode("utf-8", "surrogateescape")) + len(entry.payload) <= (
            limits.EVENT_BYTES_MAX
        ):
            entries.append(entry)
    return UserEventSlot(LamportTime(u64(ltime)), tuple(entries))
