"""The address book of peers that were lost without leaving, and how eagerly each is dialled again.

Serf forgets a failed member after a time, and with it whatever could end a split that lasted
longer: two halves that have forgotten each other stay two pools. Here a peer that did not leave is
kept, its eagerness decays, and it never reaches zero. Dialling is the machine's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final

from gossip.types import Address, MemberName, Peer

EAGERNESS_MAX: Final = 20.0
EAGERNESS_MIN: Final = 0.05
EAGER_S: Final = 600.0
"""After this long a peer is dialled once an interval, by the whole pool together."""
STEADY_S: Final = 24 * 3600.0
"""After this long it becomes rarer."""
COMPANY_S: Final = 60.0
"""Peers that were lost within this time of each other may return together."""
SWEEP_AFTER_S: Final = 8.0
"""How long after a return the others of its company are expected by gossip."""
DIAL_PAUSE_S_MIN: Final = 1.0
"""Between two dials of one member, on average, however many peers it has lost."""


def eagerness(lost_s: float) -> float:
    """How often a pool dials a peer in one reconnect interval, `lost_s` after losing it.

    Twenty times at first, as the peer may just have restarted; once between ten minutes and a day,
    as in Serf; then ever more rarely, down to once in twenty intervals.
    """
    if lost_s >= STEADY_S:
        return max(EAGERNESS_MIN, STEADY_S / lost_s)
    return max(1.0, EAGERNESS_MAX if lost_s <= 0 else min(EAGERNESS_MAX, EAGER_S / lost_s))


@dataclass(frozen=True, slots=True)
class LostPeer:
    """A peer that did not leave, and since when it is missed (monotonic seconds)."""

    name: MemberName
    address: Address
    lost_at: float


class LostPeers:
    """The lost peers of one member.

    Invariants: one entry for a name and for an address; at most `size_max`, the longest lost give
    way.
    """

    def __init__(self, *, size_max: int) -> None:
        assert size_max >= 1
        self._size_max = size_max
        self._peers: dict[MemberName, LostPeer] = {}
        self._names: dict[Address, MemberName] = {}
        self._returned: LostPeer | None = None
        self._sweep_at = inf
        self._to_try: list[MemberName] = []

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        for peer in self._peers.values():
            yield Peer(peer.name, peer.address)

    def get(self, name: MemberName) -> LostPeer | None:
        return self._peers.get(name)

    def lose(self, name: MemberName, address: Address, *, now: float) -> None:
        """A member failed, or a peer of an earlier run is still to be found."""
        self._drop(name, address)
        self._peers[name] = LostPeer(name, address, now)
        self._names[address] = name
        if len(self._peers) > self._size_max:
            self.forget(next(iter(self._peers)))

    def find(self, name: MemberName, address: Address, *, now: float) -> bool:
        """A member is there: whoever had that name, or was at that address, is not missed.

        True if it was missed itself. Then others that were lost with it are likely back as well:
        those that gossip has not told us of after a while are dialled once each, by every member
        for itself, because whose view has a gap is known to that member only.
        """
        returned = self._peers.get(name)
        self._drop(name, address)
        if returned is None or not self._peers:
            return False
        self._returned = returned
        self._sweep_at = min(self._sweep_at, now + SWEEP_AFTER_S)
        return True

    def _drop(self, name: MemberName, address: Address) -> None:
        self.forget(name)
        if (former := self._names.get(address)) is not None:
            self.forget(former)

    def forget(self, name: MemberName) -> None:
        """It has left, or an operator said so."""
        if (peer := self._peers.pop(name, None)) is not None:
            del self._names[peer.address]

    def plan(
        self, *, present: int, interval_s: float, rng: Random, now: float
    ) -> tuple[LostPeer | None, float]:
        """Whom to dial now, and when to plan again, in seconds.

        Every one of the `present` members plans for itself, so that together they are as eager as
        they should be. One that has lost nearly everybody dials at a pace of its own.
        """
        if (peer := self._next_of_company(now=now)) is not None:
            return peer, DIAL_PAUSE_S_MIN
        peers = list(self._peers.values())
        weights = [eagerness(now - peer.lost_at) for peer in peers]
        dials = sum(weights) / max(1, present)
        pause_s = max(DIAL_PAUSE_S_MIN, interval_s / max(1.0, dials))
        # Members that start, or lose each other, in one moment would else dial in one moment.
        pause_s *= rng.uniform(0.5, 1.5)
        if not peers or rng.random() >= dials:
            return None, pause_s
        return rng.choices(peers, weights)[0], pause_s

    def _next_of_company(self, *, now: float) -> LostPeer | None:
        """The next peer to dial of those that were lost with one that is back."""
        if self._returned is not None and now >= self._sweep_at:
            lost_at = self._returned.lost_at
            self._to_try = [
                peer.name
                for peer in self._peers.values()
                if abs(peer.lost_at - lost_at) <= COMPANY_S
            ]
            self._returned, self._sweep_at = None, inf
        while self._to_try:
            if (peer := self._peers.get(self._to_try.pop())) is not None:
                return peer
        return None
