"""Many members in virtual time, and the clock and network they share.

Everything follows from one seed: the network's dice, and one generator for each member's life.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from gossip.config import GossipConfig
from gossip.serf import as_member
from gossip.serf.events import Event, MemberStatus
from gossip.types import Address, MemberName
from svcmesh.simulate.clock import VirtualClock
from svcmesh.simulate.member import PORT, Admit, SimulatedMember
from svcmesh.simulate.network import Link, SimulatedNetwork

Observer = Callable[[SimulatedMember, Event], None]


class SimulatedPool:
    """A network of members, and the clock they live by."""

    def __init__(
        self, *, seed: int, config: GossipConfig | None = None, link: Link | None = None
    ) -> None:
        self.seed = seed
        self.clock = VirtualClock()
        self.rng = Random(seed)
        self.network = SimulatedNetwork(self.clock, rng=self.new_rng(), link=link)
        self.members: list[SimulatedMember] = []
        self.sent_bytes = 0
        """In datagrams, without labels, encryption and headers."""
        self.handled = 0
        """Packets, stream messages and timers that machines have handled."""
        self.service_s = 0.0
        """How long new members work on each arrival."""
        self.keeps_events = True
        """Whether members remember what they told; large pools leave that to `observers`."""
        self.observers: list[Observer] = []
        """Told every event as it occurs."""
        self._config = config or GossipConfig()

    def new_rng(self) -> Random:
        """A generator of its own for one component."""
        return Random(self.rng.getrandbits(64))

    def note(self, member: SimulatedMember, event: Event) -> None:
        """A member tells something."""
        if self.keeps_events:
            member.events.append((self.clock.now, event))
        for observer in self.observers:
            observer(member, event)

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
        member = self._new_member(name, address, config=config, tags=tags, admit=admit)
        member.start()
        return member

    def add_stopped(self, count: int) -> list[SimulatedMember]:
        """Others, which have not started."""
        return [self._new_member() for _ in range(count)]

    def start_known(self, members: Sequence[SimulatedMember]) -> None:
        """Start members of which each knows all, as if the pool had stood for long."""
        nodes = [member.as_node() for member in members]
        known = [(node, as_member(node)) for node in nodes]
        for member in members:
            member.start_known(known)

    def add_joined(self, count: int) -> list[SimulatedMember]:
        """Start `count` members that join the first one, and run until all see all alive."""
        first, *others = added = [self.add() for _ in range(count)]
        for member in others:
            member.join(first)
        assert self.run_until(self.all_see_all_alive, limit_s=60), f"no pool, seed {self.seed}"
        return added

    def _new_member(
        self,
        name: str | None = None,
        address: Address | None = None,
        *,
        config: GossipConfig | None = None,
        tags: Mapping[str, str] | None = None,
        admit: Admit | None = None,
    ) -> SimulatedMember:
        number = len(self.members) + 1
        member = SimulatedMember(
            self,
            MemberName(name or f"n{number}"),
            address or Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", PORT),
            config=config or self._config,
            tags=tags or {},
            admit=admit,
        )
        self.members.append(member)
        return member

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
