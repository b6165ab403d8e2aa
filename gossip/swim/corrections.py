"""Answers to stale claims: whoever is behind, or taken for dead, is told what we know.

Differs from memberlist, which stays silent: a member that restarted with a low incarnation, or came
out of a long split, then never hears that it has to refute (hashicorp/memberlist#311).
"""

from collections.abc import Callable
from typing import Final

from gossip.swim.carrier import Carrier
from gossip.swim.ratelimit import TokenBucket
from gossip.swim.table import Entry
from gossip.types import Address, MemberState
from gossip.wire.messages import Alive, Dead, Suspect

CORRECTIONS_PER_S: Final = 256.0
CORRECTIONS_BURST: Final = 2048.0
"""How many claims may be answered with newer ones: at once as many as half of a large pool has
members, when a split has ended."""


class Corrections:
    """Sends newer claims, so many a second. `local` is what we claim of ourselves now."""

    def __init__(self, local: Callable[[], Alive], carrier: Carrier, *, now: float) -> None:
        self._local, self._carrier = local, carrier
        self._allowed = TokenBucket(rate_per_s=CORRECTIONS_PER_S, burst=CORRECTIONS_BURST, now=now)

    def contradict(self, entry: Entry, source: Address | None, *, now: float) -> None:
        """Answer a claim about a member that is older than what we know of it."""
        local = self._local()
        if entry.name == local.node:
            self.tell(source, local, now=now)
        elif entry.state == MemberState.LEFT:
            left = Dead(entry.incarnation, entry.name, entry.name)
            self.tell(source, left, now=now)
            if source != entry.address:
                self.tell(entry.address, left, now=now)
        elif entry.state == MemberState.DEAD:
            # To the accused, which refutes if it lives. Not to who believes in it: half a pool that
            # returns from a split would be doubted everywhere, for want of a refutation.
            suspect = Suspect(entry.incarnation, entry.name, local.node)
            self.tell(entry.address, suspect, now=now)
        else:
            self.tell(source, _as_alive(entry), now=now)

    def tell(self, to: Address | None, claim: Alive | Suspect | Dead, *, now: float) -> None:
        """Send a claim to an address, if there is one and we have not said too much lately."""
        if to is not None and self._allowed.take(now=now):
            self._carrier.send_claim(to, claim)


def _as_alive(entry: Entry) -> Alive:
    return Alive(entry.incarnation, entry.name, entry.addr, entry.port, entry.meta, entry.vsn)
