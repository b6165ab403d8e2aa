"""The agent's services and checks as they are kept on disk."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from svcmesh.checks.definition import CheckDefinition, Maintenance
from svcmesh.checks.maintenance import maintenance_check
from svcmesh.checks.parsing import check_to_json, parse_check_definition
from svcmesh.definitions import ServiceDefinition, definition_to_json, parse_service_definition
from svcmesh.reading import DefinitionError
from svcmesh.storage import DataDir, TtlState


@dataclass(frozen=True, slots=True)
class KeptState:
    """What earlier runs have kept: services, their checks and the node's, and TTL states."""

    services: Iterable[ServiceDefinition] = ()
    checks: Iterable[CheckDefinition] = ()
    ttl_states: Mapping[str, TtlState] = field(default_factory=dict)


def load_kept(data_dir: DataDir) -> KeptState:
    """Load everything; what cannot be read is set aside, with a warning of the data directory."""
    return KeptState(
        data_dir.services(
            lambda content, where: parse_service_definition(content, where=where, strict=False)
        ),
        data_dir.checks(_parse_check),
        data_dir.ttl_states(),
    )


def service_plan(
    data_dir: DataDir, service_id: str, definition: ServiceDefinition | None
) -> dict[str, bytes | None]:
    """What keeps a service, or with None forgets it. Its checks are kept by themselves."""
    if definition is None:
        return data_dir.service_file(service_id, None)
    return data_dir.service_file(service_id, definition_to_json(replace(definition, checks=())))


def check_plan(
    data_dir: DataDir, check_id: str, definition: CheckDefinition | None
) -> dict[str, bytes | None]:
    """What keeps a check, or with None forgets it."""
    content = None if definition is None else check_to_json(definition)
    if definition is not None and isinstance(definition.source, Maintenance):
        content = {"Maintenance": True, "ServiceID": definition.service_id}
        content["Notes"] = definition.notes
    return data_dir.check_file(check_id, content)


def _parse_check(content: object, where: str) -> CheckDefinition:
    if isinstance(content, dict) and content.get("Maintenance") is True:
        service_id, notes = content.get("ServiceID"), content.get("Notes")
        if not isinstance(service_id, str) or not isinstance(notes, str):
            raise DefinitionError(f"{where}: expected texts")
        return maintenance_check(service_id, notes)
    return parse_check_definition(content, where=where, strict=False)
