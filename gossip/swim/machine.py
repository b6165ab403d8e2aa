"""The SWIM machine: one member's view of the pool, driven by packets, streams and time (8).

It puts the parts together, sends the gossip rounds and answers pings. Every input returns what is
to be done and what has become known, in order.
"""

from collections.abc import Callable, Iterable
from itertools import count
from random import Random
from typing import assert_never

from gossip.config import GossipConfig
from gossip.swim import drops
from gossip.swim.awareness import Awareness, stall_delta
from gossip.swim.broadcasts import BroadcastQueue, RumorNo
from gossip.swim.carrier import Carrier, UserRumors, packet_room_bytes, rumor_bytes_max
from gossip.swim.claims import Claims
from gossip.swim.deadlines import Deadlines
from gossip.swim.dialer import Dialer
from gossip.swim.effects import MessageDropped, StallNoticed
from gossip.swim.exchange import Exchanges, Expects
from gossip.swim.facts import Admit, PingAnswered, SwimEffect, UserMessageReceived
from gossip.swim.graves import Graves
from gossip.swim.hearing import Hearing
from gossip.swim.history import History
from gossip.swim.prober import Prober
from gossip.swim.ratelimit import TokenBucket
from gossip.swim.table import Entry, MemberTable
from gossip.swim.versions import own_vsn
from gossip.types import Address, Incarnation, MemberName, MemberState
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Nack,
    PacketMessage,
    Ping,
    PushPull,
    PushPullNode,
    Suspect,
    UserMessage,
    make,
)

STRANGER_ANSWERS_PER_S = 256.0
"""How many packets a second forged source addresses can make us send (14.3)."""


class Swim:
    """One member. Every method that takes `now` (monotonic seconds) returns effects in order.

    Inputs may come in any order after `start`; none of them raises for what a peer sent.
    """

    def __init__(
        self,
        config: GossipConfig,
        *,
        name: MemberName,
        address: Address,
        meta: bytes,
        incarnation: Incarnation,
        user_rumors: UserRumors,
        user_state: Callable[[], bytes],
        ack_payload: Callable[[], bytes | None],
        ping_answered: PingAnswered,
        deadlines: Deadlines,
        history: History,
        rng: Random,
        now: float,
        admit: Admit | None = None,
        keyring_overhead_bytes: int = 0,
    ) -> None:
        """Build a member that is not started.

        Args:
            config: Settings of the pool and of this member.
            name: Our name, unique in the pool.
            address: Where the others reach us.
            meta: The upper layer's metadata about us, at most 512 bytes.
            incarnation: The first to use; above any used before under this name.
            user_rumors: The upper layer's queues; drawn from when a packet has room.
            user_state: The upper layer's part of a push/pull, asked for each time.
            ack_payload: What the upper layer adds to our answers to pings.
            ping_answered: Tells the upper layer of each answer to a ping of ours.
            deadlines: Shared with the upper layer; run by our `handle_timer`.
            history: Where accusations are remembered.
            rng: Chooses partners and phases, and nothing else.
            now: Monotonic seconds.
            admit: The admission hook.
            keyring_overhead_bytes: What encryption adds to a packet: 29 with a key, else 0.
        """
        self._config, self._name, self._rng = config.swim, name, rng
        self._ack_payload = ack_payload
        self._effects: list[SwimEffect] = []
        self._emit = self._effects.append
        self._hearing = Hearing(config.swim.probe_interval_s, now=now)
        self._deadlines, self._freight = deadlines, user_rumors.freight
        # Plain SWIM takes itself for healthy, whatever happens.
        self._awareness = Awareness(config.swim.awareness_max if config.swim.lifeguard else 1)
        self._table = MemberTable(name, rng=rng)
        graves = Graves(size_max=config.swim.members_max)
        self._rumors = BroadcastQueue(
            size_max=config.swim.broadcast_queue_max, freight=user_rumors.freight
        )
        self._stranger_answers = TokenBucket(
            rate_per_s=STRANGER_ANSWERS_PER_S, burst=STRANGER_ANSWERS_PER_S, now=now
        )
        self._gossip_at = now
        self._leave_rumor: RumorNo | None = None
        self._stalled_until = now
        room_bytes = packet_room_bytes(config, keyring_overhead_bytes=keyring_overhead_bytes)
        local = Alive(
            incarnation,
            name,
            address.packed,
            address.port,
            meta,
            own_vsn(config.serf.delegate_version),
        )
        stream_ids = count(1)
        self._carrier = Carrier(
            room_bytes,
            retransmit_mult=config.swim.retransmit_mult,
            table=self._table,
            rumors=self._rumors,
            user_rumors=user_rumors,
            emit=self._emit,
        )
        self._dialer = Dialer(
            config.swim,
            table=self._table,
            local=lambda: self._claims.local,
            stream_ids=stream_ids,
            emit=self._emit,
        )
        self._claims = Claims(
            config.swim,
            local,
            table=self._table,
            graves=graves,
            rumors=self._rumors,
            rumor_bytes_max=rumor_bytes_max(room_bytes),
            awareness=self._awareness,
            carrier=self._carrier,
            dialer=self._dialer,
            history=history,
            hearing=self._hearing,
            deadlines=self._deadlines,
            emit=self._emit,
            admit=admit,
            now=now,
        )
        self._prober = Prober(
            config.swim,
            table=self._table,
            graves=graves,
            claims=self._claims,
            awareness=self._awareness,
            carrier=self._carrier,
            dialer=self._dialer,
            deadlines=self._deadlines,
            stream_ids=stream_ids,
            emit=self._emit,
            ping_answered=ping_answered,
        )
        self._exchanges = Exchanges(
            config.swim,
            table=self._table,
            claims=self._claims,
            user_state=user_state,
            deadlines=self._deadlines,
            stream_ids=stream_ids,
            rng=rng,
            emit=self._emit,
            admit=admit,
        )

    @property
    def health_score(self) -> int:
        """0 is healthy (Lifeguard)."""
        return self._awareness.score

    @property
    def incarnation(self) -> Incarnation:
        """Our own."""
        return self._claims.local.incarnation

    @property
    def others_present(self) -> int:
        """How many other members are neither dead nor left."""
        return self._table.others_present

    @property
    def is_leave_spread(self) -> bool:
        """Whether nobody is left to tell that we leave, or it was told often enough."""
        rumor = self._leave_rumor
        return self.others_present <= 0 or rumor is None or rumor not in self._rumors

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due; infinity while nothing is.

        Gossip rounds count only while there are rumors and somebody to tell, so an idle member
        wakes for its probes alone.
        """
        next_at = self._deadlines.next_at
        if self._freight.count and self._gossip_at < next_at and len(self._table) > 1:
            return self._gossip_at
        return next_at

    def incarnation_of(self, name: MemberName) -> Incarnation | None:
        """The stored incarnation of a remembered member."""
        entry = self._table.get(name)
        return entry.incarnation if entry is not None else None

    def has_address(self, address: Address) -> bool:
        """Whether some remembered member listens there."""
        return self._table.has_address(address)

    def start(self, *, now: float) -> list[SwimEffect]:
        """Become a member and begin probing, gossiping and exchanging."""
        self._claims.announce(self._claims.local.meta, now=now)
        self._gossip_at = now + self._rng.random() * self._config.gossip_interval_s
        self._prober.start(now + self._rng.random() * self._config.probe_interval_s)
        self._exchanges.start(now=now)
        return self._take_effects()

    def adopt(self, nodes: Iterable[PushPullNode], *, now: float) -> None:
        """Know members as alive, as if we had heard it long ago; names that are known stay."""
        self._table.adopt(nodes, now=now)

    def handle_timer(self, *, now: float) -> list[SwimEffect]:
        """Do what is due. An early call does nothing."""
        late_s = now - self._deadlines.next_at
        if late_s >= self._config.stall_s_min:
            self._note_stall(late_s, now=now)
        self._deadlines.run_due(now)
        if self._freight.count and now >= self._gossip_at and len(self._table) > 1:
            # Differs from memberlist: a tick that had nothing to send is taken as soon as there
            # is something. Rounds are never closer than the interval.
            self._gossip_at = now + self._config.gossip_interval_s
            self._gossip(now=now)
        return self._take_effects()

    def handle_stall(self, stalled_s: float, *, now: float) -> list[SwimEffect]:
        """Our process did not run for `stalled_s`, until now."""
        if stalled_s >= self._config.stall_s_min:
            self._note_stall(stalled_s, now=now)
        return self._take_effects()

    def handle_message(
        self, message: PacketMessage, *, source: Address, now: float
    ) -> list[SwimEffect]:
        """Take one message of a datagram that came from `source`."""
        if silence_s := self._hearing.hear(now):
            self._handle_silence(silence_s, now=now)
        # What comes all the time goes first, and without `match`, which takes three times as long.
        if isinstance(message, Ping):
            self._handle_ping(message, source=source, now=now)
        elif isinstance(message, Ack):
            self._prober.handle_ack(message, now=now)
        else:
            self._handle_rare(message, source=source, now=now)
        return self._take_effects()

    def handle_tcp_ping(self, ping: Ping) -> Ack | None:
        """Answer a ping that came by stream; None closes it without an answer (6.2)."""
        return None if ping.node and ping.node != self._name else Ack(ping.seq_no)

    def handle_tcp_ack(self, stream_id: int, ack: Ack, *, now: float) -> list[SwimEffect]:
        """The answer to an `OpenTcpPing`."""
        self._hear(now)
        self._prober.handle_tcp_ack(stream_id, ack)
        self._dialer.handle_ack(stream_id, ack, now=now)
        return self._take_effects()

    def handle_refused(self, address: Address, *, now: float) -> list[SwimEffect]:
        """A datagram of ours reached a host where nobody listens (ICMP port unreachable)."""
        self._claims.handle_refused(address, now=now)
        return self._take_effects()

    def handle_push_pull(
        self, request: PushPull, *, source: Address, now: float
    ) -> tuple[PushPull | ErrorReply, list[SwimEffect]]:
        """Answer a push/pull with our state from before merging it (6.1), or why it is refused."""
        self._hear(now)
        reply = self._exchanges.handle_request(request, source=source, now=now)
        return reply, self._take_effects()

    def handle_push_pull_reply(
        self, stream_id: int, reply: PushPull, *, now: float
    ) -> list[SwimEffect]:
        """Merge the answer to an `OpenPushPull`."""
        self._hear(now)
        self._exchanges.handle_reply(stream_id, reply, now=now)
        return self._take_effects()

    def handle_stream_failed(self, stream_id: int, reason: str, *, now: float) -> list[SwimEffect]:
        """A stream we asked for was refused, timed out or broke."""
        self._prober.handle_tcp_failure(stream_id, reason)
        self._dialer.handle_failure(stream_id, reason, now=now)
        self._exchanges.handle_failure(stream_id, reason)
        return self._take_effects()

    def push_pull(
        self, to: Address, *, own_join: bool, now: float, expects: Expects | None = None
    ) -> tuple[int, list[SwimEffect]]:
        """Contact an address with the join flag: to join (`own_join`), or to reconnect.

        With `expects` our state is told only to whom it accepts.
        """
        stream_id = self._exchanges.open(to, join=True, own_join=own_join, now=now, expects=expects)
        return stream_id, self._take_effects()

    def set_meta(self, meta: bytes, *, now: float) -> list[SwimEffect]:
        """Announce other metadata at the next incarnation (8.8)."""
        self._claims.announce(meta, now=now)
        return self._take_effects()

    def leave(self, *, now: float) -> list[SwimEffect]:
        """Tell the others that we leave; `is_leave_spread` says when they know (8.8)."""
        self._leave_rumor = self._claims.leave(now=now)
        return self._take_effects()

    def _note_stall(self, stalled_s: float, *, now: float) -> None:
        """Blame ourselves, and give the others the time that we did not have.

        Beyond Lifeguard, which notices a slow member by its missing acks and nacks only: after it
        has accused somebody.
        """
        # One stall is found twice, by the shell and by a deadline that was missed.
        if not self._config.own_stalls or now - stalled_s < self._stalled_until:
            return
        self._stalled_until = now
        interval_s = self._config.probe_interval_s
        self._awareness.apply(stall_delta(stalled_s, probe_interval_s=interval_s))
        self._prober.handle_stall(now=now)
        self._claims.handle_stall(now=now)
        self._emit(StallNoticed(stalled_s))

    def _hear(self, now: float) -> None:
        if silence_s := self._hearing.hear(now):
            self._handle_silence(silence_s, now=now)

    def _handle_silence(self, lasted_s: float, *, now: float) -> None:
        if self._config.fair_hearing:
            self._claims.handle_silence(lasted_s, now=now)

    def _gossip(self, *, now: float) -> None:
        dead_since = now - self._config.gossip_to_the_dead_s

        def wants_rumors(entry: Entry) -> bool:
            if entry.state == MemberState.DEAD:
                # Whoever is dead by mistake gets the chance to see it and refute.
                return entry.changed_at >= dead_since
            return entry.state != MemberState.LEFT and entry.name != self._name

        for entry in self._table.sample(self._config.gossip_nodes, wants_rumors):
            self._carrier.send_rumors(entry)

    def _handle_rare(
        self,
        message: Nack | IndirectPing | Alive | Suspect | Dead | UserMessage,
        *,
        source: Address,
        now: float,
    ) -> None:
        match message:
            case Nack():
                self._prober.handle_nack(message)
            case IndirectPing():
                self._handle_indirect_ping(message, source=source, now=now)
            case Alive():
                self._claims.handle_alive(message, now=now, source=source)
            case Suspect():
                self._claims.handle_suspect(message, now=now, source=source)
            case Dead():
                self._claims.handle_dead(message, now=now, source=source)
            case UserMessage():
                self._emit(UserMessageReceived(message.payload, source))
            case _:
                assert_never(message)

    def _handle_ping(self, ping: Ping, *, source: Address, now: float) -> None:
        seq_no, node, addr, port, sender = ping
        if node and node != self._name:
            self._emit(MessageDropped(drops.PING_FOR_ANOTHER_NAME, node))
            return
        to = self._answer_address(sender, addr, port, source, now=now)
        if to is not None:
            self._carrier.send(to, make(Ack, (seq_no, self._ack_payload())))

    def _handle_indirect_ping(self, request: IndirectPing, *, source: Address, now: float) -> None:
        requester = self._answer_address(
            request.source_node, request.source_addr, request.source_port, source, now=now
        )
        port = request.port or self._claims.local.port
        target = Address.from_packed(request.target, port)
        if requester is not None and self._may_send_to(target, now=now):
            self._prober.handle_indirect_ping(request, target=target, requester=requester, now=now)

    def _answer_address(
        self, name: MemberName, addr: bytes, port: int, source: Address, *, now: float
    ) -> Address | None:
        """Where an answer goes: the advertised source where there is one (5.1).

        None: nowhere, because strangers have been answered too much.
        """
        sender = self._table.get(name)
        if sender is not None and sender.addr == addr and sender.port == port:
            return sender.address  # nearly always; a member is no stranger
        to = Address.from_packed(addr, port) if addr and port else source
        return to if self._may_send_to(to, now=now) else None

    def _may_send_to(self, address: Address, *, now: float) -> bool:
        if self._table.has_address(address) or self._stranger_answers.take(now=now):
            return True
        self._emit(MessageDropped(drops.ANSWER_RATE, str(address)))
        return False

    def _take_effects(self) -> list[SwimEffect]:
        if not self._effects:
            return []
        effects = self._effects.copy()
        self._effects.clear()
        return effects
