"""Our network coordinate, and what we know of the others' (11).

Coordinates ride on acks. What a peer claims is checked before it moves us: it could otherwise push
the whole pool's positions around.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from gossip.errors import DecodeError
from gossip.serf import drops
from gossip.serf.vivaldi import RTT_S_MAX, Vivaldi, is_believable
from gossip.swim.effects import MessageDropped
from gossip.types import MemberName
from gossip.wire.messages import Coordinate
from gossip.wire.serf_values import decode_coordinate_untrusted, encode_coordinate

_LATENCY_SAMPLES: Final = 3


class Coordinates:
    """One member's position and its cache of the others'.

    Invariant: only present or remembered members have an entry; `forget` is called when one goes.
    """

    def __init__(self, *, rng: Random, emit: Callable[[MessageDropped], None]) -> None:
        self._vivaldi = Vivaldi(rng=rng)
        self._emit = emit
        self._cached: dict[MemberName, Coordinate] = {}
        self._latencies: dict[MemberName, tuple[float, ...]] = {}
        self._payload: bytes | None = None
        """Our coordinate encoded, until we move."""

    @property
    def own(self) -> Coordinate:
        """Where we are."""
        return self._vivaldi.coordinate

    @property
    def resets(self) -> int:
        """How often our position had become meaningless and was begun anew."""
        return self._vivaldi.resets

    def ack_payload(self) -> bytes:
        """Our coordinate as our acks carry it."""
        if self._payload is None:
            self._payload = encode_coordinate(self._vivaldi.coordinate)
        return self._payload

    def cached(self, name: MemberName) -> Coordinate | None:
        """Where a member said it was when we last probed it."""
        return self._cached.get(name)

    def handle_ack(self, name: MemberName, payload: bytes, rtt_s: float) -> None:
        """Take the answer of a member to a direct ping, which took `rtt_s`."""
        try:
            coordinate = decode_coordinate_untrusted(payload)
        except DecodeError as error:
            self._emit(MessageDropped(error.reason, name))
            return
        if not is_believable(coordinate):
            self._emit(MessageDropped(drops.ABSURD_COORDINATE, name))
            return
        self._cached[name] = coordinate
        if not 0.0 <= rtt_s <= RTT_S_MAX:
            self._emit(MessageDropped(drops.ABSURD_RTT, name))
            return
        self._vivaldi.update(coordinate, self._filtered(name, rtt_s))
        self._payload = None

    def forget(self, name: MemberName) -> None:
        """A member was forgotten."""
        self._cached.pop(name, None)
        self._latencies.pop(name, None)

    def _filtered(self, name: MemberName, rtt_s: float) -> float:
        """The median of the last few: one stall of either side does not move us."""
        # A tuple, because a deque takes ten times the memory, and there is one for every member.
        samples = (*self._latencies.get(name, ())[1 - _LATENCY_SAMPLES :], rtt_s)
        self._latencies[name] = samples
        return sorted(samples)[len(samples) // 2]
