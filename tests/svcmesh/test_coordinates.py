"""Which node is nearest, from what gossip and the catalog know."""

from gossip import Coordinate
from svcmesh.catalog.changes import ExternalNode, NodeBound, OwnNode, RecordChanged
from svcmesh.catalog.records import Kind, NodeId, NodeRecord
from svcmesh.catalog.topics import COORDINATES, NODES
from svcmesh.catalog.view import CatalogView
from svcmesh.coordinates import NodeCoordinates, distance_key

A, B = NodeId("a" * 36), NodeId("b" * 36)


def at(x: float) -> Coordinate:
    return Coordinate((x, 0, 0, 0, 0, 0, 0, 0), 0.5, 0.0, 1.0e-5)


class Fixture:
    def __init__(self) -> None:
        self.view = CatalogView(local_node_id=A, datacenter="dc1", index_start=1)
        self.gossip: dict[str, Coordinate] = {}
        self.coordinates = NodeCoordinates(self.view, agents=lambda: self.gossip.items())
        for node_id, name in ((A, "Anna"), (B, "bert")):
            record = NodeRecord(name=name, address="10.0.0.1", datacenter="dc1")
            self.view.apply(RecordChanged(OwnNode(node_id), Kind.NODE, "", None, record))
            self.view.apply(NodeBound(node_id, name, is_alive=True))

    def external(self, name: str, where: Coordinate | None) -> None:
        record = NodeRecord(name=name, address="10.9.9.9", datacenter="dc1", coordinate=where)
        self.view.apply(RecordChanged(ExternalNode(name.lower()), Kind.NODE, "", None, record))


def test_agents_are_shown_as_of_the_last_refresh() -> None:
    fixture = Fixture()
    fixture.gossip["Anna"] = at(0.1)
    assert fixture.coordinates.of("anna") is None
    fixture.coordinates.refresh()
    fixture.gossip["Anna"] = at(0.2)
    assert fixture.coordinates.of("anna") == at(0.1)
    assert fixture.coordinates.all() == [("Anna", at(0.1))]


def test_a_refresh_that_shows_something_new_wakes_who_waits_for_coordinates_only() -> None:
    fixture = Fixture()
    woken: list[str] = []
    fixture.view.watch((COORDINATES,), lambda: woken.append("coordinates"))
    fixture.view.watch((NODES,), lambda: woken.append("nodes"))
    fixture.coordinates.refresh()
    assert woken == []
    fixture.gossip["bert"] = at(0.1)
    fixture.coordinates.refresh()
    assert woken == ["coordinates"]


def test_an_external_node_is_where_the_catalog_says() -> None:
    fixture = Fixture()
    fixture.external("Ext", at(0.3))
    assert fixture.coordinates.of("ext") == at(0.3)
    assert fixture.coordinates.all() == [("Ext", at(0.3))]


def test_a_new_measurement_of_an_external_node_wakes_who_waits_for_coordinates_only() -> None:
    fixture = Fixture()
    fixture.external("ext", at(0.3))
    woken: list[str] = []
    fixture.view.watch((COORDINATES,), lambda: woken.append("coordinates"))
    fixture.view.watch((NODES,), lambda: woken.append("nodes"))
    modified = fixture.view.node("ext")
    assert modified is not None
    before = modified.modify_index
    fixture.external("ext", at(0.4))
    assert woken == ["coordinates"]
    assert modified.modify_index == before
    assert fixture.coordinates.of("ext") == at(0.4)


def test_a_member_that_is_no_node_is_shown_too() -> None:
    fixture = Fixture()
    fixture.gossip["plain-serf"] = at(0.1)
    fixture.coordinates.refresh()
    assert fixture.coordinates.of("Plain-Serf") == at(0.1)
    assert fixture.coordinates.all() == [("plain-serf", at(0.1))]


def test_sorting_puts_the_nearest_first_and_who_is_nowhere_last_in_the_old_order() -> None:
    where = {"a": at(0.0), "b": at(0.3), "c": at(0.1)}
    names = ["x", "b", "y", "c", "a"]
    assert sorted(names, key=distance_key(where.get, "a")) == ["a", "c", "b", "x", "y"]


def test_sorting_near_a_node_that_is_nowhere_changes_nothing() -> None:
    where = {"a": at(0.0), "b": at(0.3)}
    assert sorted(["b", "a"], key=distance_key(where.get, "x")) == ["b", "a"]
