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
_PAYLOAD_BYTES_MAX: Final = 256
"""Payloads are kept as they came up to this; all that carry nothing else are shorter."""


class Coordinates:
    """One member's position and its cache of the others'.

    Invariant: only present or remembered members have an entry; `forget` is called when one goes.
    """

    def __init__(self, *, rng: Random, emit: Callable[[MessageDropped], None]) -> None:
        self._vivaldi = Vivaldi(rng=rng)
        self._emit = emit
        # Coordinates stay encoded, and latencies are in tuples, because there are as many as there
        # are pairs of members in a simulated pool, and most are replaced before anybody asks.
        self._heard: dict[MemberName, tuple[bytes, tuple[float, ...]]] = {}
        """What a member last said of where it is, and the last few round trips to it."""
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
        heard = self._heard.get(name)
        return None if heard is None else decode_coordinate_untrusted(heard[0])

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
        if len(payload) > _PAYLOAD_BYTES_MAX:
            payload = encode_coordinate(coordinate)
        heard = self._heard.get(name)
        samples = () if heard is None else heard[1]
        if not 0.0 <= rtt_s <= RTT_S_MAX:
            self._heard[name] = (payload, samples)
            self._emit(MessageDropped(drops.ABSURD_RTT, name))
            return
        samples = (*samples[1 - _LATENCY_SAMPLES :], rtt_s)
        self._heard[name] = (payload, samples)
        # The median of the last few: one stall of either side does not move us.
        self._vivaldi.update(coordinate, sorted(samples)[len(samples) // 2])
        self._payload = None

    def forget(self, name: MemberName) -> None:
        """A member was forgotten."""
        self._heard.pop(name, None)
