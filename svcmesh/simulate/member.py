"""One simulated member: the second shell around `gossip.serf.Serf`, beside the asyncio one.

Datagrams carry the real encoded messages, and beside them those that are not worth being read
again; streams pass their messages by reference.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, assert_never

from gossip.config import GossipConfig
from gossip.serf import Serf
from gossip.serf.events import Effect, Event, Member, MemberStatus
from gossip.swim.effects import OpenPushPull, OpenTcpPing, SendPacket, ShellRequest
from gossip.swim.versions import own_vsn
from gossip.types import Address, Incarnation, MemberName, MemberState, Peer
from gossip.wire.codec import decode_message_untrusted
from gossip.wire.messages import Ack, ErrorReply, PacketMessage, Ping, PushPull, PushPullNode
from gossip.wire.serf_values import encode_tags
from svcmesh.simulate.clock import Entry, cancel
from svcmesh.simulate.process import Process

if TYPE_CHECKING:
    from svcmesh.simulate.pool import SimulatedPool

PORT = 7946
Admit = Callable[[Sequence[Member]], str | None]

# A rumor is the same bytes wherever it goes; decoding it once makes large pools affordable.
_decoded = lru_cache(maxsize=65536)(decode_message_untrusted)


def _compound_bytes(parts: tuple[bytes, ...]) -> int:
    return sum(map(len, parts)) + 2 + 2 * len(parts)


class SimulatedMember:
    """One member: a machine, its timer, and what it told. Crashing and restarting keep the name.

    Invariant: while it runs and is not paused, it is woken at the machine's earliest deadline.
    """

    def __init__(
        self,
        pool: "SimulatedPool",
        name: MemberName,
        address: Address,
        *,
        config: GossipConfig,
        tags: Mapping[str, str],
        admit: Admit | None,
    ) -> None:
        self.name, self.address, self.config = name, address, config
        self.events: list[tuple[float, Event]] = []
        """What it told and when, while the pool `keeps_events`."""
        self.packets: list[tuple[float, SendPacket]] = []
        """What it sent, while `records_packets`."""
        self.records_packets = False
        self.service_s = pool.service_s
        """How long it works on each arrival, from its next start on."""
        self._pool, self._tags, self._admit = pool, dict(tags), admit
        self._clock, self._network = pool.clock, pool.network
        self._machine: Serf | None = None
        self._process: Process | None = None
        self._paused = False
        self._unsent: list[ShellRequest] | None = None
        """What waits to be sent while it is blocked."""
        self._incarnation = 0
        self._peers: list[Peer] = []
        self._wake_at = inf
        """When it is next woken."""
        self._wake_up: Entry | None = None
        """That in the clock's list."""
        self._awaits_turn = False
        """Whether it was woken and its process is too busy to look at its timers yet."""

    @property
    def machine(self) -> Serf:
        """The running machine."""
        assert self._machine is not None, f"{self.name} does not run"
        return self._machine

    @property
    def is_running(self) -> bool:
        return self._machine is not None

    @property
    def is_paused(self) -> bool:
        return self._paused

    def start(self, *, incarnation: int = 1) -> None:
        """Begin a life; the incarnation should be above that of any life before."""
        self._create(incarnation)
        self._act(self.machine.start(now=self._clock.now))

    def start_known(self, others: Sequence[tuple[PushPullNode, Member]]) -> None:
        """Begin the first life as a member that all know, and that knows `others`, for long."""
        now = self._clock.now
        self._create(1)
        self._perform(self.machine.start(now=now))
        self.machine.adopt(others, now=now)
        self._rearm()

    def restart(self) -> None:
        """Begin another life as an agent does: above its past, by way of the peers it knew."""
        self._create(self._incarnation + 1, known_peers=self._peers)
        self._act(self.machine.start(now=self._clock.now))

    def _create(self, incarnation: int, *, known_peers: Iterable[Peer] = ()) -> None:
        assert self._machine is None
        now = self._clock.now
        self._machine = Serf(
            self.config,
            name=self.name,
            address=self.address,
            tags=self._tags,
            incarnation=Incarnation(incarnation),
            rng=self._pool.new_rng(),
            now=now,
            known_peers=known_peers,
            admit=self._admit,
        )
        self._process = self._network.attach(
            self.address,
            self._receive,
            self._serve,
            refused=self._hear_refused,
            service_s=self.service_s,
        )

    def join(self, to: "SimulatedMember | Address") -> int:
        """Join the pool of another member; the stream's id."""
        address = to if isinstance(to, Address) else to.address
        stream_id, effects = self.machine.join(address, now=self._clock.now)
        self._act(effects)
        return stream_id

    def leave(self) -> None:
        """Leave gracefully; the machine is stopped by `crash` afterwards."""
        self._act(self.machine.leave(now=self._clock.now))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change the tags, for later lives too."""
        self._tags = dict(tags)
        self._act(self.machine.set_tags(tags, now=self._clock.now))

    def user_event(self, name: str, payload: bytes) -> None:
        """Send a user event."""
        now = self._clock.now
        _, effects = self.machine.user_event(name, payload, coalesce=False, now=now)
        self._act(effects)

    def drive(self, call: Callable[[Serf, float], Sequence[Effect]]) -> None:
        """Have the running machine do something else at this moment: `call(machine, now)`."""
        self._act(call(self.machine, self._clock.now))

    def crash(self, *, host_too: bool = False) -> None:
        """Stop without a word; the host refuses connections, or is silent if it goes too."""
        self._unsent = None
        if self._machine is not None:
            self._incarnation = self._machine.incarnation
            self._peers = self._machine.peers()
        self._network.detach(self.address, host_too=host_too)
        self._machine = self._process = None
        self._paused = self._awaits_turn = False
        self._sleep_until(inf)

    def pause(self) -> None:
        """Freeze the process: nothing is read, no timer runs."""
        self._paused = True
        self._network.hold(self.address)
        if self._process is not None:
            # As the agent's loop: what waits in the sockets is read before a timer finds it late.
            self._process.turn(self._report_stall, self._machine, self._clock.now)

    def block(self) -> None:
        """Let messages wait before they are sent and after they have come; timers go on."""
        self._paused = True
        self._unsent = []
        if self._process is not None:
            self._process.block()

    def resume(self) -> None:
        """Let it go on: first what waits in its sockets, then its timers."""
        self._paused = False
        unsent, self._unsent = self._unsent, None
        if unsent:
            self._perform(unsent)
        self._network.release(self.address)

    def set_service_s(self, service_s: float) -> None:
        """Change how long it works on each arrival, now and in later lives."""
        self.service_s = service_s
        if self._process is not None:
            self._process.service_s = service_s

    def take(self, message: PacketMessage, *, source: Address) -> None:
        """Hand it a message as if a datagram with it had come from `source`."""
        self._act(self.machine.handle_message(message, source=source, now=self._clock.now))

    def as_node(self) -> PushPullNode:
        """Itself as others know it in its first life, before it has started."""
        vsn = own_vsn(self.config.serf.delegate_version)
        meta = encode_tags(self._tags)
        host, port = self.address.packed, self.address.port
        return PushPullNode(self.name, host, port, meta, Incarnation(1), MemberState.ALIVE, vsn)

    def statuses(self) -> dict[str, MemberStatus]:
        """Its view of the pool."""
        return {member.name: member.status for member in self.machine.members()}

    def status_of(self, other: "SimulatedMember") -> MemberStatus | None:
        """Its view of one member; None when it knows none of that name."""
        member = self.machine.member(other.name)
        return None if member is None else member.status

    def events_of(self, kind: type[Event]) -> list[tuple[float, Event]]:
        """When it told events of one kind, and which."""
        return [(at, event) for at, event in self.events if isinstance(event, kind)]

    def _receive(self, source: Address, packet: SendPacket) -> None:
        self._pool.handled += 1
        now = self._clock.now
        _, parts, _, message = packet
        for part in parts:
            machine = self._machine
            if machine is None:
                return
            if message is None:
                message = _decoded(part)
            effects = machine.handle_message(message, source=source, now=now)
            if effects:
                self._perform(effects)
            message = None
        self._rearm()

    def _hear_refused(self, target: Address) -> None:
        """The host at `target` says that nobody listens there."""
        self._act(self.machine.handle_refused(target, now=self._clock.now))

    def _serve(
        self, source: Address, request: PushPull | Ping
    ) -> PushPull | Ack | ErrorReply | None:
        self._pool.handled += 1
        now = self._clock.now
        match request:
            case Ping():
                return self.machine.handle_tcp_ping(request, now=now)
            case PushPull():
                reply, effects = self.machine.handle_push_pull(request, source=source, now=now)
                self._act(effects)
                return reply
            case _:
                assert_never(request)

    def _act(self, effects: Iterable[Effect]) -> None:
        self._perform(effects)
        self._rearm()

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if self._unsent is not None and isinstance(effect, ShellRequest):
                self._unsent.append(effect)
                continue
            if isinstance(effect, SendPacket):
                to, parts, _, _ = effect
                self._network.send(self.address, to, effect)
                self._pool.sent_bytes += (
                    len(parts[0]) if len(parts) == 1 else _compound_bytes(parts)
                )
                if self.records_packets:
                    self.packets.append((self._clock.now, effect))
                continue
            match effect:
                case OpenPushPull(stream_id, to, state, deadline_at):
                    self._exchange(stream_id, to, state, deadline_at)
                case OpenTcpPing(stream_id, to, ping, deadline_at):
                    self._exchange(stream_id, to, ping, deadline_at)
                case _:
                    self._pool.note(self, effect)

    def _exchange(
        self, stream_id: int, to: Address, request: PushPull | Ping, deadline_at: float
    ) -> None:
        machine = self.machine

        def done(reply: PushPull | Ack | ErrorReply | None, why: str | None) -> None:
            if self._machine is not machine:
                return
            self._pool.handled += 1
            now = self._clock.now
            match reply:
                case PushPull():
                    self._act(machine.handle_push_pull_reply(stream_id, reply, now=now))
                case Ack():
                    self._act(machine.handle_tcp_ack(stream_id, reply, now=now))
                case ErrorReply(error):
                    why = f"remote error: {error}"
                    self._act(machine.handle_stream_failed(stream_id, why, now=now))
                case None:
                    assert why is not None
                    self._act(machine.handle_stream_failed(stream_id, why, now=now))

        timeout_s = deadline_at - self._clock.now
        self._network.exchange(self.address, to, request, timeout_s=timeout_s, done=done)

    def _report_stall(self, machine: Serf, began_at: float) -> None:
        if self._machine is machine:
            now = self._clock.now
            self._act(machine.handle_stall(now - began_at, now=now))

    def _rearm(self) -> None:
        if self._machine is not None and (at := self._machine.next_deadline_at) != self._wake_at:
            self._sleep_until(at)

    def _sleep_until(self, at: float) -> None:
        if self._awaits_turn:
            return
        if self._wake_up is not None:
            cancel(self._wake_up)
        self._wake_at = at
        if at < inf:
            now = self._clock.now
            self._wake_up = self._clock.enter(at if at > now else now, self._wake, (self._machine,))

    def _wake(self, machine: Serf) -> None:
        assert self._process is not None
        if self._process.queue is None:
            self._run_timers(machine)
        else:
            self._awaits_turn = True
            self._process.turn(self._take_turn, machine)

    def _take_turn(self, machine: Serf) -> None:
        if self._machine is machine:
            self._awaits_turn = False
            # What was read before may have put off what was due.
            if machine.next_deadline_at <= self._clock.now:
                self._run_timers(machine)
            else:
                self._rearm()

    def _run_timers(self, machine: Serf) -> None:
        self._wake_at = inf
        self._pool.handled += 1
        self._perform(machine.handle_timer(now=self._clock.now))
        self._rearm()
