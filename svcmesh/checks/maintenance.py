"""Maintenance mode: a critical check that an operator puts on the node or on a service."""

from typing import Final

from svcmesh.checks.definition import CheckDefinition, Maintenance

NODE_CHECK_ID: Final = "_node_maintenance"
SERVICE_CHECK_PREFIX: Final = "_service_maintenance:"

_NO_REASON: Final = (
    "Maintenance mode is enabled for this {}, but no reason was provided. This is a default "
    "message."
)


def maintenance_id(service_id: str) -> str:
    """The id of the check for a service, or for the node if the id is empty."""
    return SERVICE_CHECK_PREFIX + service_id if service_id else NODE_CHECK_ID


def maintenance_check(service_id: str, reason: str) -> CheckDefinition:
    """The check that puts a service, or the node if the id is empty, into maintenance."""
    what = "service" if service_id else "node"
    return CheckDefinition(
        id=maintenance_id(service_id),
        name=f"{what.capitalize()} Maintenance Mode",
        source=Maintenance(),
        notes=reason or _NO_REASON.format(what),
        service_id=service_id,
    )
