"""What a run shows: failures told and whether they were true, how fast, and how views converge.

A failure told of a member whose process has ended is a *detection*; of one that is paused, slow,
cut off or on a bad link *unresponsive*; of any other a *false positive*, and one at a healthy
member if the teller is undisturbed itself (as Lifeguard's paper counts them).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from gossip.serf.events import Event, MemberFailed, UserEventReceived
from svcmesh.simulate.member import SimulatedMember
from svcmesh.simulate.pool import SimulatedPool
from svcmesh.simulate.views import Views

FAILURES_KEPT_MAX = 100_000
"""Failures told that are kept one by one; all are counted."""


class Kind(StrEnum):
    """What a failure that was told really was."""

    DETECTION = "detection"
    UNRESPONSIVE = "unresponsive"
    FALSE_POSITIVE = "false-positive"


@dataclass(frozen=True, slots=True)
class Failure:
    """One member told that another one failed."""

    at: float
    viewer: str
    subject: str
    kind: Kind
    viewer_is_healthy: bool


@dataclass(slots=True)
class Outage:
    """A member has gone without a word, or got no processor. Seconds are of the simulation."""

    subject: str
    cause: str
    began_at: float
    first_at: float | None = None
    """When the first undisturbed member told of it."""
    all_at: float | None = None
    """When all undisturbed ones had."""
    ended_at: float | None = None
    told: int = 0
    """Mask of those that told."""


@dataclass(slots=True)
class Rumor:
    """A user event on its way."""

    name: str
    began_at: float
    wanted: int
    """Mask of those that ran when it was sent."""
    heard_at: list[float] = field(default_factory=list)
    heard: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """The pool at one instant; rates are since the sample before."""

    at: float
    members: int
    right_share: float
    false_dead: int
    """Pairs of a viewer and a running member that it does not see alive."""
    packets_per_member_s: float
    bytes_per_member_s: float


class Recorder:
    """Watches a pool from outside.

    Invariant: an outage is in `_open` from when its member goes to when it is back.
    """

    def __init__(self, pool: SimulatedPool, *, views: Views) -> None:
        self.samples: list[Sample] = []
        self.failures: list[Failure] = []
        self.counts: dict[str, int] = {kind.value: 0 for kind in Kind}
        self.false_at_healthy = 0
        self.outages: list[Outage] = []
        self.rumors: dict[str, Rumor] = {}
        self._pool, self._views = pool, views
        self._open: dict[int, Outage] = {}
        self._islands: dict[int, int] = {}
        self._last = (pool.clock.now, 0, 0)
        pool.observers.append(self._note)

    def set_islands(self, islands: dict[int, int]) -> None:
        """Which part of a split network each member is in; empty when it is whole."""
        self._islands = islands

    def begin_outage(self, number: int, cause: str) -> None:
        """A member goes."""
        subject = self._views.members[number].name
        self._open[number] = outage = Outage(subject, cause, self._pool.clock.now)
        self.outages.append(outage)

    def end_outage(self, number: int) -> None:
        """It is back."""
        outage = self._open.pop(number, None)
        if outage is not None:
            outage.ended_at = self._pool.clock.now

    def begin_rumor(self, name: str) -> None:
        """A user event is about to be sent."""
        self.rumors[name] = Rumor(name, self._pool.clock.now, self._views.running)

    def sample(self) -> Sample:
        """Compare all views with the truth now."""
        pool, views = self._pool, self._views
        now, sent, sent_bytes = pool.clock.now, pool.network.sent, pool.sent_bytes
        last_at, last_sent, last_bytes = self._last
        member_s = max(1e-9, (now - last_at) * max(1, views.running.bit_count()))
        sample = Sample(
            at=now,
            members=views.running.bit_count(),
            right_share=views.right_share(),
            false_dead=views.false_dead_pairs(),
            packets_per_member_s=(sent - last_sent) / member_s,
            bytes_per_member_s=(sent_bytes - last_bytes) / member_s,
        )
        self._last = (now, sent, sent_bytes)
        self.samples.append(sample)
        return sample

    def _note(self, member: SimulatedMember, event: Event) -> None:
        viewer = self._views.number(member.name)
        self._views.note(viewer, event)
        if isinstance(event, MemberFailed):
            self._note_failure(viewer, self._views.number(event.member.name))
        elif isinstance(event, UserEventReceived):
            self._note_heard(viewer, event.name)

    def _note_failure(self, viewer: int, subject: int) -> None:
        views, now = self._views, self._pool.clock.now
        is_healthy = not views.disturbed >> viewer & 1
        if not views.running >> subject & 1:
            kind = Kind.DETECTION
        elif views.disturbed >> subject & 1 or self._are_apart(viewer, subject):
            kind = Kind.UNRESPONSIVE
        else:
            kind = Kind.FALSE_POSITIVE
        self.counts[kind] += 1
        if kind == Kind.FALSE_POSITIVE:
            self.false_at_healthy += is_healthy
        if len(self.failures) < FAILURES_KEPT_MAX and kind == Kind.FALSE_POSITIVE:
            names = (views.members[viewer].name, views.members[subject].name)
            self.failures.append(Failure(now, *names, kind, is_healthy))
        outage = self._open.get(subject)
        if outage is not None and is_healthy:
            outage.told |= 1 << viewer
            if outage.first_at is None:
                outage.first_at = now
            missing = views.running & ~views.disturbed & ~outage.told & ~(1 << subject)
            if outage.all_at is None and not missing:
                outage.all_at = now

    def _note_heard(self, viewer: int, name: str) -> None:
        rumor = self.rumors.get(name)
        if rumor is not None and not rumor.heard >> viewer & 1:
            rumor.heard |= 1 << viewer
            rumor.heard_at.append(self._pool.clock.now - rumor.began_at)

    def _are_apart(self, one: int, other: int) -> bool:
        here, there = self._islands.get(one), self._islands.get(other)
        return here is not None and there is not None and here != there
