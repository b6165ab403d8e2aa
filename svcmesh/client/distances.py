"""How far nodes are from the agent, by the network coordinates that agents keep (Vivaldi)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from svcmesh.client.errors import BadAnswerError
from svcmesh.client.instances import Json


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One node's place."""

    vec: tuple[float, ...]
    height: float
    adjustment: float

    def rtt_s(self, other: "Coordinate") -> float:
        """The estimated round trip between two places, in seconds."""
        raw_s = math.dist(self.vec, other.vec) + self.height + other.height
        adjusted_s = raw_s + self.adjustment + other.adjustment
        return adjusted_s if adjusted_s > 0 else raw_s


def read_coordinates(answer: Json) -> dict[str, Coordinate]:
    """Read an answer of `/v1/coordinate/nodes`, by node name.

    Raises:
        BadAnswerError: It has another form.
    """
    try:
        return {str(entry["Node"]): _coordinate(entry["Coord"]) for entry in answer}
    except (TypeError, KeyError, ValueError) as error:
        raise BadAnswerError(f"not a list of coordinates: {error!r}") from error


def _coordinate(coord: Mapping[str, Json]) -> Coordinate:
    vec: Sequence[float] = coord["Vec"]
    return Coordinate(
        tuple(map(float, vec)), float(coord["Height"]), float(coord.get("Adjustment", 0))
    )


def rtts_s(own_node: str, coordinates: Mapping[str, Coordinate]) -> dict[str, float]:
    """Round trips from our own node, by node name; those that are not known are left out."""
    own = coordinates.get(own_node)
    if own is None:
        return {own_node: 0.0}
    found = {
        name: own.rtt_s(other)
        for name, other in coordinates.items()
        if len(own.vec) == len(other.vec)
    }
    return found | {own_node: 0.0}
