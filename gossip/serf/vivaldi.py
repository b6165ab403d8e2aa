"""Network coordinates: Vivaldi with height, adjustment and gravity (11.1; Dabek et al. 2004).

The distance of two coordinates estimates the round trip between their members. Formulas only; whose
coordinates are kept, and what of them is believed, is decided in `coordinates.py`.
"""

from collections import deque
from dataclasses import replace
from math import dist, hypot, sqrt
from random import Random
from typing import Final

from gossip.wire.messages import Coordinate

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
    numbers = (*coordinate.vec, coordinate.adjustment, coordinate.height, coordinate.error)
    return (
        len(coordinate.vec) == DIMENSIONS
        # False for NaN as well.
        and all(abs(number) <= COMPONENT_S_MAX for number in numbers)
        and coordinate.error >= 0.0
        and coordinate.height >= 0.0
    )


class Vivaldi:
    """Our own position, moved a little by every measured round trip.

    Invariant: `coordinate` is believable. `rng` chooses the direction in which two members that are
    in one place part, and nothing else.
    """

    def __init__(self, *, rng: Random) -> None:
        self.coordinate = ORIGIN
        self.resets = 0
        self._rng = rng
        self._adjustments: deque[float] = deque([0.0] * _ADJUSTMENT_SAMPLES, _ADJUSTMENT_SAMPLES)

    def update(self, peer: Coordinate, rtt_s: float) -> None:
        """Move by one round trip, filtered and in range, to a peer whose coordinate we believe."""
        own = self._spring(self.coordinate, peer, max(rtt_s, _ZERO))
        self._adjustments.append(rtt_s - raw_distance_s(own, peer))
        adjustment = sum(self._adjustments) / (2.0 * _ADJUSTMENT_SAMPLES)
        own = replace(own, adjustment=adjustment)
        pull = -((distance_s(ORIGIN, own) / _GRAVITY_RHO) ** 2)
        own = self._apply(own, pull, ORIGIN)
        if is_believable(own):
            self.coordinate = own
        else:
            self.coordinate = ORIGIN
            self.resets += 1
            self._adjustments.extend([0.0] * _ADJUSTMENT_SAMPLES)

    def _spring(self, own: Coordinate, peer: Coordinate, rtt_s: float) -> Coordinate:
        """Vivaldi's step: the pair is a spring whose rest length is the round trip."""
        distance = distance_s(own, peer)
        wrongness = abs(distance - rtt_s) / rtt_s
        confidence = own.error / max(own.error + peer.error, _ZERO)
        weight = _ERROR_WEIGHT * confidence
        error = min(ERROR_MAX, weight * wrongness + own.error * (1.0 - weight))
        force = _FORCE_WEIGHT * confidence * (rtt_s - distance)
        return self._apply(replace(own, error=error), force, peer)

    def _apply(self, own: Coordinate, force: float, other: Coordinate) -> Coordinate:
        """Push `own` away from `other`, or pull it there with a negative force."""
        apart = [a - b for a, b in zip(own.vec, other.vec, strict=True)]
        length = sqrt(sum(x * x for x in apart))
        height = own.height
        if length > _ZERO:
            height = max(HEIGHT_MIN, (own.height + other.height) * force / length + own.height)
            unit = [x / length for x in apart]
        else:
            unit = self._any_direction()
        vec = tuple(x + u * force for x, u in zip(own.vec, unit, strict=True))
        return replace(own, vec=vec, height=height)

    def _any_direction(self) -> list[float]:
        drawn = [self._rng.random() - 0.5 for _ in range(DIMENSIONS)]
        length = hypot(*drawn)
        if length > _ZERO:
            return [x / length for x in drawn]
        return [1.0] + [0.0] * (DIMENSIONS - 1)
