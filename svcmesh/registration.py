"""Registrations of external nodes: the bodies of `/v1/catalog/register` and `.../deregister`.

Parsing knows the body alone; planning turns it into catalog records, given what is registered
already. The rules and their words are Consul's, but for nodes with an agent: those are written by
their agent only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import orjson

from svcmesh.catalog.bodies import replication_problem
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    HealthStatus,
    Kind,
    NodeRecord,
    ServiceRecord,
    TaggedAddress,
)
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import NodeRow
from svcmesh.checks.parsing import CHECKS_MAX
from svcmesh.definitions import ANY_ADDRESSES, check_metadata
from svcmesh.errors import SvcmeshError
from svcmesh.goformats import duration_string, parse_duration
from svcmesh.jsonvalues import FieldError, Fields, is_empty

NUMBER_MAX: Final = 65535
"""Of ports and weights."""

_MESH: Final = {"kind", "proxy", "connect"}
_ENTERPRISE: Final = {"namespace", "partition", "locality", "peername"}
"""Fields, in lower case, that must be empty: they are of what svcmesh is not."""


_DEFINITION_TEXTS: Final = ("HTTP", "Method", "Body", "TCP", "GRPC", "AliasNode", "AliasService",
                            "DockerContainerID", "Shell")  # fmt: skip

_INT64_MAX: Final = 2**63 - 1


class RegistrationError(SvcmeshError):
    """A registration is refused; nothing has changed."""

    def __init__(self, text: str, *, is_malformed: bool = False) -> None:
        super().__init__(text)
        self.is_malformed = is_malformed
        """Whether the body could not be decoded, as opposed to making no sense."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A node, with at most one service and any number of checks."""

    node: str
    node_record: NodeRecord
    keeps_node: bool = False
    """Whether a node that is registered already stays as it is (`SkipNodeUpdate`)."""
    datacenter: str = ""
    service: ServiceRecord | None = None
    checks: tuple[CheckRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Deregistration:
    """What to remove: a service, else a check, else the whole node."""

    node: str
    datacenter: str = ""
    service_id: str = ""
    check_id: str = ""


def parse_registration(body: object) -> Registration:
    """Read the body of a registration.

    Raises:
        RegistrationError: It is none.
    """
    try:
        return _parse_registration(Fields(body))
    except FieldError as error:
        raise RegistrationError(str(error), is_malformed=True) from error


def parse_deregistration(body: object) -> Deregistration:
    """Read the body of a deregistration.

    Raises:
        RegistrationError: It is none.
    """
    try:
        fields = Fields(body)
        deregistration = Deregistration(
            node=fields.string("Node"),
            datacenter=fields.string("Datacenter"),
            service_id=fields.string("ServiceID"),
            check_id=fields.string("CheckID"),
        )
        # An obsolete field that Go clients still send, and the token of absent access control.
        fields.skip("Address")
        fields.string("Token")
        _refuse_foreign(fields, _ENTERPRISE)
        fields.finish()
    except FieldError as error:
        raise RegistrationError(str(error), is_malformed=True) from error
    if not deregistration.node:
        raise RegistrationError("Must provide node")
    return deregistration


def plan_registration(registration: Registration, view: CatalogView) -> list[Body]:
    """The records to publish, in order.

    Raises:
        RegistrationError: The node has an agent, or a check's service is missing.
    """
    name = registration.node
    refuse_agents(name, view)
    node = view.external_node(name)
    bodies: list[Body] = []
    if _writes_node(registration, view):
        record = registration.node_record
        if record.id and view.has_agent(record.id):
            reserved = f'Node ID "{record.id}" is reserved by an agent'
            raise RegistrationError(f"failed inserting node: {reserved}")
        # A coordinate comes by another way, and stays.
        kept = None if node is None or node.record is None else node.record.coordinate
        bodies.append(replace(record, datacenter=view.datacenter, coordinate=kept))
    if registration.service is not None:
        check_service_meta(registration.service, name)
        bodies.append(registration.service)
    bodies += [_with_service(check, registration, node) for check in registration.checks]
    for body in bodies:
        if (problem := replication_problem(body)) is not None:
            raise RegistrationError(f"a record {problem}")
    return bodies


def renamed_nodes(registration: Registration, view: CatalogView) -> list[str]:
    """The names that the node had before, by its id: they go, with all that is on them."""
    node_id, name = registration.node_record.id, registration.node.lower()
    if not node_id or not _writes_node(registration, view):
        return []
    return [other for other in view.external_nodes_with(node_id) if other != name]


def _writes_node(registration: Registration, view: CatalogView) -> bool:
    """As in Consul: nothing is skipped for a node that is not there, whatever is known of it."""
    node = view.external_node(registration.node)
    return not registration.keeps_node or node is None or node.record is None


def plan_deregistration(
    deregistration: Deregistration, view: CatalogView
) -> list[tuple[Kind, str]]:
    """The records to withdraw, in order; none when they are not there.

    Raises:
        RegistrationError: The node has an agent.
    """
    refuse_agents(deregistration.node, view)
    node = view.external_node(deregistration.node)
    if node is None:
        return []
    if service_id := deregistration.service_id:
        checks = node.checks_by_service.get(service_id, ())
        keys = [(Kind.CHECK, row.record.id) for row in checks]
        if service_id in node.services:
            keys.append((Kind.SERVICE, service_id))
        return keys
    if check_id := deregistration.check_id:
        return [(Kind.CHECK, check_id)] if check_id in node.checks else []
    keys = [(Kind.CHECK, check_id) for check_id in node.checks]
    keys += [(Kind.SERVICE, service_id) for service_id in node.services]
    if node.record is not None:
        keys.append((Kind.NODE, ""))
    return keys


def _parse_registration(fields: Fields) -> Registration:
    name, address = fields.string("Node"), fields.string("Address")
    datacenter, node_id = fields.string("Datacenter"), fields.string("ID")
    keeps_node = fields.boolean("SkipNodeUpdate")
    given_empty = _given_empty(fields, meta="NodeMeta", tagged_addresses="TaggedAddresses")
    meta, tagged = fields.strings_map("NodeMeta"), fields.strings_map("TaggedAddresses")
    service_fields = fields.nested("Service")
    # As in Consul: of two checks with one id the later one counts, and the single one is the last.
    given_checks = [*fields.nested_list("Checks"), fields.nested("Check")]
    check_fields = [check for check in given_checks if check is not None]
    if len(check_fields) > CHECKS_MAX:
        text = f"Checks: at most {CHECKS_MAX} may be given, got {len(check_fields)}"
        raise RegistrationError(text)
    fields.string("Token")
    _refuse_foreign(fields, _ENTERPRISE)
    fields.finish()
    service = None if service_fields is None else parse_service(service_fields)
    checks = [parse_check(check, name) for check in check_fields]
    if not name:
        raise RegistrationError("Must provide node")
    if not address and not keeps_node:
        raise RegistrationError("Must provide address if SkipNodeUpdate is not set")
    record = NodeRecord(
        name=name,
        address=address,
        datacenter=datacenter,
        tagged_addresses=tagged,
        meta=meta,
        id=parse_node_id(node_id),
        given_empty=given_empty,
    )
    return Registration(name, record, keeps_node, datacenter, service, tuple(checks))


def parse_service(fields: Fields) -> ServiceRecord:
    """Read a service.

    Raises:
        FieldError, RegistrationError: It is none.
    """
    service_id, name = fields.string("ID"), fields.string("Service")
    weights = fields.nested("Weights")
    passing = warning = 1
    if weights is not None:
        passing, warning = weights.integer("Passing"), weights.integer("Warning")
        weights.finish()
        if passing == 0:
            # As in Consul: a passing instance always weighs something, or the whole is void.
            passing = warning = 1
    given_empty = _given_empty(fields, meta="Meta")
    record = ServiceRecord(
        id=service_id or name,
        name=name,
        tags=fields.strings("Tags"),
        port=fields.integer("Port"),
        address=fields.string("Address"),
        tagged_addresses=_tagged_addresses(fields),
        meta=fields.strings_map("Meta"),
        weight_passing=passing,
        weight_warning=warning,
        enable_tag_override=fields.boolean("EnableTagOverride"),
        given_empty=given_empty,
    )
    fields.skip("CreateIndex", "ModifyIndex")
    _refuse_foreign(fields, _MESH | _ENTERPRISE)
    fields.finish()
    if not name:
        raise RegistrationError("Must provide service name with ID")
    if record.address in ANY_ADDRESSES:
        raise RegistrationError("Invalid service address")
    # Differs from Consul, which takes any numbers and answers DNS with their low 16 bits.
    numbers = [("Port", record.port), ("Weights", passing), ("Weights", warning)]
    numbers += [("TaggedAddresses", tagged.port) for tagged in record.tagged_addresses.values()]
    for what, number in numbers:
        if not 0 <= number <= NUMBER_MAX:
            text = f"Invalid {what}: must be between 0 and {NUMBER_MAX}, got {number}"
            raise RegistrationError(text)
    return record


def _given_empty(fields: Fields, **keys: str) -> tuple[str, ...]:
    """Which of these maps are there and empty; asked before they are taken."""
    return tuple(name for name, key in keys.items() if fields.has_empty_object(key))


def _tagged_addresses(fields: Fields) -> dict[str, TaggedAddress]:
    addresses = {}
    for tag, inner in fields.nested_map("TaggedAddresses").items():
        addresses[tag] = TaggedAddress(inner.string("Address"), inner.integer("Port"))
        inner.finish()
    return addresses


def parse_check(fields: Fields, node: str, *, finds_type: bool = True) -> CheckRecord:
    """Read a check of a node; `finds_type`: a type that is not given is seen by the definition.

    Raises:
        FieldError, RegistrationError: It is none.
    """
    of_node = fields.string("Node")
    check_id, name = fields.string("CheckID"), fields.string("Name")
    status, given_type = fields.string("Status"), fields.string("Type")
    definition = _definition(fields.nested("Definition"))
    record = CheckRecord(
        id=check_id or name,
        name=name,
        status=status or HealthStatus.CRITICAL,
        output=fields.string("Output"),
        notes=fields.string("Notes"),
        service_id=fields.string("ServiceID"),
        service_name=fields.string("ServiceName"),
        service_tags=fields.strings("ServiceTags"),
        type=given_type or (_check_type(definition) if finds_type else ""),
        definition=orjson.dumps(definition).decode() if definition else "",
    )
    fields.skip("CreateIndex", "ModifyIndex")
    _refuse_foreign(fields, _ENTERPRISE | {"exposedport"})
    fields.finish()
    if of_node and of_node != node:
        raise RegistrationError(f'check node "{of_node}" does not match node "{node}"')
    if not record.id:
        raise RegistrationError(f'failed inserting check: missing CheckID on node "{node}"')
    return record


def _definition(fields: Fields | None) -> dict[str, object]:
    """How the check is to be run, without the empty fields, durations as Consul writes them."""
    if fields is None:
        return {}
    definition: dict[str, object] = {}
    for key in ("Interval", "Timeout", "DeregisterCriticalServiceAfter"):
        definition[key] = _duration(fields, key)
    for key in _DEFINITION_TEXTS:
        definition[key] = fields.string(key)
    for key in ("TLSSkipVerify", "GRPCUseTLS"):
        definition[key] = fields.boolean(key)
    definition["Header"] = fields.string_lists_map("Header")
    definition["ScriptArgs"] = list(fields.strings("ScriptArgs"))
    definition["TTL"] = _nanoseconds(fields, "TTL")
    # What else is there goes without a word, as in Consul, here and nowhere else.
    return {key: value for key, value in definition.items() if not is_empty(value)}


def _duration(fields: Fields, key: str) -> str:
    """A duration as Consul writes it, empty without one."""
    duration_s = _seconds(fields, key)
    return duration_string(duration_s) if duration_s else ""


def _nanoseconds(fields: Fields, key: str) -> int:
    return round(_seconds(fields, key) * 1e9)


def _seconds(fields: Fields, key: str) -> float:
    """A duration, given as text or as a number of nanoseconds, under one of two names."""
    given = [value for _, value in fields.take([key.lower(), f"{key.lower()}duration"])]
    value = next((value for value in given if value), None)
    match value:
        case None:
            return 0.0
        case int() if not isinstance(value, bool) and abs(value) <= _INT64_MAX:
            return value / 1e9
        case str():
            try:
                return parse_duration(value)
            except ValueError as error:
                raise FieldError(f"Request decode failed: {error}") from error
        case _:
            raise FieldError(f"Request decode failed: {key}: invalid value for a duration")


def _check_type(definition: Mapping[str, object]) -> str:
    """The kind of check that a definition makes, as Consul names it."""
    is_timed = "Interval" in definition
    for key, name in (("GRPC", "grpc"), ("HTTP", "http")):
        if is_timed and key in definition:
            return name
    if "TTL" in definition:
        return "ttl"
    if is_timed and "TCP" in definition:
        return "tcp"
    if "AliasNode" in definition or "AliasService" in definition:
        return "alias"
    if is_timed and "ScriptArgs" in definition:
        return "docker" if "DockerContainerID" in definition else "script"
    return ""


def _with_service(
    check: CheckRecord, registration: Registration, node: NodeRow | None
) -> CheckRecord:
    """The check with name and tags of its service, which it keeps from now on."""
    if not check.service_id:
        return check
    service = registration.service
    if service is None or service.id != check.service_id:
        row = None if node is None else node.services.get(check.service_id)
        if row is None:
            raise RegistrationError(
                "failed inserting check: "
                f'Missing service registration on node "{registration.node}"'
            )
        service = row.record
    return replace(check, service_name=service.name, service_tags=service.tags)


def check_service_meta(service: ServiceRecord, node: str) -> None:
    """Refuse metadata that breaks Consul's limits.

    Raises:
        RegistrationError: It does.
    """
    if (problem := check_metadata(service.meta)) is not None:
        raise RegistrationError(
            f"failed inserting service: Invalid Service Meta for node {node} and serviceID "
            f"{service.id}: {problem}"
        )


def refuse_agents(name: str, view: CatalogView) -> None:
    """Refuse to write to a node that has an agent.

    Raises:
        RegistrationError: It has.
    """
    node = view.node(name)
    if node is not None and node.is_own:
        raise RegistrationError(
            f"Node name {name} is reserved by node {node.node_id} with name {node.name} "
            f"({node.body.address}): use the API of its agent"
        )


def _refuse_foreign(fields: Fields, keys: set[str]) -> None:
    """Accept these fields of Consul's only while they ask for nothing."""
    for key, value in fields.take(keys):
        if not is_empty(value):
            why = "svcmesh is no service mesh" if key.lower() in _MESH else "there is no such thing"
            raise FieldError(f'Request decode failed: json: unknown field "{key}" - {why}')


def parse_node_id(text: str) -> str:
    """Read the UUID of a node, in lower case; it may be empty.

    Raises:
        RegistrationError: It is none.
    """
    if not text:
        return ""
    if len(text) != 36:
        raise RegistrationError("Bad node ID: uuid string is wrong length")
    try:
        return str(UUID(text))
    except ValueError:
        raise RegistrationError("Bad node ID: uuid is improperly formatted") from None
