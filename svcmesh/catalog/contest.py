"""The loser's side of a contest for our name or node id (who holds what: `identity.py`).

Peers that bind our name to another id, or our id to another name, say so whenever we talk to them.
One such word is no loss: right after a restart under a new id some peers have not heard of it yet.
"""

from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.messages import Contested
from svcmesh.catalog.records import NodeId


class Contest:
    """Whether our identity is somebody else's. Invariant: when lost, `deadline_at` is set."""

    def __init__(self, config: ReplicaConfig, *, name: str, node_id: NodeId) -> None:
        self.is_lost = False
        self.deadline_at: float | None = None
        """When it is over unless somebody contests it again."""
        self._since_at = 0.0
        self._config, self._name, self._id = config, name, node_id

    def hear(self, message: Contested, *, now: float) -> bool:
        """Somebody contests our identity; whether it is lost by this."""
        ours = self._id if message.what == "name" else self._name
        if message.holder == ours:
            return False
        if self.deadline_at is None:
            self._since_at = now
        self.deadline_at = now + self._config.contest_s
        if self.is_lost or now - self._since_at < self._config.contest_doubt_s:
            return False
        self.is_lost = True
        return True

    def handle_timer(self, *, now: float) -> bool:
        """Advance to `now`; whether a lost identity is ours again."""
        if self.deadline_at is None or now < self.deadline_at:
            return False
        was_lost, self.is_lost = self.is_lost, False
        self.deadline_at = None
        return was_lost
