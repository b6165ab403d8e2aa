"""The member table: what is known of each member, and the ring in which they are probed (8.1, 8.2).

It stores and chooses; when a claim changes an entry is decided in `claims.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from gossip.types import Address, Incarnation, MemberName, MemberState, address_of
from gossip.wire.messages import Alive, PushPullNode

GONE = (MemberState.DEAD, MemberState.LEFT)
_ALIVE = MemberState.ALIVE

_node = lru_cache(maxsize=8192)(PushPullNode)
"""Equal ones are one object: a simulated pool of thousands would have millions of them."""


@dataclass(slots=True, eq=False)
class Entry:
    """One member as SWIM knows it. Address bytes and metadata are as they came (8.4).

    Invariant: `incarnation` never falls while the name belongs to the same address.
    """

    name: MemberName
    addr: bytes
    port: int
    meta: bytes
    vsn: bytes
    incarnation: Incarnation
    state: MemberState
    changed_at: float
    """When `state` last changed, monotonic seconds."""
    tcp_reached: bool = False
    """Whether we have ever reached it by TCP at this address."""
    address: Address = field(init=False)
    _said: PushPullNode | None = None
    """What `as_node` last made, or was made of; exchanges of large pools ask again and again."""

    def __post_init__(self) -> None:
        self.address = address_of(self.addr, self.port)

    @classmethod
    def adopted(cls, node: PushPullNode, *, now: float) -> "Entry":
        """Make a member that lives and was reached for long."""
        name, addr, port, meta, incarnation, _, vsn = node
        # By position, because a large simulated pool makes millions of them before it begins.
        return cls(name, addr, port, meta, vsn, incarnation, _ALIVE, now, True, node)

    @property
    def is_gone(self) -> bool:
        return self.state in GONE

    def move(self, addr: bytes, port: int) -> None:
        """Take over another address."""
        self.addr, self.port = addr, port
        self.tcp_reached = False
        self.address = Address.from_packed(addr, port)

    def says_as_much(self, node: PushPullNode) -> bool:
        """Whether a peer's entry, of a member that lives, is no news."""
        return (
            self.state is MemberState.ALIVE
            and node.state == MemberState.ALIVE
            and node.incarnation == self.incarnation
            and node.addr == self.addr
            and node.port == self.port
        )

    def as_node(self) -> PushPullNode:
        """The entry as a push/pull carries it (6.1)."""
        said = self._said
        if (
            said is None
            or said.incarnation != self.incarnation
            or said.state != self.state
            or said.meta != self.meta
            or said.addr != self.addr
            or said.port != self.port
            or said.vsn != self.vsn
        ):
            said = self._said = _node(
                self.name, self.addr, self.port, self.meta, self.incarnation, self.state, self.vsn
            )
        return said


class MemberTable:
    """Every remembered member, dead and left ones included, in probing order.

    Invariants: ring and index hold the same entries; `present` counts those neither dead nor left;
    the addresses are those of the entries.
    """

    def __init__(self, own_name: MemberName, *, rng: Random) -> None:
        """`rng` orders the ring and chooses partners, and nothing else."""
        self._own_name, self._rng = own_name, rng
        self._by_name: dict[MemberName, Entry] = {}
        self._ring: list[Entry] = []
        self._ring_at = 0
        self._addresses: dict[Address, int] = {}
        self.present = 0
        self._nodes: tuple[PushPullNode, ...] | None = None
        """What `nodes` last made; None since an entry changed."""

    def __len__(self) -> int:
        """The node count of the document: n."""
        return len(self._ring)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._ring)

    @property
    def others_present(self) -> int:
        """How many are neither dead nor left, ourselves not counted."""
        me = self._by_name.get(self._own_name)
        return self.present - (me is not None and not me.is_gone)

    def nodes(self) -> tuple[PushPullNode, ...]:
        """What a push/pull says of everybody, by name, so that equal tables say the same."""
        if self._nodes is None:
            self._nodes = tuple(sorted([entry.as_node() for entry in self._ring]))
        return self._nodes

    def get(self, name: MemberName) -> Entry | None:
        return self._by_name.get(name)

    def has_address(self, address: Address) -> bool:
        """Whether some member listens there."""
        return address in self._addresses

    def at(self, address: Address) -> list[Entry]:
        """The members that listen there, usually one. Goes through all of them."""
        if address not in self._addresses:
            return []
        return [entry for entry in self._ring if entry.address == address]

    def add(self, entry: Entry) -> None:
        """Enter a member that is not known, at a random place of the ring."""
        assert entry.name not in self._by_name
        self._by_name[entry.name] = entry
        self._nodes = None
        ring = self._ring
        ring.append(entry)
        place = self._rng.randrange(len(ring))
        ring[place], ring[-1] = ring[-1], ring[place]
        self._count_address(entry.address, +1)
        self.present += not entry.is_gone

    def adopt(self, nodes: Iterable[PushPullNode], *, now: float) -> None:
        """Enter members that live, at random places of the ring; names that are known stay."""
        by_name, addresses = self._by_name, self._addresses
        adopted = [Entry.adopted(node, now=now) for node in nodes if node.name not in by_name]
        for entry in adopted:
            by_name[entry.name] = entry
            addresses[entry.address] = addresses.get(entry.address, 0) + 1
        self._nodes = None
        self._ring += adopted
        assert len(by_name) == len(self._ring), "a name was given twice"
        self._shuffle()
        self.present += len(adopted)

    def set_state(self, entry: Entry, state: MemberState, *, now: float) -> None:
        """Change a member's state and note when."""
        self._nodes = None
        self.present -= not entry.is_gone
        entry.state, entry.changed_at = state, now
        self.present += not entry.is_gone

    def set_incarnation(self, entry: Entry, incarnation: Incarnation) -> None:
        """Note a later incarnation."""
        self._nodes = None
        entry.incarnation = incarnation

    def take_over(self, entry: Entry, alive: Alive) -> None:
        """Note all that a claim says of a member, but for where and how it is."""
        self._nodes = None
        entry.vsn, entry.meta, entry.incarnation = alive.vsn, alive.meta, alive.incarnation

    def move(self, entry: Entry, addr: bytes, port: int) -> None:
        """Give a member another address."""
        self._nodes = None
        self._count_address(entry.address, -1)
        entry.move(addr, port)
        self._count_address(entry.address, +1)

    def next_to_probe(
        self, *, forget_before: float, forget: Callable[[Entry], None]
    ) -> Entry | None:
        """Walk the ring to the next member that is neither ourselves, dead nor left (8.2).

        At its end the ring forgets who has been gone since before `forget_before`, telling `forget`
        of each, and is shuffled. The wrap-around counts as one look, so in a pool of two a round
        may find nobody.
        """
        looks = 0
        while looks < len(self._ring):
            looks += 1
            if self._ring_at >= len(self._ring):
                self._forget_gone(forget_before, forget)
                self._shuffle()
                self._ring_at = 0
                continue
            entry = self._ring[self._ring_at]
            self._ring_at += 1
            if entry.name != self._own_name and entry.state not in GONE:
                return entry
        return None

    def sample(self, count: int, eligible: Callable[[Entry], bool]) -> list[Entry]:
        """Choose up to `count` different eligible members at random."""
        ring, rng = self._ring, self._rng
        if len(ring) <= 3 * count:
            shuffled = rng.sample(ring, len(ring))
            return [entry for entry in shuffled if eligible(entry)][:count]
        chosen: list[Entry] = []
        # Drawing beats filtering the ring: nearly everybody is eligible in a healthy pool.
        for _ in range(3 * len(ring)):
            if len(chosen) >= count:
                break
            entry = ring[int(rng.random() * len(ring))]
            if eligible(entry) and entry not in chosen:
                chosen.append(entry)
        return chosen

    def _shuffle(self) -> None:
        # By random keys: `Random.shuffle` takes four times as long.
        random = self._rng.random
        self._ring.sort(key=lambda _entry: random())

    def _forget_gone(self, before: float, forget: Callable[[Entry], None]) -> None:
        # Differs from memberlist 0.2: left members are forgotten like dead ones.
        def is_over(entry: Entry) -> bool:
            return entry.is_gone and entry.changed_at < before and entry.name != self._own_name

        if self.present == len(self._ring):
            return
        self._nodes = None
        for entry in filter(is_over, self._ring):
            del self._by_name[entry.name]
            self._count_address(entry.address, -1)
            forget(entry)
        self._ring = [entry for entry in self._ring if not is_over(entry)]

    def _count_address(self, address: Address, change: int) -> None:
        holders = self._addresses.get(address, 0) + change
        if holders:
            self._addresses[address] = holders
        else:
            del self._addresses[address]
