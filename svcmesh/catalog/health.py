"""Health and selection of service instances and nodes, by Consul's rules."""

from collections.abc import Mapping
from itertools import chain
from typing import Final

from svcmesh.catalog.records import HealthStatus
from svcmesh.catalog.view_rows import NodeRow, ServiceRow

_KNOWN_STATUSES: Final = frozenset(HealthStatus)


def instance_status(row: ServiceRow) -> HealthStatus | None:
    """The worst status among the node's checks and the instance's own; passing without any.

    None: nothing is critical, but an external check has a word of its own as its status.
    """
    statuses = {check.record.status for check in chain(row.node.node_checks, row.checks)}
    if HealthStatus.CRITICAL in statuses:
        return HealthStatus.CRITICAL
    if not statuses <= _KNOWN_STATUSES:
        return None
    return HealthStatus.WARNING if HealthStatus.WARNING in statuses else HealthStatus.PASSING


def is_passing(row: ServiceRow) -> bool:
    """Whether every check of the instance and of its node passes."""
    return all(
        check.record.status == HealthStatus.PASSING
        for check in chain(row.node.node_checks, row.checks)
    )


def has_tags(row: ServiceRow, tags: tuple[str, ...]) -> bool:
    """Whether the instance has all of `tags`, which are in lower case."""
    if not tags:
        return True
    own = [tag.lower() for tag in row.record.tags]
    return all(tag in own for tag in tags)


def has_node_meta(node: NodeRow, wanted: Mapping[str, str]) -> bool:
    """Whether the node has all of this metadata."""
    if not wanted:
        return True
    meta = node.body.meta
    return all(meta.get(key) == value for key, value in wanted.items())
