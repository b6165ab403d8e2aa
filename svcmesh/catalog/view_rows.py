"""Rows of the catalog view: a record, the node it is on, and the indexes of its last changes.

Rows are owned and changed by `CatalogView` alone; readers take them as they are and keep none
beyond one answer. They are small, because a catalog holds very many of them.
"""

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Final, Generic, TypeVar

from svcmesh.catalog.records import CheckRecord, HealthStatus, NodeId, NodeRecord, ServiceRecord

SERF_CHECK_ID: Final = "serfHealth"

SERF_PASSING: Final = CheckRecord(
    id=SERF_CHECK_ID,
    name="Serf Health Status",
    status=HealthStatus.PASSING,
    output="Agent alive and reachable",
)

SERF_CRITICAL: Final = CheckRecord(
    id=SERF_CHECK_ID,
    name="Serf Health Status",
    status=HealthStatus.CRITICAL,
    output="Agent not live or unreachable",
)


class NodeRow:
    """A node with its services and checks, shown or not.

    Invariant: it is shown only while it has a record and, when it is an agent's, a bound name.
    """

    __slots__ = (
        "checks",
        "checks_by_service",
        "checks_index",
        "create_index",
        "is_shown",
        "key",
        "modify_index",
        "name",
        "node_id",
        "record",
        "rows_index",
        "services",
    )

    def __init__(self, node_id: NodeId | None, key: str) -> None:
        self.node_id = node_id
        """The agent's id; None: an external node."""
        self.key = key
        """The name in lower case; empty while an agent's node is not bound."""
        self.name = ""
        self.record: NodeRecord | None = None
        self.services: dict[str, ServiceRow] = {}
        self.checks: dict[str, CheckRow] = {}
        self.checks_by_service: dict[str, tuple[CheckRow, ...]] = {}
        """By service id; under the empty one are the checks of the node."""
        self.is_shown = False
        self.create_index = self.modify_index = 0
        self.rows_index = self.checks_index = 0
        """Last change of what `node_topic` and `node_checks_topic` stand for."""

    @property
    def body(self) -> NodeRecord:
        """The record of a node that is shown."""
        assert self.record is not None
        return self.record

    @property
    def id(self) -> str:
        """The id as the API shows it: an external node may have none."""
        return self.node_id or self.body.id

    @property
    def is_own(self) -> bool:
        """Whether an agent runs there, as opposed to an external node."""
        return self.node_id is not None

    @property
    def node_checks(self) -> tuple["CheckRow", ...]:
        """Checks of the node itself, serfHealth among them."""
        return self.checks_by_service.get("", ())

    def all_checks(self) -> Iterator["CheckRow"]:
        """Checks of the node, then those of its services; not of services that are missing."""
        for service_id, rows in self.checks_by_service.items():
            if not service_id or service_id in self.services:
                yield from rows


class ServiceRow:
    """One service instance."""

    __slots__ = ("create_index", "modify_index", "node", "record")

    def __init__(self, node: NodeRow, record: ServiceRecord) -> None:
        self.node, self.record = node, record
        self.create_index = self.modify_index = 0

    @property
    def checks(self) -> tuple["CheckRow", ...]:
        """The checks of this instance, without those of its node."""
        return self.node.checks_by_service.get(self.record.id, ())


class CheckRow:
    """One health check of a node or of a service instance."""

    __slots__ = ("create_index", "modify_index", "node", "record")

    def __init__(self, node: NodeRow, record: CheckRecord) -> None:
        self.node, self.record = node, record
        self.create_index = self.modify_index = 0

    @property
    def is_attached(self) -> bool:
        """Whether what it checks exists: the node, or its service."""
        service_id = self.record.service_id
        return not service_id or service_id in self.node.services


class ServiceGroup:
    """All instances of one service name, whatever its letter case."""

    __slots__ = ("_folded_tags", "_sorted", "_tags_by_name", "checks_index", "rows", "rows_index")

    def __init__(self) -> None:
        self.rows: dict[ServiceRow, None] = {}
        self.rows_index = self.checks_index = 0
        """Last change of what `service_topic` and `service_checks_topic` stand for."""
        self._sorted: tuple[ServiceRow, ...] | None = None
        self._tags_by_name: dict[str, tuple[str, ...]] | None = None
        self._folded_tags: frozenset[str] | None = None

    def invalidate(self) -> None:
        """Forget what was derived from the rows: there are more or fewer."""
        self._sorted = None
        self.invalidate_tags()

    def invalidate_tags(self) -> None:
        """Forget what was derived from the rows' records: one has another."""
        self._tags_by_name = self._folded_tags = None

    def has_tag(self, tag: str) -> bool:
        """Whether any instance has this tag, which is in lower case."""
        if self._folded_tags is None:
            self._folded_tags = frozenset(
                tag.lower() for row in self.rows for tag in row.record.tags
            )
        return tag in self._folded_tags

    def sorted(self) -> tuple[ServiceRow, ...]:
        """The rows by node name, then by service id."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self.rows, key=lambda row: (row.node.key, row.record.id)))
            # Nearly in order the next time: ten thousand rows then take a third as long.
            self.rows = dict.fromkeys(self._sorted)
        return self._sorted

    def tags_by_name(self) -> dict[str, tuple[str, ...]]:
        """For each spelling of the name, the tags that any instance has."""
        if self._tags_by_name is None:
            self._tags_by_name = merge_tags(self.rows)
        return self._tags_by_name


def merge_tags(rows: "dict[ServiceRow, None] | list[ServiceRow]") -> dict[str, tuple[str, ...]]:
    """The tags of `rows` by service name, each tag once, sorted."""
    tags: dict[str, set[str]] = {}
    for row in rows:
        tags.setdefault(row.record.name, set()).update(row.record.tags)
    return {name: tuple(sorted(tags[name])) for name in sorted(tags)}


Row = TypeVar("Row", NodeRow, ServiceRow)


class AddressIndex(Generic[Row]):
    """Rows by address. Most addresses have one row, which is then kept without a container."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[str, Row | dict[Row, None]] = {}

    def add(self, address: str, row: Row) -> None:
        """Index `row`; a row without an address is left out."""
        key = canonical_address(address)
        if not key:
            return
        held = self._rows.get(key)
        if held is None:
            self._rows[key] = row
        elif isinstance(held, dict):
            held[row] = None
        else:
            self._rows[key] = {held: None, row: None}

    def discard(self, address: str, row: Row) -> None:
        """Take `row` out again."""
        key = canonical_address(address)
        held = self._rows.get(key)
        if isinstance(held, dict):
            held.pop(row, None)
            if not held:
                del self._rows[key]
        elif held is row:
            del self._rows[key]

    def get(self, address: str) -> tuple[Row, ...]:
        """The rows with this address, in the order in which they came."""
        held = self._rows.get(canonical_address(address))
        if held is None:
            return ()
        return tuple(held) if isinstance(held, dict) else (held,)


def canonical_address(address: str) -> str:
    """One spelling for each address: IPv6 has many, host names differ in letter case.

    An IPv4-mapped IPv6 address is IPv4, as in DNS.
    """
    if ":" not in address:
        return address.lower()
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address.lower()
    return str(parsed.ipv4_mapped or parsed)
