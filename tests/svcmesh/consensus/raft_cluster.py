"""Raft servers in virtual time: disks that lose what was not synced, a network that does its worst.

Everything follows from one seed. Servers hold a small key/value state machine; clients write,
compare and read, and note when they asked and when they were answered.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgpack

from svcmesh.consensus.raft import (
    Committed,
    Effect,
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    MembersChanged,
    Membership,
    NotLeader,
    Raft,
    RaftConfig,
    ReadFailed,
    ReadId,
    ReadReady,
    Role,
    RoleChanged,
    Save,
    Send,
    SendSnapshot,
    ServerId,
    SnapshotInstalled,
    SnapshotMeta,
    Term,
)
from svcmesh.consensus.raft.messages import Message
from svcmesh.simulate.clock import Timer, VirtualClock
from svcmesh.simulate.linearizability import Operation

State = dict[str, int]

CLIENT_TIMEOUT_S = 1.5
SNAPSHOT_ENTRIES = 40
TRAILING = 10


@dataclass
class Disk:
    """What has been synced. A crash leaves this, and a part of what was under way."""

    hard_state: HardState
    snapshot: SnapshotMeta
    state: State
    entries: list[Entry] = field(default_factory=list)

    def write(self, save: Save) -> None:
        self.hard_state = save.hard_state
        if save.entries:
            first = save.entries[0].index
            self.entries = [e for e in self.entries if e.index < first] + list(save.entries)


class Observer:
    """Sees everything that servers do; raises when something may not be. See `checkers.py`."""

    def on_leader(self, server: "SimServer", term: Term) -> None: ...

    def on_commit(self, server: "SimServer", entry: Entry) -> None: ...


class SimServer:
    """One server: its disk, and while it runs its machine, state and clock."""

    def __init__(self, cluster: "SimCluster", server_id: ServerId, members: Membership) -> None:
        self.id = server_id
        self.disk = Disk(HardState(), SnapshotMeta(LogIndex(0), Term(0), members), {})
        self.raft: Raft | None = None
        self.state: State = {}
        self.applied = LogIndex(0)
        self.is_paused = False
        self._cluster = cluster
        self._rate, self._offset = 1.0, 0.0
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._saves: list[Save] = []
        self._save_ends_at = 0.0
        self._life = 0
        self._waiting: dict[LogIndex, tuple[Term, Callable[[object], None]]] = {}
        self._reads: dict[ReadId, Callable[[bool], None]] = {}
        self._ready_reads: list[tuple[LogIndex, Callable[[bool], None]]] = []

    @property
    def now(self) -> float:
        """Its own monotonic clock."""
        return self._offset + self._rate * self._cluster.clock.now

    @property
    def is_running(self) -> bool:
        return self.raft is not None

    @property
    def machine(self) -> Raft:
        assert self.raft is not None
        return self.raft

    def start(self) -> None:
        """Begin a life from the disk."""
        cluster = self._cluster
        self._life += 1
        self._rate = 1 + cluster.rng.uniform(-cluster.clock_drift, cluster.clock_drift)
        self._offset = cluster.rng.uniform(0, 1000)
        self.state, self.applied = dict(self.disk.state), self.disk.snapshot.index
        self.raft = cluster.make_raft(
            cluster.config,
            self.id,
            hard_state=self.disk.hard_state,
            snapshot=self.disk.snapshot,
            entries=self.disk.entries,
            now=self.now,
            rng=Random(cluster.rng.random()),
        )
        self._arm()

    def crash(self) -> None:
        """Stop without a word. Of what was not synced a part may have reached the disk."""
        for save in self._saves:
            if self._cluster.rng.random() < 0.5:
                break
            self.disk.write(save)
        self.raft = None
        self.is_paused = False
        self._saves = []
        self._waiting.clear()
        self._reads.clear()
        self._ready_reads.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def receive(self, sender: ServerId, message: Message) -> None:
        if self.raft is None:
            return
        if self.is_paused:
            self._cluster.clock.post(0.05, self.receive, sender, message)
            return
        self._act(self.raft.handle_message(sender, message, now=self.now))

    def receive_snapshot(
        self, sender: ServerId, term: Term, meta: SnapshotMeta, state: State
    ) -> None:
        if self.raft is None or self.is_paused:
            return
        effects = self.machine.handle_snapshot(sender, term, meta, now=self.now)
        for effect in effects:
            if isinstance(effect, SnapshotInstalled):
                self.disk.snapshot, self.disk.state = meta, dict(state)
                self.disk.entries = []
                self._saves = [Save(save.token, save.hard_state, ()) for save in self._saves]
        self._act(effects, installed=state)

    def propose(self, command: tuple[object, ...], done: Callable[[object], None]) -> bool:
        """Ask for a command; False when it is refused at once."""
        index, effects = self.machine.propose([msgpack.packb(command)], now=self.now)
        if not isinstance(index, int):
            return False
        self._waiting[index] = (self.machine.term, done)
        self._act(effects)
        return True

    def read(self, done: Callable[[bool], None], *, by_lease: bool) -> bool:
        """Begin a read of the state; False when it is refused at once. A follower asks."""
        if by_lease and self.machine.role is Role.LEADER:
            if not self.machine.has_lease(self.applied, now=self.now):
                return False
            done(True)
            return True
        read, effects = self.machine.read(now=self.now, by_lease=by_lease)
        if isinstance(read, NotLeader):
            return False
        self._reads[read] = done
        self._act(effects)
        return True

    def change_members(self, members: Membership) -> None:
        _, effects = self.machine.change_members(members, now=self.now)
        self._act(effects)

    def transfer(self, to: ServerId) -> None:
        _, effects = self.machine.transfer(to, now=self.now)
        self._act(effects)

    def act(self, effects: list[Effect]) -> None:
        self._act(effects)

    def _act(self, effects: list[Effect], installed: State | None = None) -> None:
        cluster = self._cluster
        for effect in effects:
            match effect:
                case Send():
                    cluster.network_send(self.id, effect.to, effect.message)
                case Save():
                    self._begin_save(effect)
                case SendSnapshot():
                    cluster.send_snapshot(self, effect)
                case Committed():
                    self._apply(effect.through)
                case ReadReady():
                    self._ready_reads.append((effect.index, self._reads.pop(effect.id)))
                    self._finish_reads()
                case ReadFailed():
                    self._reads.pop(effect.id)(False)
                case RoleChanged():
                    if effect.role is Role.LEADER:
                        cluster.observer.on_leader(self, effect.term)
                case SnapshotInstalled():
                    assert installed is not None
                    self.state, self.applied = dict(installed), effect.meta.index
                case MembersChanged():
                    pass
        self._arm()

    def _begin_save(self, save: Save) -> None:
        clock = self._cluster.clock
        self._saves.append(save)
        delay_s = self._cluster.rng.uniform(0, self._cluster.save_s_max)
        self._save_ends_at = max(clock.now, self._save_ends_at) + delay_s
        clock.post_at(self._save_ends_at, self._end_save, save, self._life)

    def _end_save(self, save: Save, life: int) -> None:
        if life != self._life or self.raft is None:
            return
        if self.is_paused:
            self._cluster.clock.post(0.05, self._end_save, save, life)
            return
        while self._saves and self._saves[0].token <= save.token:
            self.disk.write(self._saves.pop(0))
        self._act(self.raft.handle_saved(save.token, now=self.now))

    def _apply(self, through: LogIndex) -> None:
        log = self.machine.log
        for entry in log.between(self.applied, through):
            self._cluster.observer.on_commit(self, entry)
            result: object = None
            if entry.kind == EntryKind.COMMAND:
                result = apply(self.state, entry.data)
            self.applied = entry.index
            waiting = self._waiting.pop(entry.index, None)
            if waiting is not None:
                term, done = waiting
                done(result if term == entry.term else LOST)
        self._finish_reads()
        if self.applied - log.snapshot.index >= SNAPSHOT_ENTRIES:
            meta = self.machine.compact(self.applied, trailing=TRAILING)
            self.disk.snapshot, self.disk.state = meta, dict(self.state)
            kept_from = log.first_index
            self.disk.entries = [e for e in self.disk.entries if e.index >= kept_from]

    def _finish_reads(self) -> None:
        ready = [read for read in self._ready_reads if read[0] <= self.applied]
        self._ready_reads = [read for read in self._ready_reads if read[0] > self.applied]
        for _, done in ready:
            done(True)

    def _arm(self) -> None:
        """See that the timer does not come too late. One that comes early is armed again then.

        Deadlines are moved on by every message: to cancel a timer each time costs more than it.
        """
        if self.raft is None:
            return
        due_at = self._due_at(self.raft)
        if self._timer is not None:
            if self._timer_at <= due_at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._cluster.clock.call_at(due_at, self._on_timer), due_at

    def _due_at(self, raft: Raft) -> float:
        """When its clock has reached the deadline, by the cluster's."""
        return (raft.next_deadline_at - self._offset) / self._rate + 1e-6

    def _on_timer(self) -> None:
        self._timer = None
        if self.raft is None:
            return
        clock = self._cluster.clock
        if self.is_paused:
            self._timer_at = clock.now + 0.05
            self._timer = clock.call_at(self._timer_at, self._on_timer)
        elif clock.now < self._due_at(self.raft):
            self._arm()
        else:
            self._act(self.raft.handle_timer(now=self.now))


LOST = object()
"""The result of a command whose place another one took."""


def apply(state: State, data: bytes) -> object:
    """One command: ("put", key, value) or ("cas", key, expected, value)."""
    kind, key, *rest = msgpack.unpackb(data)
    if kind == "put":
        state[key] = rest[0]
        return True
    if state.get(key, 0) != rest[0]:
        return False
    state[key] = rest[1]
    return True


class SimCluster:
    """Servers, network and clients."""

    def __init__(
        self,
        seed: int,
        size: int,
        *,
        observer: Observer | None = None,
        make_raft: Callable[..., Raft] = Raft,
        config: RaftConfig | None = None,
        loss: float = 0.0,
        duplication: float = 0.0,
        latency_s: tuple[float, float] = (0.001, 0.02),
        save_s_max: float = 0.01,
        clock_drift: float = 0.0,
        spares: int = 0,
    ) -> None:
        self.rng = Random(seed)
        self.clock = VirtualClock()
        self.config = config or RaftConfig()
        self.observer = observer or Observer()
        self.make_raft = make_raft
        self.loss, self.duplication, self.latency_s = loss, duplication, latency_s
        self.save_s_max, self.clock_drift = save_s_max, clock_drift
        self.cut: set[tuple[ServerId, ServerId]] = set()
        """Links that carry nothing, in this direction."""
        ids = [ServerId(f"s{n}") for n in range(size + spares)]
        members = Membership.of(set(ids[:size]))
        self.servers = {id_: SimServer(self, id_, members) for id_ in ids}
        self.history: list[Operation] = []
        for id_ in ids[:size]:
            self.servers[id_].start()

    @property
    def running(self) -> list[SimServer]:
        return [server for server in self.servers.values() if server.raft is not None]

    @property
    def leaders(self) -> list[SimServer]:
        """Whoever takes itself for the leader."""
        return [
            server
            for server in self.servers.values()
            if server.raft is not None and server.raft.role is Role.LEADER
        ]

    def leader(self) -> SimServer:
        """The one of the latest term."""
        return max(self.leaders, key=lambda server: server.machine.term)

    def run(self, seconds: float) -> None:
        self.clock.run_until(self.clock.now + seconds)

    def run_until(self, is_so: Callable[[], bool], *, within_s: float) -> float:
        """Run until something holds; how long that took."""
        began_at = self.clock.now
        while not is_so():
            assert self.clock.now - began_at < within_s, "not within the time"
            self.run(0.01)
        return self.clock.now - began_at

    def network_send(self, sender: ServerId, to: ServerId, message: Message) -> None:
        random = self.rng.random
        if (sender, to) in self.cut or random() < self.loss or to not in self.servers:
            return
        shortest_s, longest_s = self.latency_s
        for _ in range(2 if random() < self.duplication else 1):
            delay_s = shortest_s + (longest_s - shortest_s) * random()
            self.clock.post(delay_s, self._deliver, sender, to, message)

    def _deliver(self, sender: ServerId, to: ServerId, message: Message) -> None:
        if (sender, to) not in self.cut:
            self.servers[to].receive(sender, message)

    def send_snapshot(self, sender: SimServer, ask: SendSnapshot) -> None:
        meta, state = sender.disk.snapshot, dict(sender.disk.state)

        def arrive() -> None:
            is_ok = (sender.id, ask.to) not in self.cut and self.servers[ask.to].is_running
            if is_ok:
                self.servers[ask.to].receive_snapshot(sender.id, ask.term, meta, state)
            if sender.is_running:
                sender.act(
                    sender.machine.handle_snapshot_sent(
                        ask.to, meta.index, is_ok=is_ok, now=sender.now
                    )
                )

        self.clock.call_later(self.rng.uniform(0.02, 0.2), arrive)

    # -- faults ---------------------------------------------------------------------------------

    def split(self, side: set[ServerId]) -> None:
        """Cut the servers of `side` off from the others, both ways."""
        others = set(self.servers) - side
        self.cut = {(a, b) for a in side for b in others} | {(b, a) for a in side for b in others}

    def heal(self) -> None:
        self.cut = set()

    # -- clients --------------------------------------------------------------------------------

    def start_client(self, number: int, *, keys: int = 3, by_lease: bool = False) -> None:
        """A client that asks for one thing after the other, for ever."""
        rng = Random(self.rng.random())
        value = [0]

        def ask() -> None:
            key = f"k{rng.randrange(keys)}"
            kind = rng.choice(("put", "cas", "get", "get"))
            value[0] += 1
            own = number * 1_000_000 + value[0]
            argument: tuple[int, ...] = ()
            if kind == "put":
                argument = (own,)
            elif kind == "cas":
                argument = (self._guess(rng, key), own)
            operation = Operation(number, key, kind, argument, self.clock.now)
            self.history.append(operation)
            is_over = [False]

            def finish(result: object, *, is_refused: bool = False) -> None:
                if is_over[0]:
                    return
                is_over[0] = True
                if is_refused:
                    operation.is_refused = True
                elif result is not LOST:
                    operation.returned_at, operation.result = self.clock.now, result
                else:
                    operation.is_refused = True
                self.clock.post(rng.uniform(0.005, 0.1), ask)

            def give_up() -> None:
                if not is_over[0]:
                    is_over[0] = True
                    self.clock.post(rng.uniform(0.005, 0.1), ask)

            self.clock.post(CLIENT_TIMEOUT_S, give_up)
            # Followers read too, by the leader's leave.
            is_anywhere = kind == "get" and rng.random() < 0.5
            candidates = self.running if is_anywhere else self.leaders or self.running
            if not candidates:
                finish(None, is_refused=True)
                return
            server = rng.choice(candidates)
            if server.is_paused:
                return
            if kind == "get":

                def answer(is_ok: bool) -> None:
                    if is_ok:
                        finish(server.state.get(key, 0))
                    else:
                        finish(None, is_refused=True)

                if not server.read(answer, by_lease=by_lease):
                    finish(None, is_refused=True)
            elif not server.propose((kind, key, *argument), finish):
                finish(None, is_refused=True)

        self.clock.post(rng.uniform(0, 0.2), ask)

    def _guess(self, rng: Random, key: str) -> int:
        """A value that the key may have, so that comparisons succeed now and then."""
        servers = self.running
        return rng.choice(servers).state.get(key, 0) if servers else 0
