"""Where the nodes are in the network, and who is nearest to whom.

Agents say so in their gossip, and what they say changes with every probe; readers see a picture of
it that is taken now and then, so that answers and indexes hold for a while. Nodes without an agent
have theirs in the catalog, from whoever measured it.
"""

from collections.abc import Callable, Iterable
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
        self._picture: dict[str, tuple[str, Coordinate]] = {}
        """By name in lower case: the name, and where."""

    def refresh(self) -> None:
        """Take a new picture, and tell the view's watchers if it differs."""
        picture = {name.lower(): (name, where) for name, where in self._agents()}
        if picture != self._picture:
            self._picture = picture
            self._view.touch_coordinates()

    def of(self, node: str) -> Coordinate | None:
        """Where the node of this name is, in any letter case; None when nobody knows.

        A member of the pool that is no node of the catalog, as a plain Serf agent, has one too.
        """
        row = self._view.node(node)
        if row is not None and not row.is_own:
            return row.body.coordinate
        _, where = self._picture.get(node.lower(), ("", None))
        return where

    def all(self) -> list[tuple[str, Coordinate]]:
        """Every node whose place is known, by name."""
        found = dict(self._picture)
        for row in self._view.nodes():
            if not row.is_own and row.body.coordinate is not None:
                found[row.key] = (row.name, row.body.coordinate)
        return [found[key] for key in sorted(found)]


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
