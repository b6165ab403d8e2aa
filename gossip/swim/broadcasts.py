"""Rumors waiting to be handed on, each with a transmit budget (gossip protocol, section 9).

The least transmitted go first, so a new rumor overtakes old ones; within that the largest that
still fits. What cannot wait, because its author will soon be gone, is urgent and before them all.
Who carries them, and how many bytes a carrier has, is decided by the machines.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NewType

from gossip.types import Address

RumorNo = NewType("RumorNo", int)
"""Submission number of a queued rumor; later ones are higher."""

PASSED_OVER_MAX: Final = 64
"""Rumors that one draw passes over because the receiver knows them; there it ends. Whoever told us
thousands cannot make each packet to it cost that many steps."""


URGENT_TIER: Final = -1
"""Before all that are not urgent, those never sent included."""


def retransmit_limit(mult: int, node_count: int) -> int:
    """How often a rumor is sent in a pool of `node_count` (9.1)."""
    # ceil(log10(n + 1)) is the number of decimal digits of n; no rounding at powers of ten.
    return max(1, mult * (len(str(node_count)) if node_count > 0 else 0))


@dataclass(slots=True)
class _Rumor:
    body: bytes
    name: str | bytes | None
    known_by: set[Address]
    is_urgent: bool = False
    transmits: int = 0

    @property
    def tier(self) -> int:
        """The lowest is drawn from first; an urgent rumor stays in front until it is spread."""
        return URGENT_TIER if self.is_urgent else self.transmits

    def is_wasted_on(self, to: Address | None, *, others_present: int) -> bool:
        """Whether `to` knows it already, and somebody else is there to be told instead."""
        return to in self.known_by and others_present > len(self.known_by)


class Freight:
    """How many rumors wait in all queues of one member.

    Shared by the queues: whether there is anything to tell is asked with every packet.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class BroadcastQueue:
    """A bounded queue of rumors.

    Invariants: at most `size_max` rumors; at most one per name; every rumor is in the tier of its
    number of transmissions or in that of the urgent ones, and tiers are not empty. A full queue
    makes room by forgetting a most transmitted rumor, the smallest and oldest of those.
    """

    def __init__(self, *, size_max: int, freight: Freight | None = None) -> None:
        assert size_max >= 1
        self._size_max = size_max
        self._freight = freight or Freight()
        self._last_no = 0
        self._rumors: dict[RumorNo, _Rumor] = {}
        self._by_name: dict[str | bytes, RumorNo] = {}
        # Sorted by (length, number), so that one bisection finds the largest that fits.
        self._tiers: dict[int, list[tuple[int, RumorNo]]] = {}

    def __len__(self) -> int:
        return len(self._rumors)

    def __contains__(self, no: RumorNo) -> bool:
        """Whether the rumor still has transmissions left."""
        return no in self._rumors

    def is_about(self, name: str | bytes) -> bool:
        """Whether a rumor of that name is queued."""
        return name in self._by_name

    @property
    def has_urgent(self) -> bool:
        """Whether an urgent rumor waits."""
        return URGENT_TIER in self._tiers

    def queue(
        self,
        body: bytes,
        *,
        name: str | bytes | None = None,
        known_by: Iterable[Address] = (),
        is_urgent: bool = False,
    ) -> RumorNo:
        """Add a rumor; one with a `name` replaces the older one of that name.

        `known_by` are members that need not be told: its subject, and who told us.
        """
        if name is not None and (older := self._by_name.get(name)) is not None:
            self._remove(older)
        if len(self._rumors) >= self._size_max:
            self._remove(self._tiers[max(self._tiers)][0][1])
        self._last_no += 1
        no = RumorNo(self._last_no)
        self._rumors[no] = rumor = _Rumor(body, name, set(known_by), is_urgent)
        self._freight.count += 1
        if name is not None:
            self._by_name[name] = no
        self._insert(no, rumor)
        return no

    def note_known(self, name: str | bytes, by: Address) -> None:
        """A member need not be told the rumor of that name, if one is queued."""
        if (no := self._by_name.get(name)) is not None:
            self._rumors[no].known_by.add(by)

    def draw(
        self,
        *,
        room_bytes: int,
        overhead_bytes: int,
        limit: int,
        count_max: int,
        to: Address | None = None,
        others_present: int = 0,
    ) -> list[bytes]:
        """Take up to `count_max` that fit into `room_bytes`, each costing `overhead_bytes` more.

        A rumor sent `limit` times is forgotten; none occurs twice in one draw. One that `to` knows
        already keeps its transmissions for the rest of the `others_present` members.
        """
        if not self._rumors:
            return []
        # Differs from memberlist, which spends transmissions on those a rumor is about or comes
        # from: in a small pool that can be all of them, and then a third member never hears it.
        taken: list[tuple[RumorNo, _Rumor]] = []
        wasted: list[tuple[RumorNo, _Rumor]] = []
        for transmits in sorted(self._tiers):
            tier = self._tiers[transmits]
            while (
                room_bytes > overhead_bytes
                and len(taken) < count_max
                and len(wasted) < PASSED_OVER_MAX
            ):
                place = bisect_right(tier, (room_bytes - overhead_bytes, self._last_no)) - 1
                if place < 0:
                    break
                length, no = tier.pop(place)
                rumor = self._rumors[no]
                if rumor.is_wasted_on(to, others_present=others_present):
                    wasted.append((no, rumor))
                    continue
                room_bytes -= overhead_bytes + length
                taken.append((no, rumor))
            if not tier:
                del self._tiers[transmits]
        for no, rumor in wasted:
            self._insert(no, rumor)
        for no, rumor in taken:
            rumor.transmits += 1
            if rumor.transmits >= limit:
                self._forget(no)
            else:
                self._insert(no, rumor)
        return [rumor.body for _, rumor in taken]

    def _insert(self, no: RumorNo, rumor: _Rumor) -> None:
        insort(self._tiers.setdefault(rumor.tier, []), (len(rumor.body), no))

    def _remove(self, no: RumorNo) -> None:
        rumor = self._rumors[no]
        tier = self._tiers[rumor.tier]
        del tier[bisect_left(tier, (len(rumor.body), no))]
        if not tier:
            del self._tiers[rumor.tier]
        self._forget(no)

    def _forget(self, no: RumorNo) -> None:
        rumor = self._rumors.pop(no)
        self._freight.count -= 1
        if rumor.name is not None:
            del self._by_name[rumor.name]
