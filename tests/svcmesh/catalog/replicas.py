"""A cluster of `Replica` machines in virtual time, around a model of everybody's member table.

The model stands for gossip: after a change every agent learns of it by itself, at a random instant
within `detection_s`. Names follow Serf's rule, the first alive holder keeps its entry. Whatever
replicas return is applied to a naive picture of the rows (`Shown`) and told to the watchers.

A scenario runs inside `scenario(seed)`, which names the seed when anything fails.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from uuid import UUID

from svcmesh.catalog.changes import (
    AnswerSource,
    BecameReady,
    CatalogDropped,
    CatalogEffect,
    ClockDrift,
    EpochRaised,
    IdentityContested,
    IdentityRestored,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    Owner,
    OwnNode,
    RecordChanged,
    SendCatalog,
)
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    HealthStatus,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
)
from svcmesh.catalog.replica import Replica
from svcmesh.catalog.saving import unpack_untrusted
from svcmesh.simulate import Link, SimulatedNetwork, Timer, VirtualClock

WALL_START_MS = 1_700_000_000_000
ENVELOPE_BYTES = 28 + 6
"""Around every message: IP and UDP headers, the user message's type, memberlist's checksum."""
STREAM_TIMEOUT_S = 10.0
TIMERS_PER_INSTANT_MAX = 1000

RowId = tuple[Kind, str]
Row = tuple[str, Kind, str]
"""Node name, kind, id: what a query sees. External nodes' names begin with `external:`."""


class Phase(Enum):
    """Where one run of an agent is, as the whole world knows."""

    RUNNING = "running"
    CRASHED = "crashed"
    GONE = "gone"
    """Left, or failed so long ago that it was reaped."""


@dataclass
class Shown:
    """What one agent's queries would see, rebuilt from nothing but the effects."""

    records: dict[Owner, dict[RowId, Body]] = field(default_factory=dict)
    names: dict[NodeId, str] = field(default_factory=dict)
    alive: dict[NodeId, bool] = field(default_factory=dict)

    def apply(self, effect: CatalogEffect) -> None:
        match effect:
            case RecordChanged(owner, kind, id, old, new):
                rows = self.records.setdefault(owner, {})
                assert rows.get((kind, id)) == old, f"old of {effect} is {rows.get((kind, id))}"
                assert old != new, effect
                if new is None:
                    del rows[kind, id]
                else:
                    rows[kind, id] = new
            case NodeBound(node_id, name, is_alive):
                self.names[node_id] = name
                self.alive[node_id] = is_alive
            case NodeHealthChanged(node_id, is_alive):
                assert node_id in self.names, effect
                self.alive[node_id] = is_alive
            case NodeUnbound(node_id):
                del self.names[node_id]
                del self.alive[node_id]
            case _:
                pass

    def rows(self) -> dict[Row, Body]:
        """Every row that is visible: of bound nodes, and of external ones."""
        visible: dict[Row, Body] = {}
        for owner, rows in self.records.items():
            match owner:
                case OwnNode(node_id):
                    name = self.names.get(node_id)
                case _:
                    name = f"external:{owner.name}"
            if name is not None:
                visible |= {(name, kind, id): body for (kind, id), body in rows.items()}
        return visible

    def services(self, name: str) -> dict[str, int]:
        """Ports by service id of one node."""
        return {
            id: body.port
            for (node, _, id), body in self.rows().items()
            if node == name and isinstance(body, ServiceRecord)
        }


@dataclass(eq=False)
class Agent:
    """One run of one agent; a restart makes a new object at the same address."""

    serial: int
    name: str
    address: str
    node_id: NodeId
    epoch: int
    wall_offset_s: float
    is_peer: bool
    replica: Replica
    phase: Phase = Phase.RUNNING
    own: dict[RowId, Body] = field(default_factory=dict)
    """What it wrote about itself and has not deleted: the truth about its node."""
    shown: Shown = field(default_factory=Shown)
    table: dict[str, "Agent"] = field(default_factory=dict)
    """Its member table: who holds a name."""
    failed: set[str] = field(default_factory=set)
    facts: list[CatalogEffect] = field(default_factory=list)
    """Effects that are neither rows nor messages, in order."""
    dropped: dict[str, int] = field(default_factory=dict)
    is_ready: bool = False
    is_contested: bool = False
    """It lost its name or id, and does not show its own node to others."""
    messages_sent: int = 0
    streams_sent: int = 0
    bytes_sent: int = 0
    largest_bytes: int = 0
    timer: Timer | None = None
    timer_ran_at: float = -1.0
    timers_at_once: int = 0

    @property
    def is_running(self) -> bool:
        return self.phase is Phase.RUNNING


Watcher = Callable[[Agent, CatalogEffect], None]


class Cluster:
    """Agents, the network between them, and what everybody believes about the members."""

    def __init__(
        self,
        seed: int,
        *,
        config: ReplicaConfig | None = None,
        link: Link | None = None,
        detection_s: float = 0.3,
    ) -> None:
        self.seed = seed
        self.config = config or ReplicaConfig()
        self.clock = VirtualClock()
        self.rng = Random(f"{seed} scenario")
        self.network = SimulatedNetwork(self.clock, rng=Random(f"{seed} network"), link=link)
        self.agents: list[Agent] = []
        """Every run there ever was, in order."""
        self.watchers: list[Watcher] = []
        self._detection_s = detection_s
        self._islands: list[frozenset[str]] = []
        self._serial = 0

    # Runs

    def start(
        self,
        name: str,
        *records: Body,
        address: str | None = None,
        node_id: NodeId | None = None,
        epoch: int | None = None,
        wall_offset_s: float = 0.0,
        is_peer: bool = True,
        expects_peers: bool | None = None,
        config: ReplicaConfig | None = None,
        saved: Mapping[str, bytes] | None = None,
    ) -> Agent:
        """Start an agent that publishes its node and `records`; others learn of it one by one.

        With `saved` it keeps external records on disk, and this is there already.
        """
        self._serial += 1
        if node_id is None:
            node_id = NodeId(str(UUID(int=self.rng.getrandbits(128))))
        if epoch is None:
            epoch = WALL_START_MS + int((self.clock.now + wall_offset_s) * 1000)
        address = address or f"address-{self._serial}"
        if expects_peers is None:
            expects_peers = any(agent.is_running for agent in self.agents)
        replica = Replica(
            config or self.config,
            name=name,
            node_id=node_id,
            epoch=epoch,
            expects_peers=expects_peers,
            now=self.clock.now,
            rng=Random(f"{self.seed} replica {self._serial}"),
        )
        agent = Agent(self._serial, name, address, node_id, epoch, wall_offset_s, is_peer, replica)
        agent.table[name] = agent
        self.agents.append(agent)
        self.network.attach(
            address,
            lambda source, payload: self._receive(agent, str(source), payload),
            lambda source, payload: self._serve(agent, str(source), payload),
        )
        if saved is not None:
            records_saved, versions, broken = unpack_untrusted(saved.items())
            assert not broken
            now = self.clock.now
            self._act(agent, replica.restore_external(records_saved, versions, now=now))
        # An agent is a member like any other to its own replica.
        effects = replica.member_alive(name, node_id, is_peer=is_peer, now=self.clock.now)
        self._act(agent, effects)
        self.put(agent, node_record(name), *records)
        self._arm(agent)
        self._membership_changed()
        return agent

    def start_many(self, count: int, *records: Body) -> list[Agent]:
        """Start n0, n1, ... with the same records, and let them find each other."""
        return [self.start(f"n{n}", *records) for n in range(count)]

    def crash(self, agent: Agent) -> None:
        """Stop it without a word; the others' failure detectors notice."""
        self._stop(agent, Phase.CRASHED)

    def leave(self, agent: Agent) -> None:
        """Stop it with a leave message."""
        self._stop(agent, Phase.GONE)

    def reap(self, agent: Agent) -> None:
        """Everybody forgets a member that failed long ago."""
        assert agent.phase is Phase.CRASHED
        agent.phase = Phase.GONE
        self._membership_changed()

    def restart(
        self,
        agent: Agent,
        *,
        with_epoch: bool = True,
        with_id: bool = True,
        epoch: int | None = None,
        records: Iterable[Body] | None = None,
        saved: Mapping[str, bytes] | None = None,
    ) -> Agent:
        """Start a new run of an agent that was stopped, or crash it first.

        It writes its persisted records again (`records` instead, when given). Without the epoch its
        new one is the wall clock; without the id it gets another, as with `-dev`.
        """
        if agent.is_running:
            self.crash(agent)
        if epoch is None:
            epoch = WALL_START_MS + int((self.clock.now + agent.wall_offset_s) * 1000)
            if with_epoch:
                epoch = max(epoch, agent.epoch + 1)
        if records is None:
            records = agent.own.values()
        return self.start(
            agent.name,
            *(body for body in records if not isinstance(body, NodeRecord)),
            address=agent.address,
            node_id=agent.node_id if with_id else None,
            epoch=epoch,
            wall_offset_s=agent.wall_offset_s,
            is_peer=agent.is_peer,
            saved=saved,
        )

    @property
    def running(self) -> list[Agent]:
        return [agent for agent in self.agents if agent.is_running]

    # Writes

    def put(self, agent: Agent, *bodies: Body) -> None:
        for body in bodies:
            agent.own[row_id(body)] = body
            self._act(agent, agent.replica.put_own(body, now=self.clock.now))

    def delete(self, agent: Agent, kind: Kind, id: str) -> None:
        agent.own.pop((kind, id), None)
        self._act(agent, agent.replica.delete_own(kind, id, now=self.clock.now))

    def put_external(self, agent: Agent, node_name: str, *bodies: Body) -> None:
        for body in bodies:
            effects = agent.replica.put_external(
                node_name, body, now=self.clock.now, wall_ms=self.wall_ms(agent)
            )
            self._act(agent, effects)

    def delete_external(self, agent: Agent, node_name: str, kind: Kind, id: str) -> None:
        effects = agent.replica.delete_external(
            node_name, kind, id, now=self.clock.now, wall_ms=self.wall_ms(agent)
        )
        self._act(agent, effects)

    # Faults

    def partition(self, *islands: Sequence[Agent], is_noticed: bool = True) -> None:
        """Cut the network; when it is noticed, members of other islands count as failed."""
        self.network.partition(*([agent.address for agent in island] for island in islands))
        if is_noticed:
            self._islands = [frozenset(agent.address for agent in island) for island in islands]
            self._membership_changed()

    def cut(self, source: Agent, target: Agent) -> None:
        """Cut one direction. The members stay alive to each other: indirect probes go around."""
        self.network.block(source.address, target.address)

    def heal(self) -> None:
        self.network.heal()
        self._islands = []
        self._membership_changed()

    # Time

    def run(self, duration_s: float) -> None:
        self.clock.run_for(duration_s)

    def run_until(self, condition: Callable[[], bool], *, limit_s: float) -> float:
        """Run until it holds, looking every 10 ms; how long that took. It must within `limit_s`."""
        start = self.clock.now
        while not condition():
            assert self.clock.now - start < limit_s, f"not within {limit_s} s"
            self.clock.run_for(0.01)
        return self.clock.now - start

    def wall_ms(self, agent: Agent) -> int:
        return WALL_START_MS + int((self.clock.now + agent.wall_offset_s) * 1000)

    @property
    def bytes_sent(self) -> int:
        return sum(agent.bytes_sent for agent in self.agents)

    def deliver_untrusted(self, agent: Agent, payload: bytes, *, source: str = "nowhere") -> None:
        """Hand a message to an agent as if it had come from `source`."""
        self._receive(agent, source, payload)

    # Members

    def _membership_changed(self) -> None:
        for agent in self.running:
            delay_s = self.rng.uniform(0.0, self._detection_s)
            self.clock.call_later(delay_s, lambda agent=agent: self._look_around(agent))  # type: ignore[misc]  # mypy cannot type a lambda's default

    def _look_around(self, viewer: Agent) -> None:
        if not viewer.is_running:
            return
        now = self.clock.now
        addresses_in_use = {agent.address for agent in self.running}
        for name, member in list(viewer.table.items()):
            if member is viewer:
                continue
            # A restart that was quicker than the failure detector is a change of the member only.
            if not member.is_running and member.address in addresses_in_use:
                continue
            if self._is_separated(viewer, member) or member.phase is Phase.CRASHED:
                if name not in viewer.failed:
                    viewer.failed.add(name)
                    self._act(viewer, viewer.replica.member_failed(name, now=now))
            elif member.phase is Phase.GONE:
                del viewer.table[name]
                viewer.failed.discard(name)
                self._act(viewer, viewer.replica.member_gone(name, now=now))
        for subject in self.running:
            if subject is viewer or self._is_separated(viewer, subject):
                continue
            holder = viewer.table.get(subject.name)
            is_taken = (
                holder is not None
                and holder.address != subject.address
                and (holder is viewer or subject.name not in viewer.failed)
            )
            if is_taken or (holder is subject and subject.name not in viewer.failed):
                continue
            viewer.table[subject.name] = subject
            viewer.failed.discard(subject.name)
            effects = viewer.replica.member_alive(
                subject.name, subject.node_id, is_peer=subject.is_peer, now=now
            )
            self._act(viewer, effects)

    def _is_separated(self, one: Agent, other: Agent) -> bool:
        homes = [next((i for i in self._islands if a.address in i), None) for a in (one, other)]
        return None not in homes and homes[0] is not homes[1]

    def _stop(self, agent: Agent, phase: Phase) -> None:
        assert agent.is_running
        agent.phase = phase
        self.network.detach(agent.address)
        if agent.timer is not None:
            agent.timer.cancel()
        self._membership_changed()

    # The shell around one replica

    def _receive(self, agent: Agent, source: str, payload: bytes) -> None:
        effects = agent.replica.handle_message_untrusted(
            payload, now=self.clock.now, wall_ms=self.wall_ms(agent)
        )
        self._act(agent, effects, source=source)

    def _serve(self, agent: Agent, source: str, payload: bytes) -> bytes:
        """A message that came by stream; what it causes is sent, not answered."""
        self._receive(agent, source, payload)
        return b""

    def _act(self, agent: Agent, effects: Sequence[CatalogEffect], *, source: str = "") -> None:
        for effect in effects:
            agent.shown.apply(effect)
            for watcher in self.watchers:
                watcher(agent, effect)
            match effect:
                case SendCatalog(to, payload):
                    # A member that just left the table takes its messages with it.
                    if (member := agent.table.get(to)) is not None:
                        assert member is not agent, effect
                        self._send(agent, member.address, payload)
                case AnswerSource(payload):
                    assert source, "there is nobody to answer"
                    self._send(agent, source, payload)
                case CatalogDropped(reason, _):
                    agent.dropped[reason] = agent.dropped.get(reason, 0) + 1
                case EpochRaised(epoch):
                    assert epoch > agent.epoch
                    agent.epoch = epoch
                    agent.facts.append(effect)
                case BecameReady():
                    assert not agent.is_ready, "ready once only"
                    agent.is_ready = True
                    agent.facts.append(effect)
                case IdentityContested() | IdentityRestored():
                    agent.is_contested = isinstance(effect, IdentityContested)
                    agent.facts.append(effect)
                case ClockDrift():
                    agent.facts.append(effect)
                case _:
                    pass
        self._arm(agent)

    def _send(self, agent: Agent, address: str, payload: bytes) -> None:
        assert payload[0] == 0x80
        agent.messages_sent += 1
        agent.bytes_sent += len(payload) + ENVELOPE_BYTES
        agent.largest_bytes = max(agent.largest_bytes, len(payload))
        if len(payload) <= self.config.datagram_bytes_max:
            self.network.send(agent.address, address, payload)
        else:
            agent.streams_sent += 1
            self.network.exchange(
                agent.address,
                address,
                payload,
                timeout_s=STREAM_TIMEOUT_S,
                done=lambda _reply, _why: None,
            )

    def _arm(self, agent: Agent) -> None:
        if agent.timer is not None:
            agent.timer.cancel()
        agent.timer = self.clock.call_at(
            agent.replica.next_deadline_at, lambda: self._handle_timer(agent)
        )

    def _handle_timer(self, agent: Agent) -> None:
        if agent.is_running:
            is_again = agent.timer_ran_at == self.clock.now
            agent.timers_at_once = agent.timers_at_once + 1 if is_again else 0
            agent.timer_ran_at = self.clock.now
            assert agent.timers_at_once < TIMERS_PER_INSTANT_MAX, "its deadline stands still"
            effects = agent.replica.handle_timer(now=self.clock.now, wall_ms=self.wall_ms(agent))
            self._act(agent, effects)


@contextmanager
def scenario(seed: int) -> Iterator[None]:
    """Say which seed failed."""
    try:
        yield
    except Exception as failure:
        failure.add_note(f"seed {seed}")
        raise


def node_record(name: str, *, address: str = "10.0.0.1") -> NodeRecord:
    return NodeRecord(name=name, address=address, datacenter="dc1")


def service(id: str, version: int = 1, *, padding_bytes: int = 0) -> ServiceRecord:
    """One service instance; every version differs in its port."""
    meta = {"padding": "x" * padding_bytes} if padding_bytes else {}
    return ServiceRecord(id=id, name="web", tags=("v",), port=version, meta=meta)


def check(id: str, status: HealthStatus, output: str = "") -> CheckRecord:
    return CheckRecord(id=id, name=id, status=status, output=output)


def row_id(body: Body) -> RowId:
    match body:
        case NodeRecord():
            return Kind.NODE, ""
        case ServiceRecord(id=id):
            return Kind.SERVICE, id
        case CheckRecord(id=id):
            return Kind.CHECK, id
