"""No resurrection: who has gone and is known to have gone is never seen alive again."""

from gossip.serf.events import Event, MemberJoined
from svcmesh.simulate.member import SimulatedMember
from svcmesh.simulate.pool import SimulatedPool
from svcmesh.simulate.views import Views

SETTLED_S = 60.0
"""A claim that a member lives may be under way for so long after it went."""


class Resurrection:
    """Watches a pool; members that start again are alive, not resurrected."""

    def __init__(self, pool: SimulatedPool, *, views: Views) -> None:
        self.violations: list[str] = []
        self._pool, self._views = pool, views
        pool.observers.append(self._note)

    def _note(self, member: SimulatedMember, event: Event) -> None:
        if not isinstance(event, MemberJoined):
            return
        number, now = self._views.number(event.member.name), self._pool.clock.now
        ended_at = self._views.ended_at(number)
        if ended_at is not None and now - ended_at > SETTLED_S:
            self.violations.append(
                f"{member.name} saw {event.member.name} alive at {now:.1f} s, "
                f"which went at {ended_at:.1f} s"
            )
