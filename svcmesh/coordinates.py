"""Where the nodes are in the network, and who is nearest to whom.

Agents say so in their gossip, and what they say changes with every probe; readers see a picture of
it that is taken now and then, so that answers and indexes hold for a while. Nodes without an agent
have theirs in the catalog, from whoever measured it.
"""

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Final

from gossip.serf import distance_s
from gossip.wire.messages import Coordinate
from svcmesh.catalog.view import CatalogView

PICTURE_S: Final = 5.0
"""How often the agents' coordinates are looked at."""


class NodeCoordinates:
    """Coordinates by node name. `agents` gives what gossip knows at this moment.

    Invariant: between two calls of `refresh` answers change only with the catalog.
    """

    def __init__(
        self, view: CatalogView, *, agents: Callable[[], Iterable[tuple[str, Coordinate]]]
    ) -> None:
        self._view, self._agents = view, agents
        self._picture: Mapping[str, Coordinate] = {}

    def refresh(self) -> None:
        """Take a new picture, and tell the view's watchers if it differs."""
        picture = {name.lower(): coordinate for name, coordinate in self._agents()}
        if picture != self._picture:
            self._picture = picture
            self._view.touch_coordinates()

    def of(self, node: str) -> Coordinate | None:
        """Where the node of this name is, in any letter case; None when nobody knows."""
        row = self._view.node(node)
        if row is None:
            return None
        return self._picture.get(row.key) if row.is_own else row.body.coordinate

    def all(self) -> list[tuple[str, Coordinate]]:
        """Every node whose place is known, by name."""
        found = []
        for row in self._view.nodes():
            where = self.of(row.name)
            if where is not None:
                found.append((row.name, where))
        return found


def distance_key(of: Callable[[str], Coordinate | None], near: str) -> Callable[[str], float]:
    """How to sort node names by their round trip to the node `near`, the nearest first.

    Python's sort is stable: without a coordinate of `near` everything is equally far and stays in
    place, and nodes without one come last.
    """
    origin = of(near)

    def distance(node: str) -> float:
        where = of(node)
        return inf if origin is None or where is None else distance_s(origin, where)

    return distance
