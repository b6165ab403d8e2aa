"""Data centers in virtual time: real WAN gossip between their servers, and summaries on top.

Each server has a catalog view with all nodes of its data center. The catalog's own replication is
not simulated: what changes reaches each server of the data center a few milliseconds later.
"""

from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import Final

from gossip.config import GossipConfig, wan
from gossip.serf.events import MemberStatus
from svcmesh.catalog.changes import (
    NodeBound,
    NodeHealthChanged,
    OwnNode,
    RecordChanged,
    ViewChange,
)
from svcmesh.catalog.records import Kind, NodeId, NodeRecord, ServiceRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.simulate.clock import Timer
from svcmesh.simulate.member import SimulatedMember
from svcmesh.simulate.network import Link
from svcmesh.simulate.pool import SimulatedPool
from svcmesh.summaries import Peer, Send, ServiceCount, ServiceCounts, Summaries

LAN_S: Final = (0.002, 0.03)
"""How long a change of the catalog takes to another server of its data center."""
DATAGRAM_BYTES_MAX: Final = 1350
UDP_HEADERS_BYTES: Final = 28
TCP_HEADERS_BYTES: Final = 52
"""Of one segment, with the usual options."""
TCP_SEGMENT_BYTES: Final = 1400
TCP_EMPTY_SEGMENTS: Final = 6
"""Opening, acknowledging and closing a connection."""
EPOCH_MS: Final = 1_800_000_000_000


class SimulatedServer:
    """One server: its member of the WAN pool, its view of the catalog, its summaries."""

    def __init__(
        self, federation: "SimulatedFederation", datacenter: str, number: int, node_id: str
    ) -> None:
        self.datacenter = datacenter
        self.name = f"s{number}.{datacenter}"
        self.node_id = node_id
        self.sent_bytes = 0
        """Of summaries to other data centers, headers included."""
        self._federation, self._clock = federation, federation.pool.clock
        self._timer: Timer | None = None
        self.view = CatalogView(local_node_id=NodeId(node_id), datacenter=datacenter, index_start=1)
        self._counts = ServiceCounts(self.view)
        tags = {"role": "consul", "dc": datacenter, "id": node_id}
        self.member: SimulatedMember = federation.pool.add(self.name, tags=tags)
        self._begin()

    def _begin(self) -> None:
        self.summaries = Summaries(
            Peer(self.name, self.datacenter, self.node_id),
            self._counts,
            is_ready=lambda: True,
            now=self._clock.now,
            rng=self._federation.pool.new_rng(),
        )
        self._federation.pool.network.attach(("summaries", self.name), self._receive, self._serve)

    def crash(self) -> None:
        """End the process; its host refuses connections."""
        self.member.crash()
        self._federation.pool.network.detach(("summaries", self.name))
        if self._timer is not None:
            self._timer.cancel()

    def restart(self) -> None:
        """Begin anew, with the catalog and without what others have said."""
        self.member.restart()
        self._begin()
        self.note_members()

    def counted(self) -> dict[str, ServiceCount]:
        """What its own catalog has."""
        return dict(self._counts.all())

    def said_of(self, datacenter: str) -> dict[str, ServiceCount]:
        """What it believes of a data center."""
        return {
            name: ServiceCount(entry.instances, entry.healthy)
            for name, entry in self.summaries.entries(datacenter)
        }

    def apply(self, change: ViewChange) -> None:
        """Take in a change of the catalog; one that is down catches up when it is back."""
        self.view.apply(change)
        if self.member.is_running:
            self.summaries.note_counts(now=self._clock.now)
            self._rearm()

    def note_members(self) -> None:
        """Look at the member table anew."""
        if not self.member.is_running:
            return
        known = self.member.machine.members()
        alive = [
            Peer(each.name, each.tags["dc"], each.tags["id"])
            for each in known
            if each.status is MemberStatus.ALIVE
        ]
        names = {each.tags["dc"] for each in known if each.status is not MemberStatus.LEFT}
        self.summaries.set_peers(alive, names, now=self._clock.now)
        self._rearm()

    def _receive(self, _: object, payload: bytes) -> None:
        self._act(self.summaries.handle_message_untrusted(payload, now=self._clock.now))

    def _serve(self, _: object, payload: bytes) -> None:
        self._receive(_, payload)

    def _act(self, effects: Iterable[Send]) -> None:
        for effect in effects:
            self._federation.carry(self, effect)
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.summaries.next_deadline_at < inf:
            self._timer = self._clock.call_at(self.summaries.next_deadline_at, self._wake)

    def _wake(self) -> None:
        now = self._clock.now
        wall_ms = EPOCH_MS + int(now * 1000)
        self._act(self.summaries.handle_timer(now=now, wall_ms=wall_ms))


class SimulatedFederation:
    """Several data centers, all of the same size, each with services of its own on its nodes."""

    def __init__(
        self,
        *,
        datacenters: int,
        servers: int,
        nodes: int,
        services: int,
        seed: int,
        link: Link | None = None,
    ) -> None:
        """Start the servers, which know nobody yet; every service has one instance."""
        link = link or Link(latency_s_min=0.02, latency_s_max=0.06)
        self.pool = SimulatedPool(seed=seed, config=GossipConfig(swim=wan()), link=link)
        self.pool.keeps_events = False
        self.pool.observers.append(lambda member, _: self._note(member))
        self._rng: Random = self.pool.new_rng()
        self._nodes, self._services = nodes, services
        self._by_member: dict[SimulatedMember, SimulatedServer] = {}
        self.datacenters: dict[str, list[SimulatedServer]] = {}
        for number in range(1, datacenters + 1):
            self._add_datacenter(f"dc{number}", servers)

    def _add_datacenter(self, name: str, servers: int) -> None:
        found = [
            SimulatedServer(self, name, number, f"{self._rng.getrandbits(64):016x}")
            for number in range(1, servers + 1)
        ]
        self.datacenters[name] = found
        self._by_member.update({server.member: server for server in found})
        for server in found:
            for change in self._catalog(name):
                server.view.apply(change)
            server.note_members()

    def _catalog(self, datacenter: str) -> Iterable[ViewChange]:
        for number in range(self._nodes):
            owner = self.node(number)
            record = NodeRecord(name=f"n{number}", address="10.0.0.1", datacenter=datacenter)
            yield RecordChanged(owner, Kind.NODE, "", None, record)
            yield NodeBound(owner.node_id, record.name, is_alive=True)
        for number in range(self._services):
            yield self.registration(number, number % self._nodes)

    @staticmethod
    def node(number: int) -> OwnNode:
        """A node of every data center."""
        return OwnNode(NodeId(f"node-{number}"))

    def registration(self, service: int, node: int) -> RecordChanged:
        """An instance of a service on a node."""
        name = f"service-{service:04}"
        record = ServiceRecord(id=name, name=name, port=80)
        return RecordChanged(self.node(node), Kind.SERVICE, name, None, record)

    def fail_node(self, datacenter: str, number: int, *, is_alive: bool = False) -> None:
        """Have a node declared dead by its data center, or alive again."""
        self.change(datacenter, NodeHealthChanged(self.node(number).node_id, is_alive))

    def change(self, datacenter: str, change: ViewChange) -> None:
        """Change the catalog of a data center."""
        for server in self.datacenters[datacenter]:
            self.pool.clock.post(self._rng.uniform(*LAN_S), server.apply, change)

    def servers(self) -> list[SimulatedServer]:
        """Those that run."""
        return [
            server
            for found in self.datacenters.values()
            for server in found
            if server.member.is_running
        ]

    def join(self) -> None:
        """Have every server join the first one."""
        first, *others = self.servers()
        for server in others:
            server.member.join(first.member)

    def agrees(self) -> bool:
        """Whether every server says of every data center what that has."""
        servers = self.servers()
        truth = {server.datacenter: server.counted() for server in servers}
        return all(
            server.said_of(name) == counts for server in servers for name, counts in truth.items()
        )

    def run_until(self, condition: Callable[[], bool], *, limit_s: float) -> float | None:
        """Run until `condition` holds: how long that took; None if longer than the limit."""
        began_at = self.pool.clock.now
        if not self.pool.run_until(condition, limit_s=limit_s, step_s=0.05):
            return None
        return self.pool.clock.now - began_at

    def publisher(self, datacenter: str) -> SimulatedServer:
        """The running server with the lowest id."""
        running = [one for one in self.datacenters[datacenter] if one.member.is_running]
        return min(running, key=lambda one: one.node_id)

    def carry(self, source: SimulatedServer, effect: Send) -> None:
        """Take a message to its receiver: a datagram if it fits, else a stream."""
        target = ("summaries", effect.to)
        size = len(effect.payload)
        is_far = not effect.to.endswith(f".{source.datacenter}")
        network = self.pool.network
        if size <= DATAGRAM_BYTES_MAX:
            source.sent_bytes += is_far * (size + UDP_HEADERS_BYTES)
            network.send(("summaries", source.name), target, effect.payload)
            return
        segments = -(-size // TCP_SEGMENT_BYTES) + TCP_EMPTY_SEGMENTS
        source.sent_bytes += is_far * (size + segments * TCP_HEADERS_BYTES)
        # The connection is opened first: one round trip.
        self.pool.clock.post(2 * network.link.latency_s_max, self._deliver, source, target, effect)

    def _deliver(self, source: SimulatedServer, target: tuple[str, str], effect: Send) -> None:
        self.pool.network.exchange(
            ("summaries", source.name),
            target,
            effect.payload,
            timeout_s=30.0,
            done=lambda _, __: None,
        )

    def _note(self, member: SimulatedMember) -> None:
        server = self._by_member.get(member)
        if server is not None:
            server.note_members()
