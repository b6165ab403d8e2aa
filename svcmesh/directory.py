"""The catalog view as the DNS front asks for it (`dnsserver.directory.Directory`)."""

from collections.abc import Callable
from typing import Final

from dnsserver.directory import NodeAnswer, ServerAnswer, ServiceAnswer
from svcmesh.catalog.health import has_tags, instance_status, is_passing
from svcmesh.catalog.records import HealthStatus, ServiceRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.catalog.view_rows import NodeRow, ServiceRow

SERVER_SERVICE: Final = "consul"
"""The service that every server agent publishes of itself."""

UNKNOWN_STATUS_WEIGHT: Final = 1
"""What an instance weighs of which a check says neither passing nor warning (as in Consul)."""

LAN_IPV4: Final = "lan_ipv4"
LAN_IPV6: Final = "lan_ipv6"
"""Tagged addresses that answers for their family prefer to the plain address."""


class CatalogDirectory:
    """Answers from a `CatalogView`, at a cost that depends on the answer only."""

    def __init__(
        self, view: CatalogView, *, is_ready: Callable[[], bool], only_passing: bool = False
    ) -> None:
        """`only_passing` leaves out instances with a warning too, not only critical ones."""
        self._view, self._is_ready, self._only_passing = view, is_ready, only_passing

    @property
    def datacenter(self) -> str:
        """Our data center, in lower case."""
        return self._view.datacenter.lower()

    @property
    def is_ready(self) -> bool:
        """False until the first synchronisation."""
        return self._is_ready()

    def knows_datacenter(self, name: str) -> bool:
        """Whether this is our own data center; no others are reachable yet."""
        return name.lower() == self.datacenter

    def node(self, name: str) -> NodeAnswer | None:
        """The node of this name, whatever its health."""
        node = self._view.node(name)
        return None if node is None else _node_answer(node)

    def node_by_address(self, address: str) -> NodeAnswer | None:
        """The node with this IP; the one that was there first when there are several."""
        nodes = self._view.nodes_by_address(address)
        return _node_answer(nodes[0]) if nodes else None

    def service(self, name: str, tag: str | None) -> tuple[ServiceAnswer, ...] | None:
        """Instances that no critical check excludes; None when there is no such service."""
        rows = self._view.service(name)
        if not rows:
            return None
        tags = () if tag is None else (tag.lower(),)
        return tuple(
            answer
            for row in rows
            if has_tags(row, tags) and (answer := self._service_answer(row)) is not None
        )

    def services_by_address(self, address: str) -> tuple[ServiceAnswer, ...]:
        """Instances whose own address this is, whatever their health."""
        return tuple(
            _instance_answer(row, row.record.weight_passing)
            for row in self._view.services_by_address(address)
        )

    def servers(self) -> tuple[ServerAnswer, ...]:
        """The alive server agents, by the service that they publish."""
        return tuple(
            ServerAnswer(row.node.name, row.node.body.address)
            for row in self._view.service(SERVER_SERVICE)
            if row.node.is_own and is_passing(row)
        )

    def _service_answer(self, row: ServiceRow) -> ServiceAnswer | None:
        if self._only_passing and not is_passing(row):
            return None
        match instance_status(row):
            case HealthStatus.CRITICAL:
                return None
            case HealthStatus.WARNING:
                return _instance_answer(row, row.record.weight_warning)
            case HealthStatus.PASSING:
                return _instance_answer(row, row.record.weight_passing)
            case None:
                return _instance_answer(row, UNKNOWN_STATUS_WEIGHT)


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


def _instance_answer(row: ServiceRow, weight: int) -> ServiceAnswer:
    record = row.record
    return ServiceAnswer(
        node=_node_answer(row.node),
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
