"""Many members in virtual time: the second shell around `gossip.serf.Serf`.

Datagrams carry the real encoded messages; streams pass their messages by reference. Everything
follows from one seed: the network's dice, and one generator for each member's life.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import assert_never

from gossip.config import GossipConfig
from gossip.serf import Serf
from gossip.serf.events import Effect, Event, Member, MemberStatus
from gossip.swim.effects import OpenPushPull, OpenTcpPing, SendPacket
from gossip.types import Address, Incarnation, MemberName
from gossip.wire.codec import decode_message_untrusted
from gossip.wire.messages import Ack, ErrorReply, PacketMessage, Ping, PushPull
from svcmesh.simulate.clock import Timer, VirtualClock
from svcmesh.simulate.network import Link, SimulatedNetwork

PORT = 7946
Admit = Callable[[Sequence[Member]], str | None]


# A rumor is the same bytes wherever it goes; decoding it once makes large pools affordable.
@lru_cache(maxsize=4096)
def _decoded(part: bytes) -> PacketMessage:
    return decode_message_untrusted(part)


class SimulatedMember:
    """One member: a machine, its timer, and what it told. Crashing and restarting keep the name.

    Invariant: while it runs and is not paused, a timer is armed at or before the machine's earliest
    deadline.
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
        self.packets: list[tuple[float, SendPacket]] = []
        """What it sent, while `records_packets`."""
        self.records_packets = False
        self._pool, self._tags, self._admit = pool, dict(tags), admit
        self._machine: Serf | None = None
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._paused = False

    @property
    def machine(self) -> Serf:
        """The running machine."""
        assert self._machine is not None, f"{self.name} does not run"
        return self._machine

    @property
    def is_running(self) -> bool:
        return self._machine is not None

    def start(self, *, incarnation: int = 1) -> None:
        """Begin a life; the incarnation should be above that of any life before."""
        assert self._machine is None
        self._machine = Serf(
            self.config,
            name=self.name,
            address=self.address,
            tags=self._tags,
            incarnation=Incarnation(incarnation),
            rng=self._pool.new_rng(),
            now=self._pool.clock.now,
            admit=self._admit,
        )
        self._pool.network.attach(self.address, self._receive, self._serve)
        self._act(self._machine.start(now=self._pool.clock.now))

    def join(self, to: "SimulatedMember | Address") -> int:
        """Join the pool of another member; the stream's id."""
        address = to if isinstance(to, Address) else to.address
        stream_id, effects = self.machine.join(address, now=self._pool.clock.now)
        self._act(effects)
        return stream_id

    def leave(self) -> None:
        """Leave gracefully; the machine is stopped by `crash` afterwards."""
        self._act(self.machine.leave(now=self._pool.clock.now))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change the tags, for later lives too."""
        self._tags = dict(tags)
        self._act(self.machine.set_tags(tags, now=self._pool.clock.now))

    def crash(self) -> None:
        """Stop without a word."""
        self._pool.network.detach(self.address)
        self._machine = None
        self._paused = False
        self._disarm()

    def pause(self) -> None:
        """Freeze the process: nothing is read, no timer runs."""
        self._paused = True
        self._pool.network.hold(self.address)
        self._disarm()

    def resume(self) -> None:
        """Let it go on: first what waits in its sockets, then its timers."""
        self._paused = False
        self._pool.network.release(self.address)
        self._rearm()

    def take(self, message: PacketMessage, *, source: Address) -> None:
        """Hand it a message as if a datagram with it had come from `source`."""
        self._act(self.machine.handle_message(message, source=source, now=self._pool.clock.now))

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

    def _receive(self, source: object, parts: tuple[bytes, ...]) -> None:
        assert isinstance(source, Address)
        for part in parts:
            if self._machine is not None:
                self.take(_decoded(part), source=source)

    def _serve(
        self, source: object, request: PushPull | Ping
    ) -> PushPull | Ack | ErrorReply | None:
        assert isinstance(source, Address)
        now = self._pool.clock.now
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
        for effect in effects:
            match effect:
                case SendPacket(to, parts):
                    if self.records_packets:
                        self.packets.append((self._pool.clock.now, effect))
                    self._pool.network.send(self.address, to, parts)
                case OpenPushPull(stream_id, to, state, deadline_at):
                    self._exchange(stream_id, to, state, deadline_at)
                case OpenTcpPing(stream_id, to, ping, deadline_at):
                    self._exchange(stream_id, to, ping, deadline_at)
                case _:
                    self.events.append((self._pool.clock.now, effect))
        self._rearm()

    def _exchange(
        self, stream_id: int, to: Address, request: PushPull | Ping, deadline_at: float
    ) -> None:
        machine = self.machine

        def done(reply: PushPull | Ack | ErrorReply | None, why: str | None) -> None:
            if self._machine is not machine:
                return
            now = self._pool.clock.now
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

        timeout_s = deadline_at - self._pool.clock.now
        self._pool.network.exchange(self.address, to, request, timeout_s=timeout_s, done=done)

    def _rearm(self) -> None:
        if self._machine is None or self._paused:
            return
        at = self._machine.next_deadline_at
        # A timer that is early costs less than moving it after every packet.
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        self._disarm()
        self._timer_at = at
        self._timer = self._pool.clock.call_at(at, self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        self._act(self.machine.handle_timer(now=self._pool.clock.now))


class SimulatedPool:
    """A network of members, and the clock they live by."""

    def __init__(
        self, *, seed: int, config: GossipConfig | None = None, link: Link | None = None
    ) -> None:
        self.seed = seed
        self.clock = VirtualClock()
        self._rng = Random(seed)
        self.network = SimulatedNetwork(self.clock, rng=self.new_rng(), link=link)
        self.members: list[SimulatedMember] = []
        self._config = config or GossipConfig()

    def new_rng(self) -> Random:
        """A generator of its own for one component."""
        return Random(self._rng.getrandbits(64))

    def add(
        self,
        name: str | None = None,
        *,
        address: Address | None = None,
        config: GossipConfig | None = None,
        tags: Mapping[str, str] | None = None,
        admit: Admit | None = None,
    ) -> SimulatedMember:
        """Start another member, with an address of its own unless one is given."""
        number = len(self.members) + 1
        member = SimulatedMember(
            self,
            MemberName(name or f"n{number}"),
            address or Address(f"10.0.{number // 256}.{number % 256}", PORT),
            config=config or self._config,
            tags=tags or {},
            admit=admit,
        )
        self.members.append(member)
        member.start()
        return member

    def add_joined(self, count: int) -> list[SimulatedMember]:
        """Start `count` members that join the first one, and run until all see all alive."""
        first, *others = added = [self.add() for _ in range(count)]
        for member in others:
            member.join(first)
        assert self.run_until(self.all_see_all_alive, limit_s=60), f"no pool, seed {self.seed}"
        return added

    def running(self) -> list[SimulatedMember]:
        """The members with a live machine."""
        return [member for member in self.members if member.is_running]

    def all_see(self, subject: SimulatedMember, status: MemberStatus) -> bool:
        """Whether every other running member agrees on `subject`."""
        others = [member for member in self.running() if member is not subject]
        return all(member.status_of(subject) == status for member in others)

    def all_see_all_alive(self) -> bool:
        """Whether every running member sees exactly the running ones alive."""
        alive = {member.name for member in self.running()}
        return all(
            {m.name for m in member.machine.members() if m.status == MemberStatus.ALIVE} == alive
            for member in self.running()
        )

    def run_for(self, duration_s: float) -> None:
        """Let time pass."""
        self.clock.run_for(duration_s)

    def run_until(
        self, condition: Callable[[], bool], *, limit_s: float, step_s: float = 0.1
    ) -> bool:
        """Run until `condition` holds, looking every `step_s`; False after `limit_s` seconds."""
        end = self.clock.now + limit_s
        while not condition():
            if self.clock.now >= end:
                return False
            self.clock.run_for(min(step_s, end - self.clock.now))
        return True
