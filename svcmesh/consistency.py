"""Whether this agent's catalog is its peers': what comparisons have shown, with names and ages."""

from collections.abc import Callable
from dataclasses import dataclass

from svcmesh.catalog.agreement import Difference, PeerAgreement, Version
from svcmesh.catalog.records import NodeId
from svcmesh.catalog.replica import Replica
from svcmesh.catalog.view import CatalogView


@dataclass(frozen=True, slots=True)
class NamedDifference:
    """What one peer had otherwise."""

    node: str
    """Whose records, or, for external ones, who wrote them; an id where the name is not known."""
    is_external: bool
    ours: Version
    theirs: Version
    we_lack: bool
    age_s: float


@dataclass(frozen=True, slots=True)
class PeerReport:
    """One peer, as it was compared with last."""

    name: str
    agrees: bool | None
    """None: there has been no comparison yet."""
    since_s: float
    """For how long comparisons have come out like that."""
    compared_s: float
    """How long ago that was."""
    differing_buckets: int
    differences: tuple[NamedDifference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole picture. Times are seconds before now."""

    agrees: bool | None
    """Whether all peers agreed when compared last; None: there has been no comparison."""
    since_s: float
    lag_s: float
    """How long this agent has lacked what a peer was seen to have; 0 when it lacks nothing."""
    fingerprint: int
    is_ready: bool
    peers: tuple[PeerReport, ...]


class CatalogConsistency:
    """Makes reports. `clock` gives monotonic seconds, as the replica is told them."""

    def __init__(self, replica: Replica, view: CatalogView, *, clock: Callable[[], float]) -> None:
        self._replica, self._view, self._clock = replica, view, clock
        self._started_at = clock()

    @property
    def agrees(self) -> bool | None:
        """Whether all peers agreed when compared last."""
        return self._replica.agrees

    @property
    def lag_s(self) -> float:
        """How long this agent has lacked what a peer was seen to have."""
        return self._replica.lag_s(now=self._clock())

    def report(self) -> Report:
        """What is known now."""
        now = self._clock()
        compared = self._replica.peers
        agrees = self._replica.agrees
        changes = [
            peer.since_at
            for peer in compared.values()
            if peer is not None and peer.agrees == agrees
        ]
        # All agree since the last of them does; one differs since the first of them does.
        since_at = (max if agrees else min)(changes, default=self._started_at)
        return Report(
            agrees=agrees,
            since_s=now - since_at,
            lag_s=self._replica.lag_s(now=now),
            fingerprint=self._replica.fingerprint,
            is_ready=self._replica.is_ready,
            peers=tuple(self._peer(name, peer, now) for name, peer in sorted(compared.items())),
        )

    def _peer(self, name: str, peer: PeerAgreement | None, now: float) -> PeerReport:
        if peer is None:
            return PeerReport(name, None, 0.0, 0.0, 0, ())
        return PeerReport(
            name,
            peer.agrees,
            now - peer.since_at,
            now - peer.compared_at,
            peer.differing_buckets,
            tuple(self._named(one, now) for one in peer.differences.values()),
        )

    def _named(self, difference: Difference, now: float) -> NamedDifference:
        item = difference.item
        return NamedDifference(
            node=self._view.node_name(NodeId(item.node_id)) or item.node_id,
            is_external=item.is_external,
            ours=difference.ours,
            theirs=difference.theirs,
            we_lack=difference.we_lack,
            age_s=now - difference.since_at,
        )
