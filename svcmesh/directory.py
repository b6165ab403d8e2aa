"""The catalog view as the DNS front asks for it (`dnsserver.directory.Directory`).

Services that were asked for are kept as pools that follow the catalog instance by instance, so an
answer costs what is in it, and a change drops the answers about that service only. A large service
is taken up in slices, by the queries for it: no query waits for ten thousand instances.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from dnsserver.directory import (
    AskOthers,
    NodeAnswer,
    NoOthers,
    QueryAnswer,
    RemoteDirectory,
    ServerAnswer,
    ServiceAnswer,
    Stamp,
    Unanswerable,
)
from dnsserver.pool import ServicePool
from svcmesh.catalog.health import has_tags, instance_status, is_passing
from svcmesh.catalog.records import HealthStatus, ServiceRecord
from svcmesh.catalog.topics import QUERIES
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import NodeRow, ServiceRow
from svcmesh.queries.dns import QueryNames
from svcmesh.queries.execution import QueryEngine
from svcmesh.queries.failover import Elsewhere
from svcmesh.queries.selection import Selection

SERVER_SERVICE: Final = "consul"
"""The service that every server agent publishes of itself."""

UNKNOWN_STATUS_WEIGHT: Final = 1
"""What an instance weighs of which a check says neither passing nor warning (as in Consul)."""

LAN_IPV4: Final = "lan_ipv4"
LAN_IPV6: Final = "lan_ipv6"
"""Tagged addresses that answers for their family prefer to the plain address."""


SLICE_ROWS: Final = 64
"""Instances that one query takes up at most, unless none of them can be answered."""

UNKNOWN_NAMES_MAX: Final = 4096
"""Names without instances, and nodes, of which it is remembered that they were asked for."""

UNKNOWN_TAGS_MAX: Final = 64
"""Tags without instances, of one service, of which the same is remembered."""

SELECTIONS_MAX: Final = 1024
"""What prepared queries select, of all services, that is followed or known to be nobody."""

_Chosen = str | Selection | None
"""Which instances of a service: those with a tag, what a prepared query selects, or all of them."""

_Answers = Callable[[ServiceRow], ServiceAnswer | None]
"""What is answered for an instance; None: it is not one of them."""


class _FollowedPool:
    """A pool that is kept like the catalog, and what of the service is not yet in it."""

    def __init__(self, rows: Iterable[ServiceRow], answer: _Answers, rng: Random) -> None:
        self.pool = ServicePool(rng)
        self._answer = answer
        self._pending = dict.fromkeys(rows)
        self.pool.is_complete = not self._pending

    def take_slice(self) -> None:
        """Take up some more of the instances; all of them while none can be answered."""
        pending = self._pending
        taken = 0
        while pending and (taken < SLICE_ROWS or not len(self.pool)):
            row, _ = pending.popitem()
            self._take(row)
            taken += 1
        self.pool.is_complete = not pending

    def update(self, row: ServiceRow) -> None:
        """Take in what has become of an instance."""
        if not _is_shown(row):
            self._pending.pop(row, None)
            self.pool.discard(row)
        elif row not in self._pending:
            self._take(row)

    def _take(self, row: ServiceRow) -> None:
        found = self._answer(row)
        if found is None:
            self.pool.discard(row)
        else:
            self.pool.put(row, found)


class CatalogDirectory:
    """Answers from a `CatalogView`, at a cost that depends on the answer only."""

    def __init__(
        self,
        view: CatalogView,
        *,
        is_ready: Callable[[], bool],
        rng: Random,
        only_passing: bool = False,
        queries: QueryEngine | None = None,
        elsewhere: Elsewhere | None = None,
        others: RemoteDirectory | None = None,
    ) -> None:
        """`only_passing` leaves out instances with a warning too, not only critical ones.

        It is the view's listener from now on. `rng` decides the order of instances; `queries`
        executes prepared queries, of which there are none without it, and `elsewhere` asks other
        data centers for theirs; `others` knows their names.
        """
        self.others = others or NoOthers()
        self._view, self._is_ready, self._rng = view, is_ready, rng
        self._only_passing = only_passing
        self.datacenter = view.datacenter.lower()
        self._pools: dict[str, dict[_Chosen, _FollowedPool]] = {}
        """By name and choice; of services that have instances."""
        self._unknown: dict[str, dict[_Chosen, ServicePool]] = {}
        """Empty pools, by name and choice, of what was asked for in vain; the oldest first."""
        self._selected: dict[Selection, ServicePool] = {}
        """Those among all pools that are of prepared queries, the oldest first."""
        self._node_stamps: dict[str, Stamp] = {}
        self._node_answers: dict[NodeRow, NodeAnswer] = {}
        """Of the nodes with instances in the pools, which share them."""
        self._queries: QueryNames | None = None
        if queries is not None:
            self._queries = QueryNames(queries, self.selected, instance_answer, rng, elsewhere)
        view.listen(self._on_change)
        self._watch_queries()

    def reconfigure(self, *, only_passing: bool) -> None:
        """Choose anew what is left out. Answers made before must not be used any more."""
        self._only_passing = only_passing
        self._pools.clear()
        self._unknown.clear()
        self._selected.clear()

    @property
    def is_ready(self) -> bool:
        """False until the first synchronisation."""
        return self._is_ready()

    def node(self, name: str) -> NodeAnswer | None:
        """The node of this name, whatever its health."""
        node = self._view.node(name)
        return None if node is None else _node_answer(node)

    def node_stamp(self, name: str) -> Stamp:
        """Current until this node comes, goes or changes."""
        key = name.lower()
        stamp = self._node_stamps.get(key)
        if stamp is None:
            if len(self._node_stamps) >= UNKNOWN_NAMES_MAX:
                oldest = next(iter(self._node_stamps))
                self._node_stamps.pop(oldest).is_current = False
            stamp = self._node_stamps[key] = Stamp()
        return stamp

    def node_by_address(self, address: str) -> NodeAnswer | None:
        """The node with this IP; the one that was there first when there are several."""
        nodes = self._view.nodes_by_address(address)
        return _node_answer(nodes[0]) if nodes else None

    def service(self, name: str, tag: str | None) -> ServicePool:
        """Instances that no critical check excludes."""
        key, tag = name.lower(), None if tag is None else tag.lower()
        followed = self._pools.get(key, {}).get(tag)
        if followed is None:
            rows = self._view.service_rows(key)
            if not rows or (tag is not None and not self._view.service_has_tag(key, tag)):
                return self._unknown_pool(key, tag)
            followed = self._follow(key, tag, rows, self._answer_with(tag))
        return _more_of(followed)

    def selected(self, selection: Selection) -> ServicePool:
        """Instances that a prepared query selects."""
        key = selection.service
        followed = self._pools.get(key, {}).get(selection)
        if followed is not None:
            return _more_of(followed)
        rows = self._view.service_rows(key)
        if not rows:
            pool = self._unknown_pool(key, selection)
        else:
            followed = self._follow(
                key,
                selection,
                rows,
                self._answer_selected(selection),
            )
            pool = _more_of(followed)
        if self._selected.get(selection) is not pool:
            self._selected.pop(selection, None)
            if len(self._selected) >= SELECTIONS_MAX:
                self._forget_selection(next(iter(self._selected)))
            self._selected[selection] = pool
        return pool

    def prepared_query(
        self, name: str, datacenter: str | None, client: str
    ) -> QueryAnswer | AskOthers | Unanswerable | None:
        """What a prepared query selects for a client at this address."""
        if self._queries is None:
            return None
        return self._queries.look_up(name, datacenter, client)

    def services_by_address(self, address: str) -> tuple[ServiceAnswer, ...]:
        """Instances whose own address this is, whatever their health."""
        return tuple(
            _instance_answer(row, _node_answer(row.node), row.record.weight_passing)
            for row in self._view.services_by_address(address)
        )

    def servers(self) -> tuple[ServerAnswer, ...]:
        """The alive server agents, by the service that they publish."""
        return tuple(
            ServerAnswer(row.node.name, row.node.body.address)
            for row in self._view.service(SERVER_SERVICE)
            if row.node.is_own and is_passing(row)
        )

    def _follow(
        self, key: str, chosen: _Chosen, rows: Iterable[ServiceRow], answer: _Answers
    ) -> _FollowedPool:
        followed = _FollowedPool(rows, answer, self._rng)
        self._pools.setdefault(key, {})[chosen] = followed
        return followed

    def _watch_queries(self) -> None:
        self._view.watch((QUERIES,), self._on_query_change)

    def _on_query_change(self) -> None:
        """End the answers to prepared queries: a name may stand for another one now."""
        self._watch_queries()
        for pool in self._selected.values():
            pool.renew()

    def _forget_selection(self, selection: Selection) -> None:
        self._selected.pop(selection).renew()
        self._pools.get(selection.service, {}).pop(selection, None)
        self._unknown.get(selection.service, {}).pop(selection, None)

    def _unknown_pool(self, key: str, chosen: _Chosen) -> ServicePool:
        pools = self._unknown.get(key)
        if pools is None:
            if len(self._unknown) >= UNKNOWN_NAMES_MAX:
                self._forget_unknown(next(iter(self._unknown)))
            pools = self._unknown[key] = {}
        pool = pools.get(chosen)
        if pool is None:
            if len(pools) >= UNKNOWN_TAGS_MAX:
                pools.pop(next(iter(pools))).stamp.is_current = False
            pool = pools[chosen] = ServicePool(self._rng)
        return pool

    def _forget_unknown(self, key: str) -> None:
        for pool in self._unknown.pop(key, {}).values():
            pool.stamp.is_current = False

    def _on_change(self, rows: Iterable[ServiceRow], nodes: Iterable[str]) -> None:
        """Bring what was asked for up to date."""
        nodes = tuple(nodes)
        if nodes:
            # Few changes are of nodes, and then of the few rows that belong to them.
            self._node_answers.clear()
        for row in rows:
            key = row.record.name.lower()
            self._forget_unknown(key)
            pools = self._pools.get(key)
            if pools is None:
                continue
            for followed in pools.values():
                followed.update(row)
            if not self._view.service_rows(key):
                del self._pools[key]
        for key in nodes:
            stamp = self._node_stamps.pop(key, None)
            if stamp is not None:
                stamp.is_current = False

    def _answer_with(self, tag: str | None) -> _Answers:
        if tag is None:
            return self._service_answer
        tags = (tag,)
        return lambda row: self._service_answer(row) if has_tags(row, tags) else None

    def _answer_selected(self, selection: Selection) -> _Answers:
        def answer(row: ServiceRow) -> ServiceAnswer | None:
            return self._known_answer(row, instance_status(row)) if selection.takes(row) else None

        return answer

    def _service_answer(self, row: ServiceRow) -> ServiceAnswer | None:
        if self._only_passing and not is_passing(row):
            return None
        status = instance_status(row)
        return None if status is HealthStatus.CRITICAL else self._known_answer(row, status)

    def _known_answer(self, row: ServiceRow, status: HealthStatus | None) -> ServiceAnswer:
        node = self._node_answers.get(row.node)
        if node is None:
            node = self._node_answers[row.node] = _node_answer(row.node)
        return _instance_answer(row, node, _weight(row, status))


def instance_answer(row: ServiceRow) -> ServiceAnswer:
    """What is answered for an instance, whatever its health."""
    return _instance_answer(row, _node_answer(row.node), _weight(row, instance_status(row)))


def _more_of(followed: _FollowedPool) -> ServicePool:
    if not followed.pool.is_complete:
        followed.take_slice()
    return followed.pool


def _weight(row: ServiceRow, status: HealthStatus | None) -> int:
    match status:
        case HealthStatus.CRITICAL:
            # Selected because the check that says so is to be ignored; as in Consul.
            return 0
        case HealthStatus.WARNING:
            return row.record.weight_warning
        case HealthStatus.PASSING:
            return row.record.weight_passing
        case None:
            return UNKNOWN_STATUS_WEIGHT


def _is_shown(row: ServiceRow) -> bool:
    return row.node.is_shown and row.node.services.get(row.record.id) is row


def _node_answer(node: NodeRow) -> NodeAnswer:
    record = node.body
    tagged = record.tagged_addresses
    return NodeAnswer(
        name=node.name,
        address=record.address,
        meta=record.meta,
        lan_ipv4=tagged.get(LAN_IPV4, ""),
        lan_ipv6=tagged.get(LAN_IPV6, ""),
    )


def _instance_answer(row: ServiceRow, node: NodeAnswer, weight: int) -> ServiceAnswer:
    record = row.record
    return ServiceAnswer(
        node=node,
        service=record.name,
        address=record.address,
        port=record.port,
        weight=weight,
        tags=record.tags,
        lan_ipv4=_tagged_address(record, LAN_IPV4),
        lan_ipv6=_tagged_address(record, LAN_IPV6),
    )


def _tagged_address(record: ServiceRecord, tag: str) -> str:
    tagged = record.tagged_addresses.get(tag)
    return "" if tagged is None else tagged.address
