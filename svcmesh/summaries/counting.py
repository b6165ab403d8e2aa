"""How many instances each service of our own catalog has, and how many are healthy."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from svcmesh.catalog.health import instance_status
from svcmesh.catalog.records import HealthStatus
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import ServiceRow


class ServiceCount(NamedTuple):
    """What is told of one service."""

    instances: int
    healthy: int
    """Those that no critical check, of their own or of their node, keeps out of DNS."""


NONE: Final = ServiceCount(0, 0)


class ServiceCounts:
    """Follows a view, instance by instance: a change costs the same however large a service is."""

    def __init__(self, view: CatalogView) -> None:
        """Count what is in the view, and whatever comes into it."""
        self._health: dict[ServiceRow, tuple[str, bool]] = {}
        """Of every instance that is counted: under which name, and whether healthy."""
        self._counts: dict[str, ServiceCount] = {}
        self._changed: dict[str, None] = {}
        self._on_change((row for node in view.nodes() for row in node.services.values()), ())
        view.listen(self._on_change)

    def all(self) -> Mapping[str, ServiceCount]:
        """Every service that has instances, by name in lower case."""
        return self._counts

    def of(self, name: str) -> ServiceCount:
        """One service's, by its name in lower case."""
        return self._counts.get(name, NONE)

    @property
    def has_changed(self) -> bool:
        """Whether `take_changed` would give anything."""
        return bool(self._changed)

    def take_changed(self) -> list[str]:
        """The names of services whose count may have changed since the last call."""
        changed, self._changed = list(self._changed), {}
        return changed

    def _on_change(self, rows: Iterable[ServiceRow], _: Iterable[str]) -> None:
        for row in rows:
            is_shown = row.node.is_shown and row.node.services.get(row.record.id) is row
            name = row.record.name.lower()
            after = (name, instance_status(row) != HealthStatus.CRITICAL) if is_shown else None
            before = self._health.get(row)
            if before == after:
                continue
            if before is not None:
                self._add(before, -1)
                del self._health[row]
            if after is not None:
                self._add(after, 1)
                self._health[row] = after

    def _add(self, what: tuple[str, bool], number: int) -> None:
        name, is_healthy = what
        old = self.of(name)
        new = ServiceCount(old.instances + number, old.healthy + number * is_healthy)
        if new.instances:
            self._counts[name] = new
        else:
            del self._counts[name]
        self._changed[name] = None
