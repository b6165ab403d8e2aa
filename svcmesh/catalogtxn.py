"""Operations of `/v1/txn` on the catalog: Consul's verbs, on nodes without an agent.

`CatalogDraft` checks one operation after the other against the catalog as those before it leave it,
and notes what to publish; nothing is written here. The catalog has no leader: what is checked is
this agent's copy, and another agent may write in between.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Generic, Literal, TypeVar

from svcmesh.catalog.bodies import replication_problem
from svcmesh.catalog.records import Body, CheckRecord, Kind, NodeRecord, ServiceRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import NodeRow
from svcmesh.jsonvalues import FieldError, Fields
from svcmesh.registration import (
    RegistrationError,
    check_service_meta,
    parse_check,
    parse_node_id,
    parse_service,
    refuse_agents,
)

READ: Final = "get"
VERBS: Final = frozenset({"set", "cas", "get", "delete", "delete-cas"})

NodeKind = Literal[Kind.NODE, Kind.SERVICE, Kind.CHECK]
"""Kinds of records that belong to a node: a transaction is about no others."""

KINDS: Final[dict[str, NodeKind]] = {
    "node": Kind.NODE,
    "service": Kind.SERVICE,
    "check": Kind.CHECK,
}
"""What operations are on, by the name of their field in lower case."""

_TOUCHED: Final = -1
"""Index of what an earlier operation has written: nobody can have seen it yet."""

R = TypeVar("R", NodeRecord, ServiceRecord, CheckRecord)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, decoded. `record` holds no more than the verb needs."""

    verb: str
    kind: NodeKind
    node: str
    node_id: str
    """Says which node is meant, when `node` is empty."""
    id: str
    """Of the service or check."""
    index: int
    record: NodeRecord | ServiceRecord | CheckRecord | None
    """What to write; None for verbs that do not."""
    problem: str = ""
    """Why it is refused, whatever the catalog holds."""


@dataclass(frozen=True, slots=True)
class Step:
    """What an operation comes to: records to publish or to withdraw, and one to show."""

    node: str
    bodies: tuple[Body, ...] = ()
    keys: tuple[tuple[Kind, str], ...] = ()
    shows: tuple[Kind, str] | None = None


def parse_operation(kind: NodeKind, value: object) -> Operation:
    """Read what an operation's `Node`, `Service` or `Check` holds.

    Raises:
        RegistrationError: It cannot be decoded.
    """
    try:
        return _parse_operation(kind, value)
    except FieldError as error:
        raise RegistrationError(str(error), is_malformed=True) from error


class CatalogDraft:
    """The catalog as the operations so far would leave it."""

    def __init__(self, view: CatalogView) -> None:
        self._view = view
        self._nodes: dict[str, _Node] = {}

    def take(self, operation: Operation) -> Step:
        """Check one operation, and see what it comes to.

        Raises:
            RegistrationError: It fails, in Consul's words. The draft is as before.
        """
        if operation.problem:
            raise RegistrationError(operation.problem)
        name = operation.node or self._name(operation.node_id)
        node = self._node(name)
        if operation.verb == READ:
            return self._get(operation, name, node)
        if not name:
            raise RegistrationError("Must provide node")
        refuse_agents(name, self._view)
        match operation.record:
            case NodeRecord() as record:
                return self._set_node(operation, name, node, record)
            case ServiceRecord() as record:
                return self._set_service(operation, name, node, record)
            case CheckRecord() as record:
                return self._set_check(operation, name, node, record)
            case None:
                return self._delete(operation, name, node)

    def _name(self, node_id: str) -> str:
        if not node_id:
            return ""
        wanted = node_id.lower()
        return next((row.name for row in self._view.nodes() if row.id == wanted), "")

    def _node(self, name: str) -> "_Node":
        key = name.lower()
        if key not in self._nodes:
            row = self._view.node(name) or self._view.external_node(name)
            self._nodes[key] = _Node.of(row)
        return self._nodes[key]

    def _get(self, operation: Operation, name: str, node: "_Node") -> Step:
        found: _Entry[NodeRecord] | _Entry[ServiceRecord] | _Entry[CheckRecord] | None
        match operation.kind:
            case Kind.NODE:
                found = node.entry
                if found is None:
                    raise RegistrationError(f'node "{name}" doesn\'t exist')
            case Kind.SERVICE:
                found = node.services.get(operation.id)
            case Kind.CHECK:
                found = node.checks.get(operation.id)
        if found is None:
            raise RegistrationError(
                f'{operation.kind.name.lower()} "{operation.id}" on node "{name}" doesn\'t exist'
            )
        return Step(name, shows=(operation.kind, operation.id))

    def _set_node(self, operation: Operation, name: str, node: "_Node", record: NodeRecord) -> Step:
        _compare(operation, node.entry, f'failed to set node "{name}"')
        if record.id and self._view.has_agent(record.id):
            raise RegistrationError(f'Node ID "{record.id}" is reserved by an agent')
        # A coordinate comes by another way, and stays.
        kept = None if node.entry is None else node.entry.record.coordinate
        record = replace(record, datacenter=self._view.datacenter, coordinate=kept)
        step = _publish(name, record, (Kind.NODE, ""))
        node.entry = _Entry(record)
        return step

    def _set_service(
        self, operation: Operation, name: str, node: "_Node", record: ServiceRecord
    ) -> Step:
        what = f'failed to set service "{record.id}" on node "{name}"'
        _compare(operation, node.services.get(record.id), what)
        if node.entry is None:
            raise RegistrationError("Missing node registration")
        check_service_meta(record, name)
        step = _publish(name, record, (Kind.SERVICE, record.id))
        node.services[record.id] = _Entry(record)
        return step

    def _set_check(
        self, operation: Operation, name: str, node: "_Node", record: CheckRecord
    ) -> Step:
        what = f'failed to set check "{record.id}" on node "{name}"'
        _compare(operation, node.checks.get(record.id), what)
        if node.entry is None:
            raise RegistrationError("Missing node registration")
        if record.service_id:
            service = node.services.get(record.service_id)
            if service is None:
                raise RegistrationError("Missing service registration")
            record = replace(
                record, service_name=service.record.name, service_tags=service.record.tags
            )
        step = _publish(name, record, (Kind.CHECK, record.id))
        node.checks[record.id] = _Entry(record)
        return step

    def _delete(self, operation: Operation, name: str, node: "_Node") -> Step:
        service_id = operation.id
        keys: list[tuple[Kind, str]] = []
        match operation.kind:
            case Kind.NODE:
                _compare(operation, node.entry, f'failed to delete node "{name}"')
                keys = [(Kind.CHECK, check_id) for check_id in node.checks]
                keys += [(Kind.SERVICE, each) for each in node.services]
                if node.entry is not None:
                    keys.append((Kind.NODE, ""))
                node.entry = None
                node.services.clear()
                node.checks.clear()
            case Kind.SERVICE:
                what = f'failed to delete service "{service_id}" on node "{name}"'
                _compare(operation, node.services.get(service_id), what)
                checks = [key for key, each in node.checks.items() if each.is_of(service_id)]
                keys = [(Kind.CHECK, check_id) for check_id in checks]
                if node.services.pop(service_id, None) is not None:
                    keys.append((Kind.SERVICE, service_id))
                for check_id in checks:
                    del node.checks[check_id]
            case Kind.CHECK:
                what = f'failed to delete check "{operation.id}" on node "{name}"'
                _compare(operation, node.checks.get(operation.id), what)
                if node.checks.pop(operation.id, None) is not None:
                    keys = [(Kind.CHECK, operation.id)]
        return Step(name, keys=tuple(keys))


@dataclass(slots=True)
class _Entry(Generic[R]):
    record: R
    index: int = _TOUCHED

    def is_of(self, service_id: str) -> bool:
        return isinstance(self.record, CheckRecord) and self.record.service_id == service_id


@dataclass(slots=True)
class _Node:
    entry: _Entry[NodeRecord] | None = None
    services: dict[str, _Entry[ServiceRecord]] = field(default_factory=dict)
    checks: dict[str, _Entry[CheckRecord]] = field(default_factory=dict)

    @classmethod
    def of(cls, row: NodeRow | None) -> "_Node":
        if row is None:
            return cls()
        return cls(
            None if row.record is None else _Entry(row.record, row.modify_index),
            {key: _Entry(each.record, each.modify_index) for key, each in row.services.items()},
            {key: _Entry(each.record, each.modify_index) for key, each in row.checks.items()},
        )


def _compare(
    operation: Operation,
    found: _Entry[NodeRecord] | _Entry[ServiceRecord] | _Entry[CheckRecord] | None,
    what: str,
) -> None:
    """Refuse a compared write when its index is another; 0 stands for what is not there."""
    if operation.verb not in ("cas", "delete-cas"):
        return
    if operation.verb == "delete-cas" and found is None:
        # As in Consul: there is nothing whose index could be the right one.
        raise RegistrationError(f"{what}, index is stale")
    if (0 if found is None else found.index) != operation.index:
        raise RegistrationError(f"{what}, index is stale")


def _publish(node: str, body: Body, shows: tuple[Kind, str]) -> Step:
    if (problem := replication_problem(body)) is not None:
        raise RegistrationError(f"a record {problem}")
    return Step(node, bodies=(body,), shows=shows)


def _parse_operation(kind: NodeKind, value: object) -> Operation:
    fields = Fields(value)
    verb = fields.string("Verb")
    name = kind.name.capitalize()
    of_node = fields.string("Node") if kind is Kind.SERVICE else ""
    inner_value = next((given for _, given in fields.take([name.lower()])), None)
    fields.finish()
    index = Fields(inner_value).integer("ModifyIndex")
    writes = verb in ("set", "cas")
    if verb not in VERBS:
        return Operation(verb, kind, "", "", "", 0, None, f'unknown {name} verb "{verb}"')
    try:
        match kind:
            case Kind.NODE:
                record = _node(Fields(inner_value))
                return Operation(
                    verb, kind, record.name, record.id, "", index, record if writes else None
                )
            case Kind.SERVICE:
                if verb == READ:
                    service_id = Fields(inner_value).string("ID")
                    return Operation(verb, kind, of_node, "", service_id, index, None)
                service = parse_service(Fields(inner_value))
                return Operation(
                    verb, kind, of_node, "", service.id, index, service if writes else None
                )
            case Kind.CHECK:
                node = Fields(inner_value).string("Node")
                if not writes:
                    given = Fields(inner_value)
                    check_id, named = given.string("CheckID"), given.string("Name")
                    # As in Consul: a write may give the name only, a read may not.
                    check_id = check_id or ("" if verb == READ else named)
                    return Operation(verb, kind, node, "", check_id, index, None)
                # As in Consul: a registration finds the type that is not given, this does not.
                check = parse_check(Fields(inner_value), node, finds_type=False)
                return Operation(verb, kind, node, "", check.id, index, check)
    except RegistrationError as error:
        return Operation(verb, kind, "", "", "", 0, None, str(error))


def _node(fields: Fields) -> NodeRecord:
    given_empty = tuple(
        name
        for name, key in (("meta", "Meta"), ("tagged_addresses", "TaggedAddresses"))
        if fields.has_empty_object(key)
    )
    record = NodeRecord(
        name=fields.string("Node"),
        address=fields.string("Address"),
        # Always ours; said with every record that a client has read before.
        datacenter=fields.string("Datacenter"),
        tagged_addresses=fields.strings_map("TaggedAddresses"),
        meta=fields.strings_map("Meta"),
        id=parse_node_id(fields.string("ID")),
        given_empty=given_empty,
    )
    fields.skip("CreateIndex", "ModifyIndex")
    fields.finish()
    return record
