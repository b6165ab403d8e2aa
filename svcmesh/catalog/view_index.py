"""Indexes over the rows that are shown, their stamps, and who waits for which of them. No I/O.

Which rows are shown is `CatalogView`'s decision. Here each show, hide or change raises `index` once
for the whole change, stamps what it touches with it, and wakes the watches at the end.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from svcmesh.catalog.records import CheckRecord, HealthStatus, NodeRecord, ServiceRecord
from svcmesh.catalog.topics import (
    CHECKS,
    COORDINATES,
    NODES,
    QUERIES,
    SERVICES,
    Part,
    Topic,
    Watch,
    Watches,
)
from svcmesh.catalog.view_rows import (
    AddressIndex,
    CheckRow,
    NodeRow,
    ServiceGroup,
    ServiceRow,
)

RowsListener = Callable[[Iterable[ServiceRow], Iterable[str]], None]
"""Is told of a change: the instances that came, went, changed or have other checks, and the names
in lower case of the nodes that did."""


class ShownRows:
    """The shown rows of all nodes. Writes come between `begin` and `commit`."""

    def __init__(self, index_start: int) -> None:
        self.index = max(index_start, 1)
        """Rises by one with every change of what is shown."""
        self._nodes: dict[str, NodeRow] = {}
        self._nodes_by_address: AddressIndex[NodeRow] = AddressIndex()
        self._groups: dict[str, ServiceGroup] = {}
        self._services_by_address: AddressIndex[ServiceRow] = AddressIndex()
        self._not_passing: dict[str, dict[CheckRow, None]] = {}
        self._sorted: tuple[NodeRow, ...] | None = None
        self._nodes_index = self._services_index = self._checks_index = self.index
        self._coordinates_index = self._queries_index = self.index
        self._nodes_gone_index = self._services_gone_index = self.index
        """When the last node or service name went: the index of those that are not there."""
        self._watches = Watches()
        self._listeners: list[RowsListener] = []
        self._touched_rows: dict[ServiceRow, None] = {}
        self._touched_nodes: dict[str, None] = {}
        self._touched: dict[Topic, None] = {}
        self._is_changed = False

    def begin(self) -> None:
        """Start a change: what it touches is stamped with the next index."""
        self._is_changed = False
        self.index += 1

    def commit(self) -> None:
        """End a change and wake who waits for it; the index stays when nothing shown changed."""
        if not self._is_changed:
            self.index -= 1
            return
        if self._touched_rows or self._touched_nodes:
            rows, self._touched_rows = self._touched_rows, {}
            nodes, self._touched_nodes = self._touched_nodes, {}
            for listener in self._listeners:
                listener(rows, nodes)
        if self._touched:
            touched, self._touched = self._touched, {}
            self._watches.fire(touched)

    # -- lookups ----------------------------------------------------------------------------

    def nodes(self) -> tuple[NodeRow, ...]:
        """All nodes, by name."""
        if self._sorted is None:
            self._sorted = tuple(node for _, node in sorted(self._nodes.items()))
        return self._sorted

    def node(self, name: str) -> NodeRow | None:
        """The node of this name, in any letter case."""
        return self._nodes.get(name.lower())

    def nodes_by_address(self, address: str) -> tuple[NodeRow, ...]:
        """The nodes with this address."""
        return self._nodes_by_address.get(address)

    def service(self, name: str) -> tuple[ServiceRow, ...]:
        """The instances of a service, in any letter case, by node name and service id."""
        group = self._groups.get(name.lower())
        return () if group is None else group.sorted()

    def service_rows(self, name: str) -> Collection[ServiceRow]:
        """The same in no order, at no cost."""
        group = self._groups.get(name.lower())
        return () if group is None else group.rows

    def service_has_tag(self, name: str, tag: str) -> bool:
        """Whether any instance of a service has this tag, which is in lower case."""
        group = self._groups.get(name.lower())
        return group is not None and group.has_tag(tag)

    def services_by_address(self, address: str) -> tuple[ServiceRow, ...]:
        """The instances whose own address this is."""
        return self._services_by_address.get(address)

    def service_tags(self) -> dict[str, tuple[str, ...]]:
        """Every service name with the tags that any of its instances has, both sorted."""
        tags: dict[str, tuple[str, ...]] = {}
        for key in sorted(self._groups):
            tags.update(self._groups[key].tags_by_name())
        return tags

    def checks_in_state(self, state: str) -> Iterator[CheckRow]:
        """All checks with this status, `any` for all of them, by node name and check id."""
        if state not in ("any", HealthStatus.PASSING):
            held = self._not_passing.get(state, {})
            yield from sorted(held, key=lambda row: (row.node.key, row.record.id))
            return
        for node in self.nodes():
            for row in node.all_checks():
                if state in ("any", row.record.status):
                    yield row

    # -- blocking queries -------------------------------------------------------------------

    def topic_index(self, topics: Iterable[Topic]) -> int:
        """The index of the last change of any of `topics`."""
        return max(map(self._topic_index, topics))

    def _topic_index(self, topic: Topic) -> int:
        match topic.part:
            case Part.NODES:
                return self._nodes_index
            case Part.SERVICES:
                return self._services_index
            case Part.CHECKS:
                return self._checks_index
            case Part.COORDINATES:
                return self._coordinates_index
            case Part.QUERIES:
                return self._queries_index
            case Part.NODE | Part.NODE_CHECKS:
                node = self._nodes.get(topic.key)
                if node is None:
                    return self._nodes_gone_index
                return node.rows_index if topic.part is Part.NODE else node.checks_index
            case Part.SERVICE | Part.SERVICE_CHECKS:
                group = self._groups.get(topic.key)
                if group is None:
                    return self._services_gone_index
                return group.rows_index if topic.part is Part.SERVICE else group.checks_index
            case _:
                assert_never(topic.part)

    def watch(self, topics: Iterable[Topic], on_change: Callable[[], None]) -> Watch:
        """Call `on_change` once, after the next change of any of `topics`."""
        return self._watches.add(topics, on_change)

    @property
    def watch_count(self) -> int:
        """How many watches wait."""
        return len(self._watches)

    def cancel_watch(self, watch: Watch) -> None:
        """Forget a watch; one that has fired already is fine."""
        self._watches.cancel(watch)

    def listen(self, listener: RowsListener) -> None:
        """Call `listener` after every change from now on."""
        self._listeners.append(listener)

    # -- showing and hiding -----------------------------------------------------------------

    def show_node(self, node: NodeRow) -> None:
        """Show a node with its services and checks."""
        record = node.body
        node.is_shown = True
        node.create_index = node.checks_index = self.index
        self._nodes[node.key] = node
        self._sorted = None
        self._nodes_by_address.add(record.address, node)
        self._touch_node(node)
        self.touch_coordinates()
        self._touch(Topic(Part.NODE_CHECKS, node.key))
        for service in node.services.values():
            self.show_service(service)
        for check in node.all_checks():
            self.show_check(check)

    def hide_node(self, node: NodeRow) -> None:
        """Hide a node with its services and checks."""
        self._touch_node(node)
        self.touch_coordinates()
        self._touch(Topic(Part.NODE_CHECKS, node.key))
        for check in node.all_checks():
            self.hide_check(check)
        for service in node.services.values():
            self.hide_service(service)
        node.is_shown = False
        del self._nodes[node.key]
        self._sorted = None
        self._nodes_by_address.discard(node.body.address, node)
        self._nodes_gone_index = self.index

    def show_service(self, row: ServiceRow) -> None:
        """Show an instance; its checks are shown after it."""
        self._index_service(row)
        row.create_index = row.modify_index = self.index
        self._touch_services()
        self._touch_service(row)
        if row.node.node_checks:
            self._touch_service_checks(row)

    def hide_service(self, row: ServiceRow) -> None:
        """Hide an instance; its checks are hidden before it."""
        self._touch_services()
        self._touch_service(row)
        if row.node.node_checks:
            self._touch_service_checks(row)
        self._unindex_service(row)

    def _index_service(self, row: ServiceRow) -> None:
        key = row.record.name.lower()
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = ServiceGroup()
            group.checks_index = self.index
        group.rows[row] = None
        group.invalidate()
        self._services_by_address.add(row.record.address, row)

    def _unindex_service(self, row: ServiceRow) -> None:
        key = row.record.name.lower()
        group = self._groups[key]
        del group.rows[row]
        group.invalidate()
        if not group.rows:
            del self._groups[key]
            self._services_gone_index = self.index
        self._services_by_address.discard(row.record.address, row)

    def show_check(self, row: CheckRow) -> None:
        """Show a check of a shown node or instance."""
        row.create_index = self.index
        if row.record.status != HealthStatus.PASSING:
            self._not_passing.setdefault(row.record.status, {})[row] = None
        self._touch_check(row)

    def hide_check(self, row: CheckRow) -> None:
        """Hide a check of a shown node or instance."""
        self._touch_check(row)
        if row.record.status == HealthStatus.PASSING:
            return
        held = self._not_passing[row.record.status]
        del held[row]
        if not held:
            del self._not_passing[row.record.status]

    def replace_record(self, node: NodeRow, record: NodeRecord) -> None:
        """Give a shown node another record; its name stays."""
        old, node.record = node.body, record
        if record.coordinate != old.coordinate:
            self.touch_coordinates()
            if replace(record, coordinate=old.coordinate) == old:
                # Measured every few seconds: no news for who reads nodes and services.
                return
        if record.address != old.address:
            self._nodes_by_address.discard(old.address, node)
            self._nodes_by_address.add(record.address, node)
        self._touch_node(node)
        for service in node.services.values():
            self._touch_service(service)

    def replace_service(self, row: ServiceRow, record: ServiceRecord) -> None:
        """Give a shown instance another record of the same service name, but for letter case."""
        old, row.record = row.record, record
        if record.address != old.address:
            self._services_by_address.discard(old.address, row)
            self._services_by_address.add(record.address, row)
        self._groups[record.name.lower()].invalidate_tags()
        row.modify_index = self.index
        self._touch_service(row)
        if (record.name, record.tags) != (old.name, old.tags):
            self._touch_services()

    def replace_check(self, row: CheckRow, record: CheckRecord) -> None:
        """Give a shown check another result."""
        created_index = row.create_index
        self.hide_check(row)
        row.record = record
        self.show_check(row)
        row.create_index = created_index

    # -- stamping ---------------------------------------------------------------------------

    def _touch(self, topic: Topic) -> None:
        self._is_changed = True
        if self._watches:
            self._touched[topic] = None

    def touch_coordinates(self) -> None:
        """Some node is elsewhere."""
        self._coordinates_index = self._queries_index = self.index
        self._touch(COORDINATES)

    def touch_queries(self) -> None:
        """Some prepared query is another one."""
        self._queries_index = self.index
        self._touch(QUERIES)

    def _touch_node(self, node: NodeRow) -> None:
        node.modify_index = node.rows_index = self._nodes_index = self.index
        self._touch(NODES)
        self._touch(Topic(Part.NODE, node.key))
        if self._listeners:
            self._touched_nodes[node.key] = None

    def _touch_services(self) -> None:
        self._services_index = self.index
        self._touch(SERVICES)

    def _touch_service(self, row: ServiceRow) -> None:
        key = row.record.name.lower()
        row.node.rows_index = self._groups[key].rows_index = self.index
        self._touch(Topic(Part.SERVICE, key))
        if self._listeners:
            self._touched_rows[row] = None
        self._touch(Topic(Part.NODE, row.node.key))

    def _touch_check(self, row: CheckRow) -> None:
        node = row.node
        row.modify_index = node.checks_index = self._checks_index = self.index
        self._touch(CHECKS)
        self._touch(Topic(Part.NODE_CHECKS, node.key))
        service_id = row.record.service_id
        for service in [node.services[service_id]] if service_id else node.services.values():
            self._touch_service_checks(service)

    def _touch_service_checks(self, row: ServiceRow) -> None:
        key = row.record.name.lower()
        self._groups[key].checks_index = self.index
        self._touch(Topic(Part.SERVICE_CHECKS, key))
        if self._listeners:
            self._touched_rows[row] = None
