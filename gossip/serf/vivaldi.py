"""Network coordinates: Vivaldi with height, adjustment and gravity (11.1; Dabek et al. 2004).

The distance of two coordinates estimates the round trip between their members. Formulas only; whose
coordinates are kept, and what of them is believed, is decided in `coordinates.py`.
"""

from collections import deque
from math import dist, hypot, isnan
from random import Random
from typing import Final

from gossip.wire.messages import Coordinate, make

DIMENSIONS: Final = 8
ERROR_MAX: Final = 1.5
"""A new coordinate's error: how far it is off, relative to the round trip."""
HEIGHT_MIN: Final = 1.0e-5
RTT_S_MAX: Final = 10.0
COMPONENT_S_MAX: Final = 60.0
"""No honest coordinate has a part further out: longer round trips than `RTT_S_MAX` do not count."""
_ERROR_WEIGHT: Final = 0.25
_FORCE_WEIGHT: Final = 0.25
_ADJUSTMENT_SAMPLES: Final = 20
_GRAVITY_RHO: Final = 150.0
_ZERO: Final = 1.0e-6

ORIGIN: Final = Coordinate((0.0,) * DIMENSIONS, ERROR_MAX, 0.0, HEIGHT_MIN)
"""Where a member begins, and towards which gravity pulls."""


def raw_distance_s(a: Coordinate, b: Coordinate) -> float:
    """The estimate before the adjustments for what the space cannot express."""
    return dist(a.vec, b.vec) + a.height + b.height


def distance_s(a: Coordinate, b: Coordinate) -> float:
    """The estimated round trip between two members, cut to whole nanoseconds.

    Raises:
        ValueError: They are not of one space: the dimensions differ.
    """
    raw_s = raw_distance_s(a, b)
    adjusted_s = raw_s + a.adjustment + b.adjustment
    return int((adjusted_s if adjusted_s > 0.0 else raw_s) * 1.0e9) / 1.0e9


def is_believable(coordinate: Coordinate) -> bool:
    """Whether a coordinate could be an honest member's.

    Differs from Serf, which takes any finite numbers: one of 1e300 would fling us away, and a
    negative error or height break the arithmetic.
    """
    vec, error, adjustment, height = coordinate
    return (
        len(vec) == DIMENSIONS
        # No part is larger than the whole; most are near the origin, and that is seen at once.
        # Comparisons with NaN are false, but `max` and `min` may pass one over.
        and (
            hypot(*vec) <= COMPONENT_S_MAX
            or (
                not any(map(isnan, vec))
                and max(vec) <= COMPONENT_S_MAX
                and min(vec) >= -COMPONENT_S_MAX
            )
        )
        and -COMPONENT_S_MAX <= adjustment <= COMPONENT_S_MAX
        and 0.0 <= error <= COMPONENT_S_MAX
        and 0.0 <= height <= COMPONENT_S_MAX
    )


class Vivaldi:
    """Our own position, moved a little by every measured round trip.

    Invariant: `coordinate` is believable. `rng` chooses the direction in which two members that are
    in one place part, and nothing else.
    """

    def __init__(self, *, rng: Random) -> None:
        self.coordinate = ORIGIN
        """Where we are."""
        self.resets = 0
        """How often that had become meaningless and was begun anew."""
        self._rng = rng
        self._adjustments: deque[float] = deque([0.0] * _ADJUSTMENT_SAMPLES, _ADJUSTMENT_SAMPLES)

    def update(self, peer: Coordinate, rtt_s: float) -> None:
        """Move by one round trip, filtered and in range, to a peer whose coordinate we believe."""
        # In one piece because every ack comes here: distances are worked out once, and `min` and
        # `max`, which take long, are written out.
        vec, error, adjustment, height = self.coordinate
        peer_vec, peer_error, peer_adjustment, peer_height = peer
        length = dist(vec, peer_vec)
        raw = length + height + peer_height
        distance = raw + adjustment + peer_adjustment
        if distance <= 0.0:
            distance = raw
        # Vivaldi's step: the pair is a spring whose rest length is the round trip.
        rest_s = rtt_s if rtt_s > _ZERO else _ZERO
        errors = error + peer_error
        confidence = error / (errors if errors > _ZERO else _ZERO)
        weight = _ERROR_WEIGHT * confidence
        wrongness = abs(distance - rest_s) / rest_s
        error = weight * wrongness + error * (1.0 - weight)
        if error > ERROR_MAX:
            error = ERROR_MAX
        force = _FORCE_WEIGHT * confidence * (rest_s - distance)
        apart = abs(length + force)
        if length > _ZERO:
            share = force / length
            moved = [x + (x - y) * share for x, y in zip(vec, peer_vec)]  # noqa: B905  # `dist` has seen to it
            height += (height + peer_height) * share
            if height < HEIGHT_MIN:
                height = HEIGHT_MIN
        else:
            way = self._any_direction()
            moved = [x + y * force for x, y in zip(vec, way, strict=True)]
        self._adjustments.append(rtt_s - apart - height - peer_height)
        adjustment = sum(self._adjustments) / (2.0 * _ADJUSTMENT_SAMPLES)
        # Gravity: what drifts away together is pulled back, the harder the further it is.
        length = hypot(*moved)
        if length > _ZERO:
            raw = length + height + HEIGHT_MIN
            distance = raw + adjustment
            if distance <= 0.0:
                distance = raw
            share = (distance / _GRAVITY_RHO) ** 2 / length
            moved = [x - x * share for x in moved]
            height -= (height + HEIGHT_MIN) * share
            if height < HEIGHT_MIN:
                height = HEIGHT_MIN
        self.coordinate = make(Coordinate, (tuple(moved), error, adjustment, height))
        # Near the origin no part is out of bounds; further out each is looked at.
        if not length + height + abs(adjustment) < COMPONENT_S_MAX and not is_believable(
            self.coordinate
        ):
            self.coordinate = ORIGIN
            self._adjustments.extend([0.0] * _ADJUSTMENT_SAMPLES)
            self.resets += 1

    def _any_direction(self) -> list[float]:
        drawn = [self._rng.random() - 0.5 for _ in range(DIMENSIONS)]
        length = hypot(*drawn)
        if length > _ZERO:
            return [x / length for x in drawn]
        return [1.0] + [0.0] * (DIMENSIONS - 1)
