"""The outermost machine: SWIM's members with Serf's tags, statuses, intents and rumors (10).

The asyncio driver and the simulator drive this class only. It turns SWIM's facts into events,
rejoins failed members and times a graceful leave.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import assert_never

from gossip.config import GossipConfig
from gossip.errors import ConfigError, DecodeError, StateError
from gossip.serf.coordinates import Coordinates
from gossip.serf.departure import Departure, LeaveStep
from gossip.serf.events import (
    Effect,
    IncomingQuery,
    KeyOperation,
    LeaveFinished,
    Member,
    MemberReaped,
    MemberStatus,
    PeerFound,
    QueryId,
)
from gossip.serf.intake import Intake
from gossip.serf.keys import encode_answer
from gossip.serf.lamport import LamportTimes
from gossip.serf.lost import SWEEP_AFTER_S, LostPeer
from gossip.serf.members import Members, Record
from gossip.serf.queries import INTERNAL_PREFIX, Answerer, Asker, QueryOptions
from gossip.serf.questions import Questions
from gossip.serf.rumors import SerfRumors
from gossip.swim import Swim, packet_room_bytes, user_rumor_bytes_max
from gossip.swim.broadcasts import RumorNo
from gossip.swim.deadlines import Deadline, Deadlines
from gossip.swim.effects import (
    MessageDropped,
    NameConflict,
    OpenPushPull,
    OpenTcpPing,
    PushPullFinished,
    SendPacket,
    StallNoticed,
)
from gossip.swim.exchange import ANOTHER_POOL
from gossip.swim.facts import (
    Admit,
    NodeGone,
    NodeJoined,
    NodeUpdated,
    SwimEffect,
    UserMessageReceived,
    UserStateReceived,
)
from gossip.swim.history import Accusation, History
from gossip.swim.versions import own_vsn
from gossip.types import Address, Incarnation, LamportTime, MemberName, MemberState, Peer
from gossip.wire.limits import NAME_BYTES_MAX
from gossip.wire.messages import (
    Ack,
    Coordinate,
    ErrorReply,
    KeyRequest,
    KeyResponse,
    PacketMessage,
    Ping,
    PushPull,
    PushPullNode,
)
from gossip.wire.serf import encode_serf
from gossip.wire.serf_values import decode_tags_untrusted, encode_tags


class Serf:
    """One member of a pool.

    Every input takes `now` (monotonic seconds, never falling) and returns effects in order: send
    what they ask for, report what has become known, then wait for `next_deadline_at` or the next
    input. Nothing a peer sends makes an input raise.
    """

    def __init__(
        self,
        config: GossipConfig,
        *,
        name: MemberName,
        address: Address,
        tags: Mapping[str, str],
        incarnation: Incarnation,
        rng: Random,
        now: float,
        known_peers: Iterable[Peer] = (),
        admit: Callable[[Sequence[Member]], str | None] | None = None,
        clocks: LamportTimes | None = None,
        keyring_overhead_bytes: int = 0,
    ) -> None:
        """Build a member that is not started.

        Args:
            config: Settings of the pool and of this member.
            name: Our name, unique in the pool, 1 to 255 bytes.
            address: Where the others reach us, by UDP and TCP.
            tags: What we are, at most 512 bytes encoded.
            incarnation: The first to use, at least 1; above any used before under this name.
            rng: Chooses partners and phases, and nothing else.
            now: Monotonic seconds.
            known_peers: Members of an earlier run that did not leave; they are looked for.
            admit: Given members that want to be known here, the reason to refuse them, or None.
            clocks: The `clocks` of an earlier life; nothing from before them is told again.
            keyring_overhead_bytes: What encryption adds to a packet: 29 with a key, else 0.

        Raises:
            ConfigError: The name is empty or too long, or the tags are too large.
        """
        if not 1 <= len(name.encode(errors="surrogateescape")) <= NAME_BYTES_MAX:
            raise ConfigError(f"name: 1 to {NAME_BYTES_MAX} bytes, got {name!r}")
        self._config, self._name, self._address = config, name, address
        self._tags = dict(tags)
        self._rng = rng
        query_rng = Random(rng.getrandbits(64))
        self._effects: list[Effect] = []
        self._deadlines = Deadlines()
        self._own_joins: dict[int, bool] = {}
        """Whether earlier events are wanted, by stream."""
        self._redials: dict[int, LostPeer] = {}
        self._redial: Deadline | None = None
        self._replays = clocks is not None
        self._departure: Departure | None = None
        self._intent_rumor: RumorNo | None = None
        self._history = History()
        self._members = Members(
            config.serf,
            members_max=config.swim.members_max,
            history=self._history,
            emit=self._emit,
        )
        for peer in known_peers:
            if peer.name != name:
                self._members.lost.lose(peer.name, peer.address, now=now)
        self._coordinates = Coordinates(rng=Random(rng.getrandbits(64)), emit=self._emit)
        room_bytes = packet_room_bytes(config, keyring_overhead_bytes=keyring_overhead_bytes)
        self._rumors = SerfRumors(
            rumor_bytes_max=user_rumor_bytes_max(room_bytes),
            depth_max=config.serf.queue_depth_max,
            retransmit_mult=config.swim.retransmit_mult,
            member_count=self._members.__len__,
        )
        self._asker = Asker(
            deadlines=self._deadlines, members_max=config.swim.members_max, emit=self._emit
        )
        self._answerer = Answerer(
            config.serf,
            name,
            address,
            members=self._members,
            is_member_address=lambda address: self._swim.has_address(address),
            asker=self._asker,
            rng=query_rng,
            emit=self._emit,
            now=now,
        )
        self._intake = Intake(
            config.serf,
            name,
            members=self._members,
            rumors=self._rumors,
            deadlines=self._deadlines,
            asker=self._asker,
            answerer=self._answerer,
            is_member_address=lambda address: self._swim.has_address(address),
            emit=self._emit,
        )
        if clocks is not None:
            self._intake.resume(clocks)
        self._questions = Questions(
            config,
            name,
            address,
            members=self._members,
            intake=self._intake,
            asker=self._asker,
            rng=query_rng,
            emit=self._emit,
        )
        self._swim = Swim(
            config,
            name=name,
            address=address,
            meta=self._encode_meta(tags),
            incarnation=incarnation,
            user_rumors=self._rumors,
            user_state=self._intake.local_state,
            ack_payload=self._coordinates.ack_payload if config.serf.coordinates else _no_payload,
            ping_answered=self._handle_ping_answered,
            deadlines=self._deadlines,
            history=self._history,
            rng=rng,
            now=now,
            admit=None if admit is None else _node_hook(admit),
            keyring_overhead_bytes=keyring_overhead_bytes,
        )

    @property
    def incarnation(self) -> Incarnation:
        """Our own; to be stored, so that a restart can begin above it."""
        return self._swim.incarnation

    @property
    def clocks(self) -> LamportTimes:
        """The latest times seen; to be stored, so that a restart can go on from them."""
        return self._intake.clocks

    @property
    def local(self) -> Member:
        """Ourselves; status none before `start`."""
        member = self.member(self._name)
        if member is not None:
            return member
        vsn = own_vsn(self._config.serf.delegate_version)
        tags, incarnation = dict(self._tags), self.incarnation
        return Member(self._name, self._address, tags, MemberStatus.NONE, incarnation, vsn)

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due; infinity before `start`."""
        if not self._rumors.freight.count:
            return self._deadlines.next_at  # as SWIM would say; it is asked after every input
        return self._swim.next_deadline_at

    def members(self) -> list[Member]:
        """Every member not yet forgotten, ourselves included, in the order they became known."""
        return [self._current(record) for record in self._members]

    def member(self, name: MemberName) -> Member | None:
        """The member of that name."""
        record = self._members.get(name)
        return None if record is None else self._current(record)

    @property
    def coordinate(self) -> Coordinate:
        """Where we are in the latency space."""
        return self._coordinates.own

    def cached_coordinate(self, name: MemberName) -> Coordinate | None:
        """Where a member said it was when we last probed it; None when it never said."""
        return self.coordinate if name == self._name else self._coordinates.cached(name)

    def accusations(self, name: MemberName) -> tuple[Accusation, ...]:
        """What is remembered of a member's standing, oldest first."""
        return self._history.of(name)

    def peers(self) -> list[Peer]:
        """Everybody else who has not left, found or lost; to be stored for the next run."""
        present = [
            Peer(member.name, member.address)
            for member in (record.member for record in self._members)
            if member.status is MemberStatus.ALIVE and member.name != self._name
        ]
        return [*present, *self._members.lost]

    def stats(self) -> dict[str, int]:
        """Figures for an operator, by name."""
        return {
            "health_score": self._swim.health_score,
            "member_time": self._intake.member_clock.time,
            "event_time": self._intake.event_clock.time,
            "query_time": self._intake.query_clock.time,
            "intent_queue": len(self._rumors.intents),
            "event_queue": len(self._rumors.events),
            "query_queue": len(self._rumors.queries),
            "members": len(self._members),
            "failed": self._members.failed_count,
            "left": self._members.left_count,
            "lost_peers": len(self._members.lost),
        }

    def start(self, *, now: float) -> list[Effect]:
        """Become a member, of a pool of one until a join."""
        self._digest(self._swim.start(now=now), now=now)
        self._deadlines.call_at(now + self._config.serf.reap_interval_s, self._reap)
        # Peers of an earlier run are dialled as soon as we can be answered.
        pause_s = 0.0 if self._members.lost else self._config.serf.reconnect_interval_s
        self._redial = self._deadlines.call_at(now + pause_s, self._reconnect)
        return self._take_effects(now=now)

    def adopt(self, known: Sequence[tuple[PushPullNode, Member]], *, now: float) -> None:
        """Know members as alive, as if we had heard it long ago: nothing is told, here or there.

        A simulated pool begins with it that has stood for long; `as_member` makes the pairs.
        """
        self._swim.adopt([node for node, _ in known], now=now)
        self._intake.adopt()
        self._members.adopt(member for _, member in known)

    def join(self, to: Address, *, replay: bool = False, now: float) -> tuple[int, list[Effect]]:
        """Enter the pool of the member at `to`.

        Returns the stream's id; `PushPullFinished` with it follows. The pool's earlier events are
        news with `replay` only: for a member that comes back, and has its `clocks`.

        Raises:
            StateError: We are leaving or have left.
        """
        self._require_present("join")
        stream_id, effects = self._swim.push_pull(to, own_join=True, now=now)
        self._own_joins[stream_id] = replay
        self._digest(effects, now=now)
        return stream_id, self._take_effects(now=now)

    def leave(self, *, now: float) -> list[Effect]:
        """Leave on purpose; `LeaveFinished` follows. A second call does nothing.

        The machine goes on being driven until then: it answers, and hands on that we leave.
        """
        if self._departure is None:
            self._departure = Departure(self._config.serf, now=now)
            others = self._swim.others_present > 0
            self._intent_rumor = self._intake.leave(spread=others, now=now)
            self._arm_departure()
        return self._take_effects(now=now)

    def set_tags(self, tags: Mapping[str, str], *, now: float) -> list[Effect]:
        """Change what we say we are; equal tags change nothing.

        Raises:
            ConfigError: The tags are too large; nothing was changed.
            StateError: We are leaving or have left.
        """
        self._require_present("set tags")
        meta = self._encode_meta(tags)
        if dict(tags) != self._tags:
            self._tags = dict(tags)
            self._digest(self._swim.set_meta(meta, now=now), now=now)
        return self._take_effects(now=now)

    def user_event(
        self, name: str, payload: bytes, *, coalesce: bool, now: float
    ) -> tuple[LamportTime, list[Effect]]:
        """Send a user event to everybody, ourselves included; its Lamport time.

        Raises:
            TooLargeError: It exceeds the configured size, or what a packet carries.
            StateError: We are leaving or have left.
        """
        self._require_present("send an event")
        ltime = self._intake.user_event(name, payload, coalesce=coalesce, now=now)
        return ltime, self._take_effects(now=now)

    def query(
        self, name: str, payload: bytes, options: QueryOptions, *, now: float
    ) -> tuple[QueryId, list[Effect]]:
        """Ask the members something; `QueryAnswered` and at the end `QueryFinished` follow.

        Raises:
            ValueError: The name begins `_serf_`.
            TooLargeError: It exceeds the configured size, or what a packet carries.
            StateError: We are leaving or have left, or too many queries are under way.
        """
        if name.startswith(INTERNAL_PREFIX):
            raise ValueError(f"queries whose name begins {INTERNAL_PREFIX} are the pool's own")
        self._require_present("ask")
        query = self._questions.ask(name, payload, options, now=now)
        return query, self._take_effects(now=now)

    def key_query(
        self, operation: KeyOperation, key: bytes, options: QueryOptions, *, now: float
    ) -> tuple[QueryId, list[Effect]]:
        """Ask the members to change or list their keys, as `query` does.

        Raises:
            StateError: We are leaving or have left, or too many queries are under way.
        """
        self._require_present("ask")
        payload = encode_serf(KeyRequest(key))
        query = self._questions.ask(operation, payload, options, now=now)
        return query, self._take_effects(now=now)

    def end_query(self, query: QueryId, *, now: float) -> list[Effect]:
        """Wait for answers no longer; `QueryFinished` follows if it was under way."""
        self._asker.end(query)
        return self._take_effects(now=now)

    def respond(self, query: IncomingQuery, payload: bytes, *, now: float) -> list[Effect]:
        """Answer a query that was told.

        Raises:
            TooLargeError: The answer is too long. Another one may be given.
            StateError: It was answered already, or its time is over.
        """
        self._answerer.respond(query, payload, now=now)
        return self._take_effects(now=now)

    def respond_to_key_query(
        self, query: IncomingQuery, response: KeyResponse, *, now: float
    ) -> list[Effect]:
        """Answer a key query, when what it asked for is durable."""
        room_bytes = self._answerer.room_bytes(query)
        self._answerer.answer(query, encode_answer(response, bytes_max=room_bytes), now=now)
        return self._take_effects(now=now)

    def force_leave(self, name: MemberName, *, prune: bool, now: float) -> list[Effect]:
        """Have a failed member listed as left, or with `prune` forgotten, everywhere.

        Raises:
            StateError: We are leaving or have left.
        """
        self._require_present("force a leave")
        self._intake.force_leave(name, prune=prune, now=now)
        return self._take_effects(now=now)

    def handle_timer(self, *, now: float) -> list[Effect]:
        """Do what is due. An early call does nothing."""
        # SWIM runs our deadlines among its own.
        return self._conclude(self._swim.handle_timer(now=now), now=now)

    def handle_stall(self, stalled_s: float, *, now: float) -> list[Effect]:
        """The shell has found that it did not run for `stalled_s`, until now.

        What `handle_timer` can tell by itself need not be reported; it does no harm.
        """
        self._digest(self._swim.handle_stall(stalled_s, now=now), now=now)
        return self._take_effects(now=now)

    def handle_message(
        self, message: PacketMessage, *, source: Address, now: float
    ) -> list[Effect]:
        """Take one message of a datagram that came from `source`."""
        effects = self._swim.handle_message(message, source=source, now=now)
        return self._conclude(effects, now=now)

    def handle_push_pull(
        self, request: PushPull, *, source: Address, now: float
    ) -> tuple[PushPull | ErrorReply, list[Effect]]:
        """Answer a push/pull that came by stream.

        The reply is our state from before merging, or why we refuse to merge.
        """
        reply, effects = self._swim.handle_push_pull(request, source=source, now=now)
        self._digest(effects, now=now)
        return reply, self._take_effects(now=now)

    def handle_push_pull_reply(
        self, stream_id: int, reply: PushPull, *, now: float
    ) -> list[Effect]:
        """Merge the answer to an `OpenPushPull`."""
        effects = self._swim.handle_push_pull_reply(stream_id, reply, now=now)
        self._digest(effects, replay=self._own_joins.get(stream_id, False), now=now)
        return self._take_effects(now=now)

    def handle_stream_failed(self, stream_id: int, reason: str, *, now: float) -> list[Effect]:
        """A stream that we asked for came to nothing: "refused", "timeout", "closed" or a text."""
        self._digest(self._swim.handle_stream_failed(stream_id, reason, now=now), now=now)
        return self._take_effects(now=now)

    def handle_refused(self, address: Address, *, now: float) -> list[Effect]:
        """A datagram of ours reached a host where nobody listens (ICMP port unreachable)."""
        self._digest(self._swim.handle_refused(address, now=now), now=now)
        return self._take_effects(now=now)

    def handle_tcp_ping(self, ping: Ping, *, now: float) -> Ack | None:
        """Answer a ping that came by stream; None closes it without an answer."""
        return self._swim.handle_tcp_ping(ping)

    def handle_tcp_ack(self, stream_id: int, ack: Ack, *, now: float) -> list[Effect]:
        """The answer to an `OpenTcpPing`."""
        self._digest(self._swim.handle_tcp_ack(stream_id, ack, now=now), now=now)
        return self._take_effects(now=now)

    def _conclude(self, effects: list[SwimEffect], *, now: float) -> list[Effect]:
        """Digest what SWIM returned; all that came of the input."""
        if (
            not self._effects
            and self._departure is None
            and (not effects or (len(effects) == 1 and type(effects[0]) is SendPacket))
        ):
            # Most inputs: pings, and what is due, come to one packet.
            return effects  # type: ignore[return-value]  # a cast would cost a call
        self._digest(effects, now=now)
        return self._take_effects(now=now)

    def _digest(self, effects: Sequence[SwimEffect], *, replay: bool = False, now: float) -> None:
        """Pass SWIM's requests on and turn its facts into ours."""
        for effect in effects:
            match effect:
                case SendPacket():
                    # First, because most effects are packets.
                    self._effects.append(effect)
                case NodeJoined(node):
                    if self._members.handle_joined(node, now=now):
                        self._hasten_redial(now + SWEEP_AFTER_S)
                case NodeUpdated(node):
                    self._members.handle_updated(node)
                case NodeGone(node):
                    self._members.handle_gone(node, now=now)
                case UserMessageReceived(payload, source):
                    self._intake.handle_user_message(payload, source=source, now=now)
                case UserStateReceived(state, own_join):
                    ignore_old = own_join and not replay
                    self._intake.merge_state(state, ignore_old=ignore_old, now=now)
                case PushPullFinished():
                    self._effects.append(effect)
                    self._handle_exchange_finished(effect, now=now)
                case OpenPushPull() | OpenTcpPing():
                    self._effects.append(effect)
                case NameConflict():
                    self._effects.append(effect)
                    self._handle_name_conflict(effect, now=now)
                case MessageDropped() | StallNoticed():
                    self._effects.append(effect)
                case _:
                    assert_never(effect)

    def _handle_ping_answered(self, name: MemberName, payload: bytes, rtt_s: float) -> None:
        # SWIM may remember whom we have forgotten.
        if self._config.serf.coordinates and self._members.get(name) is not None:
            self._coordinates.handle_ack(name, payload, rtt_s)

    def _handle_name_conflict(self, conflict: NameConflict, *, now: float) -> None:
        is_ours = conflict.name == self._name and self._departure is None
        if is_ours and self._config.serf.resolve_name_conflicts:
            self._questions.hold_name_vote(now=now)

    def _handle_exchange_finished(self, finished: PushPullFinished, *, now: float) -> None:
        peer = self._redials.pop(finished.stream_id, None)
        if peer is not None and finished.error is None:
            self._emit(PeerFound(Peer(peer.name, peer.address), now - peer.lost_at))
        elif peer is not None and finished.error == ANOTHER_POOL:
            self._members.lost.forget(peer.name)
        if finished.stream_id not in self._own_joins:
            return
        del self._own_joins[finished.stream_id]
        if finished.error is None and self._departure is None:
            self._intake.broadcast_join(now=now)

    def _reap(self, now: float) -> None:
        self._members.reap(now=now)
        self._deadlines.call_at(now + self._config.serf.reap_interval_s, self._reap)

    def _reconnect(self, now: float) -> None:
        """Now and then dial a lost peer again (10.7)."""
        peer, pause_s = self._members.lost.plan(
            present=self._members.present_count,
            interval_s=self._config.serf.reconnect_interval_s,
            rng=self._rng,
            now=now,
        )
        if peer is not None and self._departure is None:
            # Who knows nobody joins with this; the others only find somebody again.
            is_join = len(self._members) == 1
            stream_id, effects = self._swim.push_pull(
                peer.address, own_join=is_join, now=now, expects=self._are_ours
            )
            self._redials[stream_id] = peer
            if is_join:
                self._own_joins[stream_id] = self._replays
            self._digest(effects, now=now)
        self._redial = self._deadlines.call_at(now + pause_s, self._reconnect)

    def _hasten_redial(self, at: float) -> None:
        if self._redial is not None and self._redial.is_armed and self._redial.at > at:
            self._deadlines.cancel(self._redial)
            self._redial = self._deadlines.call_at(at, self._reconnect)

    def _are_ours(self, nodes: Sequence[PushPullNode]) -> bool:
        """Whether any of those present is one we know or miss, and where we know it.

        Addresses are given to others in time: the pool that answers may be somebody else's.
        """
        for node in nodes:
            record, lost = self._members.get(node.name), self._members.lost.get(node.name)
            known = {record and record.member.address, lost and lost.address}
            is_present = MemberState(node.state) in (MemberState.ALIVE, MemberState.SUSPECT)
            if is_present and Address.from_packed(node.addr, node.port) in known:
                return True
        return False

    def _arm_departure(self) -> None:
        assert self._departure is not None
        if self._departure.deadline_at is not None:
            # Every input looks whether the step is over; this one comes at the latest.
            self._deadlines.call_at(self._departure.deadline_at, lambda _now: None)

    def _advance_departure(self, departure: Departure, *, now: float) -> None:
        while departure.advance(now=now, is_spread=self._is_spread(departure.step)):
            if departure.step == LeaveStep.SPREADING_LEAVE:
                self._digest(self._swim.leave(now=now), now=now)
            elif departure.step == LeaveStep.FINISHED:
                self._emit(LeaveFinished())
            self._arm_departure()

    def _is_spread(self, step: LeaveStep) -> bool:
        if step == LeaveStep.SPREADING_INTENT:
            return self._intent_rumor is None or self._intent_rumor not in self._rumors.intents
        return step == LeaveStep.SPREADING_LEAVE and self._swim.is_leave_spread

    def _current(self, record: Record) -> Member:
        """A member with the incarnation of this moment: refuting raises it without an event."""
        incarnation = self._swim.incarnation_of(record.member.name)
        if incarnation is not None and incarnation != record.member.incarnation:
            record.member = replace(record.member, incarnation=incarnation)
        return record.member

    def _encode_meta(self, tags: Mapping[str, str]) -> bytes:
        if self._config.serf.delegate_version < 3:
            return tags.get("role", "").encode()
        return encode_tags(tags)

    def _require_present(self, what: str) -> None:
        if self._departure is not None:
            raise StateError(f"cannot {what}: this member is leaving or has left")

    def _emit(self, effect: Effect) -> None:
        if isinstance(effect, MemberReaped):
            self._coordinates.forget(effect.member.name)
        self._effects.append(effect)

    def _take_effects(self, *, now: float) -> list[Effect]:
        if self._departure is not None:
            self._advance_departure(self._departure, now=now)
        if not self._effects:
            return []
        effects = self._effects.copy()
        self._effects.clear()
        return effects


def _no_payload() -> None:
    """What acks carry without coordinates."""


def _node_hook(admit: Callable[[Sequence[Member]], str | None]) -> Admit:
    """The user's admission hook, shown SWIM's nodes as the members they would be."""

    def admit_nodes(nodes: Sequence[PushPullNode]) -> str | None:
        return admit([as_member(node) for node in nodes])

    return admit_nodes


_STATUSES = {
    MemberState.ALIVE: MemberStatus.ALIVE,
    MemberState.SUSPECT: MemberStatus.ALIVE,
    MemberState.DEAD: MemberStatus.FAILED,
    MemberState.LEFT: MemberStatus.LEFT,
}


def as_member(node: PushPullNode) -> Member:
    """What a user would see of a node."""
    try:
        tags = decode_tags_untrusted(node.meta)
    except DecodeError:
        tags = {}
    address = Address.from_packed(node.addr, node.port)
    status = _STATUSES[MemberState(node.state)]
    return Member(node.name, address, tags, status, node.incarnation, node.vsn)
