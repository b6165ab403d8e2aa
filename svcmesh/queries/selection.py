"""Which instances of its service a prepared query selects, by Consul's rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeVar

from svcmesh.catalog.records import HealthStatus, QueryRecord
from svcmesh.catalog.view_rows import ServiceRow

NEAR_AGENT: Final = "_agent"
NEAR_IP: Final = "_ip"

DEPTH_OF_ITSELF: Final = 10
"""A node is put first among those near to it when it is among so many already."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """What an instance must be like. Selections that are equal select the same."""

    service: str
    """In lower case."""
    only_passing: bool = False
    ignored_checks: frozenset[str] = frozenset()
    """Ids of checks that do not count."""
    tags: tuple[str, ...] = ()
    """In lower case; behind a `!` those that it must not have."""
    node_meta: tuple[tuple[str, str], ...] = ()
    service_meta: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, query: QueryRecord) -> "Selection":
        """What a query asks for; a template is rendered first."""
        return cls(
            service=query.service.lower(),
            only_passing=query.only_passing,
            ignored_checks=frozenset(query.ignored_checks or ()),
            tags=tuple(tag.lower() for tag in query.tags or ()),
            node_meta=query.node_meta or (),
            service_meta=query.service_meta or (),
        )

    def takes(self, row: ServiceRow) -> bool:
        """Whether an instance of the service is selected."""
        return self._is_well(row) and self._has_tags(row) and self._has_metadata(row)

    def _is_well(self, row: ServiceRow) -> bool:
        for check in chain(row.node.node_checks, row.checks):
            status = check.record.status
            if status == HealthStatus.PASSING or check.record.id in self.ignored_checks:
                continue
            if self.only_passing or status == HealthStatus.CRITICAL:
                return False
        return True

    def _has_tags(self, row: ServiceRow) -> bool:
        if not self.tags:
            return True
        own = {tag.lower() for tag in row.record.tags}
        return all(tag[1:] not in own if tag.startswith("!") else tag in own for tag in self.tags)

    def _has_metadata(self, row: ServiceRow) -> bool:
        node, own = row.node.body.meta, row.record.meta
        return all(node.get(key) == value for key, value in self.node_meta) and all(
            own.get(key) == value for key, value in self.service_meta
        )


def nearest_first(
    rows: Sequence[T], distances: Sequence[float], node_of: Callable[[T], str], near: str
) -> list[T]:
    """Rows by the distances given, which are those of their nodes to `near`; itself before all.

    Rows that are equally far stay in the order in which they are.
    """
    # By plain numbers, which is several times faster than by tuples.
    found = [rows[place] for place in sorted(range(len(rows)), key=distances.__getitem__)]
    for place, row in enumerate(found[:DEPTH_OF_ITSELF]):
        if node_of(row).lower() == near.lower():
            found[0], found[place] = found[place], found[0]
            break
    return found
