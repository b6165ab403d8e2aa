"""Health and selection of service instances and nodes, by Consul's rules."""

from collections.abc import Mapping
from itertools import chain

from svcmesh.catalog.records import HealthStatus
from svcmesh.catalog.view_rows import NodeRow, ServiceRow


def instance_status(row: ServiceRow) -> HealthStatus:
    """The worst status among the node's checks and the instance's own; passing without any.

    An external check may have a word of its own as its status; it excludes nothing here.
    """
    status = HealthStatus.PASSING
    for check in chain(row.node.node_checks, row.checks):
        if check.record.status == HealthStatus.CRITICAL:
            return HealthStatus.CRITICAL
        if check.record.status == HealthStatus.WARNING:
            status = HealthStatus.WARNING
    return status


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
