"""What the catalog says of the node and the checks that a session hangs on.

The catalog converges, so a record that is not there may just not have come yet: on a server that
was started lately, or right after a node was registered with another agent. Only what was here and
has gone, or is critical, is bad news.
"""

from collections.abc import Callable, Collection
from enum import Enum
from typing import Final

from svcmesh.catalog.records import HealthStatus
from svcmesh.catalog.view_rows import NodeRow
from svcmesh.consensus.store import Session

_NODE: Final = ""
"""In the place of a check: the node itself."""


class Verdict(Enum):
    """How a session's node and checks are."""

    WELL = "well"
    UNWELL = "unwell"
    """One is critical, or has gone."""
    UNSEEN = "unseen"
    """One has never been here."""


class Wellness:
    """Judges sessions by the catalog, and remembers what it has seen of them."""

    def __init__(self, node: Callable[[str], NodeRow | None], stamp: Callable[[str], int]) -> None:
        """`node` finds a node of the catalog by name, `stamp` changes whenever it does."""
        self._node, self.stamp = node, stamp
        self._seen: set[tuple[str, str]] = set()
        """(node in lower case, check id)."""

    def judge(self, session: Session) -> Verdict:
        """How a session's node and checks are now."""
        name = session.node.lower()
        found = self._node(session.node)
        statuses = (
            {} if found is None else {c.record.id: c.record.status for c in found.all_checks()}
        )
        verdict = Verdict.WELL
        for part in _parts(session):
            is_there = part in statuses if part else found is not None
            if is_there:
                self._seen.add((name, part))
                if statuses.get(part) == HealthStatus.CRITICAL:
                    return Verdict.UNWELL
            elif (name, part) in self._seen:
                return Verdict.UNWELL
            else:
                verdict = Verdict.UNSEEN
        return verdict

    def keep(self, nodes: Collection[str]) -> None:
        """Forget what is of none of these nodes (in lower case)."""
        if len({node for node, _ in self._seen}) > 2 * len(nodes):
            self._seen = {seen for seen in self._seen if seen[0] in nodes}


def _parts(session: Session) -> tuple[str, ...]:
    return (_NODE, *session.check_ids)
