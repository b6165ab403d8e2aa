"""Serf's three broadcast queues: what is handed on inside user messages (9.2, 10.1)."""

from collections.abc import Callable
from typing import Final

from gossip.swim.broadcasts import BroadcastQueue, Freight, retransmit_limit
from gossip.types import Address


class SerfRumors:
    """Intents before queries before events, each with its own bounded queue.

    Only what `fits` may be queued: a rumor that no packet carries would stay for ever.
    """

    def __init__(
        self,
        *,
        rumor_bytes_max: int,
        depth_max: int,
        retransmit_mult: int,
        member_count: Callable[[], int],
    ) -> None:
        self.freight = Freight()
        self.intents = BroadcastQueue(size_max=depth_max, freight=self.freight)
        self.queries = BroadcastQueue(size_max=depth_max, freight=self.freight)
        self.events = BroadcastQueue(size_max=depth_max, freight=self.freight)
        self.rumor_bytes_max: Final = rumor_bytes_max
        """The longest rumor that a packet can carry."""
        self._retransmit_mult, self._member_count = retransmit_mult, member_count

    @property
    def has_urgent(self) -> bool:
        """Whether a packet must have room for one of these before any claim of SWIM's."""
        return self.intents.has_urgent

    def fits(self, payload: bytes) -> bool:
        """Whether a packet can carry `payload`."""
        return 0 < len(payload) <= self.rumor_bytes_max

    def draw(
        self,
        *,
        room_bytes: int,
        overhead_bytes: int,
        count_max: int,
        to: Address,
        others_present: int,
    ) -> list[bytes]:
        """Take what fits, as `BroadcastQueue.draw` does."""
        limit = retransmit_limit(self._retransmit_mult, self._member_count())
        drawn: list[bytes] = []
        for queue in (self.intents, self.queries, self.events):
            bodies = queue.draw(
                room_bytes=room_bytes,
                overhead_bytes=overhead_bytes,
                limit=limit,
                count_max=count_max - len(drawn),
                to=to,
                others_present=others_present,
            )
            room_bytes -= sum(map(len, bodies)) + overhead_bytes * len(bodies)
            drawn += bodies
        return drawn
