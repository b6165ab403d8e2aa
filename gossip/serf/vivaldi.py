"""Network coordinates: Vivaldi with height, adjustment and gravity (11.1; Dabek et al. 2004).

The distance of two coordinates estimates the round trip between their members. Formulas only; whose
coordinates are kept, and what of them is believed, is decided in `coordinates.py`.
"""

from collections import deque
from math import dist, hypot, isnan
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
    # Comparisons with NaN are false, but `max` and `min` may pass one over.
    return (
        len(coordinate.vec) == DIMENSIONS
        and not any(map(isnan, coordinate.vec))
        and max(coordinate.vec) <= COMPONENT_S_MAX
        and min(coordinate.vec) >= -COMPONENT_S_MAX
        and abs(coordinate.adjustment) <= COMPONENT_S_MAX
        and 0.0 <= coordinate.error <= COMPONENT_S_MAX
        and 0.0 <= coordinate.height <= COMPONENT_S_MAX
    )


class Vivaldi:
    """Our own position, moved a little by every measured round trip.

    Invariant: `coordinate` is believable. `rng` chooses the direction in which two members that are
    in one place part, and nothing else.
    """

    def __init__(self, *, rng: Random) -> None:
        self.resets = 0
        self._rng = rng
        self._vec = ORIGIN.vec
        self._error, self._adjustment, self._height = ERROR_MAX, 0.0, HEIGHT_MIN
        self._adjustments: deque[float] = deque([0.0] * _ADJUSTMENT_SAMPLES, _ADJUSTMENT_SAMPLES)

    @property
    def coordinate(self) -> Coordinate:
        """Where we are."""
        return Coordinate(self._vec, self._error, self._adjustment, self._height)

    def update(self, peer: Coordinate, rtt_s: float) -> None:
        """Move by one round trip, filtered and in range, to a peer whose coordinate we believe."""
        self._spring(peer, max(rtt_s, _ZERO))
        self._adjustments.append(rtt_s - raw_distance_s(self.coordinate, peer))
        self._adjustment = sum(self._adjustments) / (2.0 * _ADJUSTMENT_SAMPLES)
        # Gravity: what drifts away together is pulled back, the harder the further it is.
        self._push(-((distance_s(ORIGIN, self.coordinate) / _GRAVITY_RHO) ** 2), ORIGIN)
        if not is_believable(self.coordinate):
            self._return_to_origin()
            self.resets += 1

    def _spring(self, peer: Coordinate, rtt_s: float) -> None:
        """Vivaldi's step: the pair is a spring whose rest length is the round trip."""
        distance = distance_s(self.coordinate, peer)
        wrongness = abs(distance - rtt_s) / rtt_s
        confidence = self._error / max(self._error + peer.error, _ZERO)
        weight = _ERROR_WEIGHT * confidence
        self._error = min(ERROR_MAX, weight * wrongness + self._error * (1.0 - weight))
        self._push(_FORCE_WEIGHT * confidence * (rtt_s - distance), peer)

    def _push(self, force: float, other: Coordinate) -> None:
        """Go `force` away from `other`, or towards it with a negative one."""
        length = dist(self._vec, other.vec)
        if length > _ZERO:
            share = force / length
            self._vec = tuple(
                [x + (x - y) * share for x, y in zip(self._vec, other.vec, strict=True)]
            )
            self._height = max(HEIGHT_MIN, (self._height + other.height) * share + self._height)
        else:
            unit = self._any_direction()
            self._vec = tuple([x + u * force for x, u in zip(self._vec, unit, strict=True)])

    def _any_direction(self) -> list[float]:
        drawn = [self._rng.random() - 0.5 for _ in range(DIMENSIONS)]
        length = hypot(*drawn)
        if length > _ZERO:
            return [x / length for x in drawn]
        return [1.0] + [0.0] * (DIMENSIONS - 1)

    def _return_to_origin(self) -> None:
        self._vec = ORIGIN.vec
        self._error, self._adjustment, self._height = ERROR_MAX, 0.0, HEIGHT_MIN
        self._adjustments.extend([0.0] * _ADJUSTMENT_SAMPLES)
