"""The catalog as DNS and HTTP ask for it: typed indexes over the replicated records. No I/O.

`Replica` says what has changed; the view shows the rows of nodes that are bound to a name and have
a node record, and of external nodes that no agent's node shadows. A lookup costs what it returns.

A node's rows, by what is known of it:

| bound (or external) | node record | name is free | shown |
| --- | --- | --- | --- |
| no | any | any | no |
| yes | no | any | no |
| yes | yes | no | no, until the holder goes; an agent's node pushes an external one aside |
| yes | yes | yes | yes |

Every change of what is shown raises `index` by one and stamps the rows and topics it touches.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, assert_never

from svcmesh.catalog.changes import (
    ExternalNode,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    Owner,
    OwnNode,
    RecordChanged,
    ViewChange,
)
from svcmesh.catalog.queries import QueryTable
from svcmesh.catalog.records import (
    CheckRecord,
    Kind,
    NodeId,
    NodeRecord,
    QueryRecord,
    ServiceRecord,
)
from svcmesh.catalog.topics import Topic, Watch
from svcmesh.catalog.view_index import RowsListener, ShownRows
from svcmesh.catalog.view_rows import (
    SERF_CHECK_ID,
    SERF_CRITICAL,
    SERF_PASSING,
    CheckRow,
    NodeRow,
    ServiceRow,
    merge_tags,
)

NOBODY: Final = ExternalNode("")
"""Whom the records belong to that belong to no node."""


class CatalogView:
    """What is known of every node, and which of it is shown.

    `index_start` is below every index given out here; the agent keeps it above those of its
    earlier runs. Rows that a lookup returns change with the next `apply`.
    """

    def __init__(self, *, local_node_id: NodeId, datacenter: str, index_start: int) -> None:
        self.local_node_id, self.datacenter = local_node_id, datacenter
        self._own: dict[NodeId, NodeRow] = {}
        self._external: dict[str, NodeRow] = {}
        self._waiting: dict[str, list[NodeRow]] = {}
        """Nodes that would be shown under a name that another one has."""
        self._rows = ShownRows(index_start)
        self.queries = QueryTable()
        """The prepared queries; their topic is `QUERIES`."""

    # -- lookups ----------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """Rises by one with every visible change; never falls."""
        return self._rows.index

    def nodes(self) -> tuple[NodeRow, ...]:
        """All nodes, by name."""
        return self._rows.nodes()

    def node(self, name: str) -> NodeRow | None:
        """The node of this name, in any letter case."""
        return self._rows.node(name)

    def nodes_by_address(self, address: str) -> tuple[NodeRow, ...]:
        """The nodes with this address."""
        return self._rows.nodes_by_address(address)

    def external_node(self, name: str) -> NodeRow | None:
        """What is registered of a node without an agent, shown or not."""
        return self._external.get(name.lower())

    def external_nodes_with(self, node_id: str) -> list[str]:
        """The names in lower case of external nodes with this id, shown or not."""
        return [
            name
            for name, node in self._external.items()
            if node.record is not None and node.record.id == node_id
        ]

    def has_agent(self, node_id: str) -> bool:
        """Whether this is the id of an agent's node, shown or not."""
        return node_id in self._own

    def service_rows(self, name: str) -> Collection[ServiceRow]:
        """The same as `service` in no order, at no cost; it changes with the next `apply`."""
        return self._rows.service_rows(name)

    def node_name(self, node_id: NodeId) -> str:
        """The name that an agent's node is bound to; empty when it is to none."""
        row = self._own.get(node_id)
        return "" if row is None else row.name

    def service(self, name: str) -> tuple[ServiceRow, ...]:
        """The instances of a service, in any letter case, by node name and service id."""
        return self._rows.service(name)

    def service_has_tag(self, name: str, tag: str) -> bool:
        """Whether any instance of a service has this tag, which is in lower case."""
        return self._rows.service_has_tag(name, tag)

    def services_by_address(self, address: str) -> tuple[ServiceRow, ...]:
        """The instances whose own address this is."""
        return self._rows.services_by_address(address)

    def service_tags(self) -> dict[str, tuple[str, ...]]:
        """Every service name with the tags that any of its instances has, both sorted."""
        return self._rows.service_tags()

    def service_tags_on(self, nodes: Iterable[NodeRow]) -> dict[str, tuple[str, ...]]:
        """The same of the services on `nodes` only."""
        return merge_tags([row for node in nodes for row in node.services.values()])

    def service_checks(self, name: str) -> list[CheckRow]:
        """The checks of a service's instances, without those of their nodes."""
        return [check for row in self.service(name) for check in row.checks]

    def checks_in_state(self, state: str) -> Iterator[CheckRow]:
        """All checks with this status, `any` for all of them, by node name and check id."""
        return self._rows.checks_in_state(state)

    # -- blocking queries -------------------------------------------------------------------

    def topic_index(self, topics: Iterable[Topic]) -> int:
        """The index of the last change of any of `topics`."""
        return self._rows.topic_index(topics)

    def watch(self, topics: Iterable[Topic], on_change: Callable[[], None]) -> Watch:
        """Call `on_change` once, after the next change of any of `topics`."""
        return self._rows.watch(topics, on_change)

    @property
    def watch_count(self) -> int:
        """How many watches wait."""
        return self._rows.watch_count

    def cancel_watch(self, watch: Watch) -> None:
        """Forget a watch; one that has fired already is fine."""
        self._rows.cancel_watch(watch)

    def listen(self, listener: RowsListener) -> None:
        """Call `listener` with the rows that each change touches, from now on."""
        self._rows.listen(listener)

    # -- changes ----------------------------------------------------------------------------

    def apply(self, change: ViewChange) -> None:
        """Take in one change and wake who waits for what it touches.

        A change of what is not shown, or one that changes nothing, leaves `index` as it is.
        """
        self._rows.begin()
        match change:
            case RecordChanged():
                self._apply_record(change)
            case NodeBound():
                self._bind(change)
            case NodeHealthChanged():
                node = self._own.get(change.node_id)
                if node is not None and node.key:
                    self._set_check(node, _serf_check(change.is_alive))
            case NodeUnbound():
                self._unbind(change.node_id)
            case _:
                assert_never(change)
        self._rows.commit()

    def touch_coordinates(self) -> None:
        """The agents' coordinates, which are not records, have changed."""
        self._rows.begin()
        self._rows.touch_coordinates()
        self._rows.commit()

    def _apply_query(self, query_id: str, new: QueryRecord | None) -> None:
        if new is None:
            self.queries.remove(query_id)
        else:
            self.queries.put(new, index=self._rows.index)
        self._rows.touch_queries()

    def _apply_record(self, change: RecordChanged) -> None:
        if change.kind is Kind.QUERY:
            # Of an agent's node, or of a named one, it is nothing that anybody would write.
            if change.owner == NOBODY:
                assert change.new is None or isinstance(change.new, QueryRecord)
                self._apply_query(change.id, change.new)
            return
        node = self._node_of(change.owner)
        new = change.new
        match new:
            case NodeRecord():
                self._set_record(node, new)
            case ServiceRecord():
                self._set_service(node, new)
            case CheckRecord():
                if not (node.is_own and new.id == SERF_CHECK_ID):
                    self._set_check(node, new)
            case QueryRecord():
                raise AssertionError("a query belongs to no node")
            case None:
                self._remove(node, change.kind, change.id)
                self._forget_if_empty(change.owner, node)
            case _:
                assert_never(new)

    def _remove(self, node: NodeRow, kind: Kind, record_id: str) -> None:
        match kind:
            case Kind.NODE:
                self._withdraw(node)
                node.record = None
            case Kind.SERVICE:
                self._remove_service(node, record_id)
            case Kind.CHECK:
                if not (node.is_own and record_id == SERF_CHECK_ID):
                    self._remove_check(node, record_id)
            case Kind.QUERY:
                raise AssertionError("a query belongs to no node")
            case _:
                assert_never(kind)

    def _bind(self, change: NodeBound) -> None:
        node = self._node_of(OwnNode(change.node_id))
        serf_check = _serf_check(change.is_alive)
        if node.name == change.name:
            self._set_check(node, serf_check)
            return
        if node.is_shown and node.key == change.name.lower():
            # Another spelling: nobody else gets the name in between.
            self._rows.hide_node(node)
            node.name = change.name
            self._set_check(node, serf_check)
            self._rows.show_node(node)
            return
        self._withdraw(node)
        node.name, node.key = change.name, change.name.lower()
        self._set_check(node, serf_check)
        self._offer(node)

    def _unbind(self, node_id: NodeId) -> None:
        node = self._own.get(node_id)
        if node is None:
            return
        self._withdraw(node)
        self._remove_check(node, SERF_CHECK_ID)
        node.name = node.key = ""
        self._forget_if_empty(OwnNode(node_id), node)

    def _node_of(self, owner: Owner) -> NodeRow:
        match owner:
            case OwnNode():
                own = self._own.get(owner.node_id)
                if own is None:
                    own = self._own[owner.node_id] = NodeRow(owner.node_id, "")
                return own
            case ExternalNode():
                external = self._external.get(owner.name)
                if external is None:
                    external = self._external[owner.name] = NodeRow(None, owner.name)
                return external
            case _:
                assert_never(owner)

    def _forget_if_empty(self, owner: Owner, node: NodeRow) -> None:
        if node.record is not None or node.services or node.checks:
            return
        match owner:
            case OwnNode():
                if not node.key:
                    del self._own[owner.node_id]
            case ExternalNode():
                del self._external[owner.name]
            case _:
                assert_never(owner)

    # -- which nodes are shown --------------------------------------------------------------

    def _offer(self, node: NodeRow) -> None:
        """Show a node, if it can be and nobody has its name already."""
        if node.record is None or not node.key:
            return
        holder = self._rows.node(node.key)
        if holder is None:
            self._rows.show_node(node)
        elif node.is_own and not holder.is_own:
            self._rows.hide_node(holder)
            self._waiting.setdefault(node.key, []).append(holder)
            self._rows.show_node(node)
        else:
            self._waiting.setdefault(node.key, []).append(node)

    def _withdraw(self, node: NodeRow) -> None:
        """Undo `_offer`; the next node that waits for the name is shown instead."""
        waiting = self._waiting.get(node.key, [])
        if node.is_shown:
            self._rows.hide_node(node)
            if waiting:
                heir = next((other for other in waiting if other.is_own), waiting[0])
                waiting.remove(heir)
                self._rows.show_node(heir)
        elif node in waiting:
            waiting.remove(node)
        if not waiting:
            self._waiting.pop(node.key, None)

    # -- records ----------------------------------------------------------------------------

    def _set_record(self, node: NodeRow, record: NodeRecord) -> None:
        if record == node.record:
            return
        if node.is_shown and (node.is_own or _spelling(node, record) == node.name):
            self._rows.replace_record(node, record)
            return
        # Another spelling of an external node's name is in all its rows.
        self._withdraw(node)
        node.record = record
        if not node.is_own:
            node.name = _spelling(node, record)
        self._offer(node)

    def _set_service(self, node: NodeRow, record: ServiceRecord) -> None:
        row = node.services.get(record.id)
        if row is None:
            row = node.services[record.id] = ServiceRow(node, record)
            if node.is_shown:
                self._rows.show_service(row)
                for check in row.checks:
                    self._rows.show_check(check)
            return
        old = row.record
        if record == old:
            return
        if not node.is_shown:
            row.record = record
        elif record.name.lower() != old.name.lower():
            created_index = row.create_index
            self._remove_service(node, record.id)
            self._set_service(node, record)
            node.services[record.id].create_index = created_index
        else:
            self._rows.replace_service(row, record)

    def _remove_service(self, node: NodeRow, service_id: str) -> None:
        row = node.services.get(service_id)
        if row is None:
            return
        if node.is_shown:
            for check in row.checks:
                self._rows.hide_check(check)
            self._rows.hide_service(row)
        del node.services[service_id]

    def _set_check(self, node: NodeRow, record: CheckRecord) -> None:
        row = node.checks.get(record.id)
        if row is not None and row.record == record:
            return
        if row is not None and row.record.service_id != record.service_id:
            self._remove_check(node, record.id)
            row = None
        if row is None:
            row = node.checks[record.id] = CheckRow(node, record)
            held = node.checks_by_service
            others = held.get(record.service_id, ())
            at = bisect_right(others, _order(row), key=_order)
            held[record.service_id] = (*others[:at], row, *others[at:])
            if node.is_shown and row.is_attached:
                self._rows.show_check(row)
        elif node.is_shown and row.is_attached:
            self._rows.replace_check(row, record)
        else:
            row.record = record

    def _remove_check(self, node: NodeRow, check_id: str) -> None:
        row = node.checks.pop(check_id, None)
        if row is None:
            return
        if node.is_shown and row.is_attached:
            self._rows.hide_check(row)
        service_id = row.record.service_id
        left = tuple(other for other in node.checks_by_service[service_id] if other is not row)
        if left:
            node.checks_by_service[service_id] = left
        else:
            del node.checks_by_service[service_id]


def _serf_check(is_alive: bool) -> CheckRecord:
    return SERF_PASSING if is_alive else SERF_CRITICAL


def _spelling(node: NodeRow, record: NodeRecord) -> str:
    """An external node's name as it was written."""
    return record.name if record.name.lower() == node.key else node.key


def _order(row: CheckRow) -> str:
    """In which order the checks of one instance or node are listed: Consul's."""
    return row.record.id.lower()
