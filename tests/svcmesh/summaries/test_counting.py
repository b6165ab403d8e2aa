from svcmesh.catalog.changes import (
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    OwnNode,
    RecordChanged,
)
from svcmesh.catalog.records import Body, CheckRecord, Kind, NodeId, NodeRecord, ServiceRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.summaries import ServiceCount, ServiceCounts

NODES = [NodeId("one"), NodeId("two")]


class Catalog:
    """Two nodes, followed from the beginning."""

    def __init__(self) -> None:
        self.view = CatalogView(local_node_id=NODES[0], datacenter="dc1", index_start=1)
        self.counts = ServiceCounts(self.view)
        for node in NODES:
            self.put(node, NodeRecord(name=node, address="10.0.0.1", datacenter="dc1"))
            self.view.apply(NodeBound(node, node, is_alive=True))

    def put(self, node: NodeId, body: Body) -> None:
        match body:
            case NodeRecord():
                kind, record_id = Kind.NODE, ""
            case ServiceRecord():
                kind, record_id = Kind.SERVICE, body.id
            case _:
                kind, record_id = Kind.CHECK, body.id
        self.view.apply(RecordChanged(OwnNode(node), kind, record_id, None, body))

    def web(self, node: NodeId, name: str = "web") -> None:
        self.put(node, ServiceRecord(id="web", name=name))

    def check(self, node: NodeId, status: str) -> None:
        self.put(node, CheckRecord(id="c", name="c", status=status, service_id="web"))


def test_instances_are_counted_whatever_the_letter_case_of_their_names() -> None:
    catalog = Catalog()
    catalog.web(NODES[0])
    catalog.web(NODES[1], "WEB")
    assert catalog.counts.all() == {"web": (2, 2)}
    assert catalog.counts.take_changed() == ["web"]
    assert not catalog.counts.has_changed


def test_an_instance_with_a_critical_check_is_not_healthy_and_one_with_a_warning_is() -> None:
    catalog = Catalog()
    for node in NODES:
        catalog.web(node)
    catalog.check(NODES[0], "critical")
    assert catalog.counts.of("web") == ServiceCount(2, 1)
    catalog.check(NODES[0], "warning")
    assert catalog.counts.of("web") == ServiceCount(2, 2)


def test_instances_fail_and_go_with_their_node() -> None:
    catalog = Catalog()
    for node in NODES:
        catalog.web(node)
    catalog.view.apply(NodeHealthChanged(NODES[0], is_alive=False))
    assert catalog.counts.of("web") == ServiceCount(2, 1)
    catalog.view.apply(NodeHealthChanged(NODES[0], is_alive=True))
    assert catalog.counts.of("web") == ServiceCount(2, 2)
    catalog.view.apply(NodeUnbound(NODES[0]))
    assert catalog.counts.of("web") == ServiceCount(1, 1)


def test_a_renamed_service_is_counted_under_its_new_name() -> None:
    catalog = Catalog()
    catalog.web(NODES[0])
    catalog.web(NODES[0], "api")
    assert catalog.counts.all() == {"api": (1, 1)}


def test_a_service_without_instances_is_not_there() -> None:
    catalog = Catalog()
    catalog.web(NODES[0])
    catalog.view.apply(RecordChanged(OwnNode(NODES[0]), Kind.SERVICE, "web", None, None))
    assert catalog.counts.all() == {}
    assert catalog.counts.of("web") == ServiceCount(0, 0)
