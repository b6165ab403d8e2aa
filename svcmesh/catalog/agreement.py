"""Whether we have what our peers have, since when, and where not. No I/O.

It follows the comparisons that `exchange.py` makes anyway, and costs nothing while all agree. What
is noted as missing is a version: the lag is how long we have lacked the oldest version that a peer
was seen to have, so a catalog that changes all the time does not look like one that falls behind.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from svcmesh.catalog.digest import Item
from svcmesh.catalog.external import CONTENT
from svcmesh.catalog.messages import Summary

DIFFERENCES_MAX: Final = 64
"""Remembered of one peer; the ones noted first."""


class Version(NamedTuple):
    """How much somebody has of an item; nothing at all is (0, 0)."""

    epoch: int
    sequence: int


NOTHING: Final = Version(0, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One item of which a peer had something else than we."""

    item: Item
    ours: Version
    theirs: Version
    lacking: Version
    """What the one that is behind has lacked since `since_at`; the other may have more by now."""
    since_at: float
    """Monotonic seconds."""

    @property
    def we_lack(self) -> bool:
        """Whether it is we who are behind. With equal versions, nobody can tell."""
        return self.theirs >= self.ours


@dataclass(frozen=True, slots=True)
class PeerAgreement:
    """The latest comparison with one peer."""

    agrees: bool
    since_at: float
    """When it first came out like that, without a break."""
    compared_at: float
    differing_buckets: int = 0
    differences: Mapping[Item, Difference] = field(default_factory=dict)
    """As of `compared_at`, those that are known."""


class Agreements:
    """What the comparisons with each peer have shown.

    Invariant: a peer that agrees has no differences.
    """

    def __init__(self) -> None:
        self._peers: dict[str, PeerAgreement] = {}

    @property
    def peers(self) -> Mapping[str, PeerAgreement]:
        """The peers that were compared with, by name."""
        return self._peers

    def lag_s(self, lacks: Callable[[Item, Version], bool], *, now: float) -> float:
        """How long we have lacked what a peer had; 0 when we have since received it all.

        `lacks` tells whether a version of an item is still more than what we have.
        """
        lacking = [
            one.since_at
            for peer in self._peers.values()
            for one in peer.differences.values()
            if one.we_lack and (one.ours == one.theirs or lacks(one.item, one.lacking))
        ]
        return now - min(lacking, default=now)

    def forget(self, peer: str) -> None:
        """The peer is gone."""
        self._peers.pop(peer, None)

    def note_same(self, peer: str, *, now: float) -> None:
        """The peer has what we have."""
        self._peers[peer] = PeerAgreement(True, self._since(peer, True, now), now)

    def note_different(self, peer: str, differing_buckets: int, *, now: float) -> None:
        """The peer has something else; what, is not known yet."""
        old = self._peers.get(peer)
        differences = {} if old is None else old.differences
        since_at = self._since(peer, False, now)
        self._peers[peer] = PeerAgreement(False, since_at, now, differing_buckets, differences)

    def note_versions(
        self, peer: str, ours: Iterable[Summary], theirs: Iterable[Summary], *, now: float
    ) -> None:
        """Take in what both have where they differ: all of some buckets."""
        old = self._peers.get(peer)
        if old is None or old.agrees:
            # Seen in passing, and not in a comparison of ours.
            old = PeerAgreement(False, self._since(peer, False, now), now)
        differences = dict(old.differences)
        mine, other = ({item_of(one): one for one in side} for side in (ours, theirs))
        for item in sorted(mine.keys() | other.keys()):
            known = differences.pop(item, None)
            found = _difference(item, mine.get(item), other.get(item), known, now=now)
            if found is not None and len(differences) < DIFFERENCES_MAX:
                differences[item] = found
        self._peers[peer] = PeerAgreement(
            False, old.since_at, now, old.differing_buckets, differences
        )

    def _since(self, peer: str, agrees: bool, now: float) -> float:
        old = self._peers.get(peer)
        return old.since_at if old is not None and old.agrees == agrees else now


def version(summary: Summary | None) -> Version:
    """What a summary says that there is."""
    if summary is None:
        return NOTHING
    return Version(summary.origin.epoch, summary.through)


def item_of(summary: Summary) -> Item:
    """What a summary is of."""
    origin = summary.origin
    return Item(summary.is_external, origin.node_id, origin.epoch if summary.is_external else 0)


def _difference(
    item: Item, mine: Summary | None, other: Summary | None, known: Difference | None, *, now: float
) -> Difference | None:
    ours, theirs = version(mine), version(other)
    if item.node_id == CONTENT.node_id:
        # Of the external records as a whole there is a hash and no version.
        ours = theirs = NOTHING
    if ours == theirs and _hash(mine) == _hash(other):
        return None
    behind, ahead = sorted((ours, theirs))
    found = Difference(item, ours, theirs, ahead, now)
    if known is None or known.we_lack != found.we_lack or ahead > known.lacking <= behind:
        return found
    return replace(found, lacking=known.lacking, since_at=known.since_at)


def _hash(summary: Summary | None) -> int:
    return 0 if summary is None else summary.hash
