"""What members say at Serf's level: judged by Lamport time, applied, handed on (10.3-10.12).

Rumors are handed on as the bytes that came, so that members of any version see them unchanged.
Member statuses are kept in `members.py`; when we leave is decided in `machine.py`.
"""

from collections.abc import Callable, Iterable

from gossip.config import SerfConfig
from gossip.errors import DecodeError, TooLargeError
from gossip.serf import drops
from gossip.serf.coalescing import EventCoalescer
from gossip.serf.events import Effect, UserEventReceived, UserPayloadReceived
from gossip.serf.internal import InternalQueries
from gossip.serf.lamport import LamportClock, LamportTimes
from gossip.serf.members import Members
from gossip.serf.queries import NO_REBROADCAST, Answerer, Asker
from gossip.serf.rings import EventRing, QueryRing, Seen
from gossip.serf.rumors import SerfRumors
from gossip.swim.broadcasts import BroadcastQueue, RumorNo
from gossip.swim.deadlines import Deadlines
from gossip.swim.effects import MessageDropped, SendPacket
from gossip.types import Address, LamportTime, MemberName
from gossip.wire.codec import encode_message
from gossip.wire.messages import (
    JoinIntent,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    SerfState,
    UserEvent,
    UserMessage,
)
from gossip.wire.serf import decode_serf_untrusted, encode_serf

DIRECT_PAYLOAD_MIN = 0x80
"""User messages whose first byte is at least this are the user's own, not Serf's."""


class Intake:
    """Owns the clocks and what was seen.

    Invariant: whatever is handed on was news here, so no rumor goes round twice.
    """

    def __init__(
        self,
        config: SerfConfig,
        own_name: MemberName,
        *,
        members: Members,
        rumors: SerfRumors,
        deadlines: Deadlines,
        asker: Asker,
        answerer: Answerer,
        is_member_address: Callable[[Address], bool],
        emit: Callable[[Effect], None],
    ) -> None:
        self.member_clock = LamportClock()
        self.event_clock = LamportClock()
        self.query_clock = LamportClock()
        self.is_leaving = False
        self._has_met_others = False
        self._said = b""
        """What `local_state` last made, and of what."""
        self._said_on: tuple[object, ...] | None = None
        self._config, self._own_name = config, own_name
        self._members, self._rumors, self._deadlines = members, rumors, deadlines
        self._asker, self._answerer = asker, answerer
        self._internal = InternalQueries(own_name, members=members, answerer=answerer, emit=emit)
        self._is_member_address, self._emit = is_member_address, emit
        self._events = EventRing(config.event_buffer)
        self._coalescer: EventCoalescer | None = None
        if config.coalesce_period_s:
            self._coalescer = EventCoalescer(
                period_s=config.coalesce_period_s,
                quiet_s=config.coalesce_quiet_s,
                deadlines=deadlines,
                emit=emit,
            )
        self._queries = QueryRing(config.query_buffer)

    @property
    def clocks(self) -> LamportTimes:
        """The latest times seen."""
        return LamportTimes(self.member_clock.seen, self.event_clock.seen, self.query_clock.seen)

    def adopt(self) -> None:
        """We have long been among others: the first exchange is not with a pool that we join."""
        self._has_met_others = True

    def resume(self, clocks: LamportTimes) -> None:
        """Go on from the times of an earlier life: nothing up to them is told again (10.14)."""
        self._has_met_others = True
        self.member_clock.resume(clocks.member)
        self.event_clock.resume(clocks.event)
        self.query_clock.resume(clocks.query)
        self._events.ignore_before(self.event_clock.time)
        self._queries.ignore_before(self.query_clock.time)

    def handle_user_message(self, payload: bytes, *, source: Address, now: float) -> None:
        """Take a user message: Serf's by its first byte, or the user's own."""
        if not payload:
            self._drop(drops.EMPTY_USER_MESSAGE)
            return
        if payload[0] >= DIRECT_PAYLOAD_MIN:
            self._emit(UserPayloadReceived(payload, source))
            return
        try:
            message = decode_serf_untrusted(payload)
        except DecodeError as error:
            self._drop(error.reason, str(error))
            return
        match message:
            case JoinIntent():
                is_news = self._handle_join_intent(message, now=now)
                self._take_rumor(self._rumors.intents, payload, is_news=is_news, source=source)
            case LeaveIntent():
                is_news = self._handle_leave_intent(message, now=now)
                self._take_rumor(self._rumors.intents, payload, is_news=is_news, source=source)
            case UserEvent():
                is_news = self._handle_event(message, now=now)
                self._take_rumor(self._rumors.events, payload, is_news=is_news, source=source)
            case Query():
                is_new = self._handle_query(message, now=now)
                is_news = is_new and not message.flags & NO_REBROADCAST
                self._take_rumor(self._rumors.queries, payload, is_news=is_news, source=source)
            case QueryResponse():
                self._asker.handle_response(message)
            case Relay():
                self._handle_relay(message)
            case _:
                self._drop(drops.UNEXPECTED_TYPE, type(message).__name__)

    def local_state(self) -> bytes:
        """Our part of a push/pull (10.8). Who knows the same says the same: names are in order."""
        times = (self.member_clock.time, self.event_clock.time, self.query_clock.time)
        basis = (times, self._members.revision, self._events.slots())
        if basis != self._said_on:
            state = SerfState(
                self.member_clock.time,
                dict(sorted((r.member.name, r.status_ltime) for r in self._members)),
                self._members.left_names,
                self.event_clock.time,
                self._events.slots(),
                self.query_clock.time,
            )
            self._said_on, self._said = basis, encode_serf(state)
        return self._said

    def merge_state(self, payload: bytes, *, ignore_old: bool, now: float) -> None:
        """Merge a peer's part of a push/pull (10.8). Nothing of it is handed on.

        With `ignore_old` events from before now are never told. Nor are they on the first contact
        with others: whoever is new may hear of a pool before its own join is through.
        """
        is_quiet = self._has_met_others and not ignore_old and not self._members.left_count
        if is_quiet and payload == self.local_state():
            return  # nothing in it is news, as in most exchanges of a quiet pool
        try:
            state = decode_serf_untrusted(payload)
        except DecodeError as error:
            self._drop(error.reason, str(error))
            return
        if not isinstance(state, SerfState):
            self._drop(drops.UNEXPECTED_TYPE, type(state).__name__)
            return
        for clock, time in (
            (self.member_clock, state.ltime),
            (self.event_clock, state.event_ltime),
            (self.query_clock, state.query_ltime),
        ):
            if time > 0:
                self._witness(clock, LamportTime(time - 1))
        left = set(state.left_members)
        for name in state.left_members:
            ltime = LamportTime(state.status_ltimes.get(name, 0) + 1)
            self._handle_leave_intent(LeaveIntent(ltime, name), now=now)
        for name, ltime in self._members.news_of(state.status_ltimes):
            if name not in left:
                self._handle_join_intent(JoinIntent(ltime, name), now=now)
        is_first, self._has_met_others = not self._has_met_others, True
        if (ignore_old or is_first) and self.event_clock.allows(state.event_ltime):
            self._events.ignore_before(state.event_ltime)
        for slot in state.events:
            if not self._witness(self.event_clock, slot.ltime):
                continue
            for entry in slot.events:
                # What is refused is no drop to report: a peer remembers more than we may hear, and
                # says so again in every exchange.
                event = UserEvent(slot.ltime, entry.name, entry.payload, False)
                if self._events.see(event, clock=self.event_clock.time).is_new:
                    self._tell(event, now=now)

    def broadcast_join(self, *, now: float) -> None:
        """Tell the pool that we are in it, at the present member time (10.5)."""
        intent = JoinIntent(self.member_clock.time, self._own_name)
        self._handle_join_intent(intent, now=now)
        self._hand_on(self._rumors.intents, encode_serf(intent))

    def user_event(self, name: str, payload: bytes, *, coalesce: bool, now: float) -> LamportTime:
        """Send a user event, and tell it here (10.10).

        Raises:
            TooLargeError: It exceeds the configured size, or what a packet carries.
        """
        event = UserEvent(self.event_clock.time, name, payload, coalesce)
        encoded = encode_serf(event)
        # Differs from Serf, which queues what no packet can carry.
        bytes_max = min(self._config.event_bytes_max, self._rumors.rumor_bytes_max)
        if len(encoded) > bytes_max:
            raise TooLargeError(
                f"user event exceeds the limit of {bytes_max} bytes: {len(encoded)} encoded"
            )
        self.event_clock.increment()
        self._handle_event(event, now=now)
        self._hand_on(self._rumors.events, encoded, name=encoded)
        return event.ltime

    def encode_query(self, query: Query) -> bytes:
        """A query as it is sent.

        Raises:
            TooLargeError: It exceeds the configured size, or what a packet carries.
        """
        encoded = encode_serf(query)
        bytes_max = min(self._config.query_bytes_max, self._rumors.rumor_bytes_max)
        if len(encoded) > bytes_max:
            raise TooLargeError(
                f"query exceeds the limit of {bytes_max} bytes: {len(encoded)} encoded"
            )
        return encoded

    def ask(self, query: Query, encoded: bytes, *, now: float) -> None:
        """Send a query of ours, made at the present query time. We are asked first."""
        self.query_clock.increment()
        self._handle_query(query, now=now)
        self._hand_on(self._rumors.queries, encoded, name=encoded)

    def leave(self, *, spread: bool, now: float) -> RumorNo | None:
        """Intend to leave, from now on without denying it; the rumor if it is to `spread`."""
        self.is_leaving = True
        intent = LeaveIntent(self.member_clock.time, self._own_name)
        self.member_clock.increment()
        self._handle_leave_intent(intent, now=now)
        if not spread:
            return None
        return self._hand_on(self._rumors.intents, encode_serf(intent), is_urgent=True)

    def force_leave(self, name: MemberName, *, prune: bool, now: float) -> None:
        """Say for another member that it leaves (10.6); one that is alive will deny it."""
        intent = LeaveIntent(self.member_clock.time, name, prune)
        self.member_clock.increment()
        self._handle_leave_intent(intent, now=now)
        self._hand_on(self._rumors.intents, encode_serf(intent))

    def _handle_join_intent(self, intent: JoinIntent, *, now: float) -> bool:
        if not self._witness(self.member_clock, intent.ltime):
            return False
        return self._members.handle_join_intent(intent, now=now)

    def _handle_leave_intent(self, intent: LeaveIntent, *, now: float) -> bool:
        if not self._witness(self.member_clock, intent.ltime):
            return False
        if intent.node == self._own_name and not self.is_leaving:
            me = self._members.get(self._own_name)
            # Differs from Serf, which lets one of the same time pass: who has not heard our join
            # intent yet would believe it, and not the join intent that comes later.
            if me is not None and intent.ltime >= me.status_ltime:
                self.broadcast_join(now=now)
            return False
        is_news = self._members.handle_leave_intent(intent, now=now)
        if is_news and intent.prune and self._members.get(intent.node) is not None:
            # It is still alive: it gets the time that a graceful leave takes.
            delay_s = self._config.broadcast_timeout_s + self._config.leave_propagate_delay_s
            self._deadlines.call_at(now + delay_s, lambda _now: self._members.prune(intent.node))
        return is_news

    def _handle_event(self, event: UserEvent, *, now: float) -> bool:
        if not self._witness(self.event_clock, event.ltime):
            return False
        is_new = self._is_new(self._events.see(event, clock=self.event_clock.time), event.name)
        if is_new:
            self._tell(event, now=now)
        return is_new

    def _tell(self, event: UserEvent, *, now: float) -> None:
        told = UserEventReceived(event.name, event.payload, event.ltime)
        if event.coalesce and self._coalescer is not None:
            self._coalescer.take(told, now=now)
        else:
            self._emit(told)

    def _handle_query(self, query: Query, *, now: float) -> bool:
        if not self._witness(self.query_clock, query.ltime):
            return False
        is_new = self._is_new(self._queries.see(query, clock=self.query_clock.time), query.name)
        if is_new:
            internal = self._answerer.handle_query(query, now=now)
            if internal is not None:
                self._internal.handle(internal, now=now)
        return is_new

    def _handle_relay(self, relay: Relay) -> None:
        """Pass a query's answer on to a member; strangers are not ours to write to (14.3)."""
        try:
            to = Address.from_packed(relay.dest_addr, relay.dest_port)
        except ValueError as error:
            self._drop(drops.RELAY_UNFIT, str(error))
            return
        if not self._is_member_address(to):
            self._drop(drops.RELAY_TO_STRANGER, str(to))
        elif not self._rumors.fits(relay.inner) or relay.inner[0] >= DIRECT_PAYLOAD_MIN:
            self._drop(drops.RELAY_UNFIT, f"{len(relay.inner)} bytes")
        else:
            self._emit(SendPacket(to, (encode_message(UserMessage(relay.inner)),)))

    def _witness(self, clock: LamportClock, ltime: LamportTime) -> bool:
        if not clock.allows(ltime):
            self._drop(drops.LAMPORT_JUMP, str(ltime))
            return False
        clock.witness(ltime)
        return True

    def _is_new(self, seen: Seen, name: str) -> bool:
        if seen.drop_reason is not None:
            self._drop(seen.drop_reason, name)
        return seen.is_new

    def _take_rumor(
        self, queue: BroadcastQueue, payload: bytes, *, is_news: bool, source: Address
    ) -> None:
        """Hand news on, but not to whoever told us; old news shows who need not be told."""
        is_member = self._is_member_address(source)
        if is_news:
            known_by = (source,) if is_member else ()
            self._hand_on(queue, payload, name=payload, known_by=known_by)
        elif is_member:
            queue.note_known(payload, source)

    def _hand_on(
        self,
        queue: BroadcastQueue,
        payload: bytes,
        *,
        name: bytes | None = None,
        known_by: Iterable[Address] = (),
        is_urgent: bool = False,
    ) -> RumorNo | None:
        if not self._rumors.fits(payload):
            self._drop(drops.RUMOR_TOO_LARGE, f"{len(payload)} bytes")
            return None
        return queue.queue(payload, name=name, known_by=known_by, is_urgent=is_urgent)

    def _drop(self, reason: str, detail: str = "") -> None:
        self._emit(MessageDropped(reason, detail))
