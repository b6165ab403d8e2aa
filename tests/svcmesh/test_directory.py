"""What DNS is told of the catalog."""

from random import Random

import pytest

from dnsserver.directory import Directory, NodeAnswer, ServerAnswer, ServiceAnswer
from svcmesh.catalog.changes import (
    ExternalNode,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    OwnNode,
    RecordChanged,
)
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    HealthStatus,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
    TaggedAddress,
)
from svcmesh.catalog.view import CatalogView
from svcmesh.directory import CatalogDirectory

A = NodeId("aaaaaaaa-0000-0000-0000-000000000000")
WEB = ServiceRecord(
    id="web-1", name="web", tags=("Blue",), port=80, weight_passing=10, weight_warning=2
)


def put(view: CatalogView, kind: Kind, record_id: str, body: Body) -> None:
    view.apply(RecordChanged(OwnNode(A), kind, record_id, None, body))


def view_with_web() -> CatalogView:
    view = CatalogView(local_node_id=A, datacenter="DC1", index_start=1)
    put(view, Kind.NODE, "", NodeRecord("a", "10.0.0.1", "dc1", meta={"k": "v"}))
    put(view, Kind.SERVICE, WEB.id, WEB)
    view.apply(NodeBound(A, "a", is_alive=True))
    return view


def directory(view: CatalogView, *, only_passing: bool = False, ready: bool = True) -> Directory:
    return CatalogDirectory(view, is_ready=lambda: ready, rng=Random(1), only_passing=only_passing)


NODE_A = NodeAnswer("a", "10.0.0.1", {"k": "v"})


def test_a_passing_instance_has_its_passing_weight() -> None:
    assert directory(view_with_web()).service("WEB", None).instances() == (
        ServiceAnswer(NODE_A, "web", "", 80, 10, ("Blue",)),
    )


@pytest.mark.parametrize(("tag", "count"), [("blue", 1), ("BLUE", 1), ("green", 0)])
def test_tags_are_matched_without_regard_to_letter_case(tag: str, count: int) -> None:
    assert len(directory(view_with_web()).service("web", tag)) == count


def test_an_unknown_service_has_no_instances() -> None:
    assert not len(directory(view_with_web()).service("db", None))


def test_what_is_left_out_can_be_chosen_anew() -> None:
    view = view_with_web()
    put(view, Kind.CHECK, "c", CheckRecord(id="c", name="c", status=HealthStatus.WARNING))
    found = CatalogDirectory(view, is_ready=lambda: True, rng=Random(1))
    assert len(found.service("web", None)) == 1
    found.reconfigure(only_passing=True)
    assert len(found.service("web", None)) == 0
    found.reconfigure(only_passing=False)
    assert len(found.service("web", None)) == 1


@pytest.mark.parametrize(
    ("status", "service_id", "only_passing", "weights"),
    [
        (HealthStatus.WARNING, "web-1", False, [2]),
        (HealthStatus.WARNING, "", False, [2]),
        (HealthStatus.WARNING, "web-1", True, []),
        (HealthStatus.CRITICAL, "web-1", False, []),
        (HealthStatus.CRITICAL, "", False, []),
        (HealthStatus.PASSING, "web-1", True, [10]),
        (HealthStatus.CRITICAL, "other", False, [10]),
        ("strange", "web-1", False, [1]),
        ("strange", "web-1", True, []),
    ],
)
def test_checks_of_the_instance_and_of_its_node_decide(
    status: str, service_id: str, only_passing: bool, weights: list[int]
) -> None:
    view = view_with_web()
    put(view, Kind.CHECK, "c", CheckRecord("c", "c", status, service_id=service_id))
    found = directory(view, only_passing=only_passing).service("web", None)
    assert [answer.weight for answer in found.instances()] == weights


def test_a_failed_nodes_instances_are_not_answered_but_the_node_is() -> None:
    view = view_with_web()
    view.apply(NodeHealthChanged(A, is_alive=False))
    assert directory(view).service("web", None).instances() == ()
    assert directory(view).node("A") == NODE_A


def test_a_left_nodes_service_is_gone() -> None:
    view = view_with_web()
    view.apply(NodeUnbound(A))
    assert directory(view).service("web", None).instances() == ()
    assert directory(view).node("a") is None


def test_a_weight_of_zero_is_answered_as_it_is() -> None:
    view = view_with_web()
    put(view, Kind.SERVICE, "w", ServiceRecord("w", "zero", weight_passing=0))
    (answer,) = directory(view).service("zero", None).instances()
    assert answer.weight == 0


def test_tagged_addresses_of_both_families_come_along() -> None:
    view = view_with_web()
    tagged = {"lan_ipv4": "10.0.0.1", "lan_ipv6": "fd00::1", "wan": "198.51.100.1"}
    put(view, Kind.NODE, "", NodeRecord("a", "10.0.0.1", "dc1", tagged_addresses=tagged))
    of_instance = {"lan_ipv6": TaggedAddress("fd00::80", 8080), "lan": TaggedAddress("10.1.1.1", 1)}
    put(view, Kind.SERVICE, "w", ServiceRecord("w", "dual", tagged_addresses=of_instance))
    (answer,) = directory(view).service("dual", None).instances()
    assert (answer.node.lan_ipv4, answer.node.lan_ipv6) == ("10.0.0.1", "fd00::1")
    assert (answer.lan_ipv4, answer.lan_ipv6) == ("", "fd00::80")


@pytest.mark.parametrize(
    ("registered", "asked"),
    [
        ("FD00:0:0::1", "fd00::1"),
        ("fd00::0001", "fd00::1"),
        ("::ffff:10.0.0.9", "10.0.0.9"),
        ("10.0.0.9", "10.0.0.9"),
    ],
)
def test_an_address_is_found_in_any_spelling(registered: str, asked: str) -> None:
    view = view_with_web()
    put(view, Kind.NODE, "", NodeRecord("a", registered, "dc1"))
    put(view, Kind.SERVICE, "w", ServiceRecord("w", "other", address=registered))
    found = directory(view)
    node = found.node_by_address(asked)
    assert node is not None
    assert node.name == "a"
    assert [answer.service for answer in found.services_by_address(asked)] == ["other"]


def test_addresses_are_looked_up_for_nodes_and_instances() -> None:
    view = view_with_web()
    put(view, Kind.SERVICE, "w", ServiceRecord("w", "other", address="10.9.9.9"))
    found = directory(view)
    assert found.node_by_address("10.0.0.1") == NODE_A
    assert found.node_by_address("10.9.9.9") is None
    assert [answer.service for answer in found.services_by_address("10.9.9.9")] == ["other"]


def test_servers_are_the_alive_agents_that_publish_themselves() -> None:
    view = view_with_web()
    put(view, Kind.SERVICE, "consul", ServiceRecord("consul", "consul", port=8300))
    external = ExternalNode("e")
    view.apply(RecordChanged(external, Kind.NODE, "", None, NodeRecord("e", "10.0.0.2", "dc1")))
    forged = ServiceRecord("consul", "consul")
    view.apply(RecordChanged(external, Kind.SERVICE, "consul", None, forged))
    assert directory(view).servers() == (ServerAnswer("a", "10.0.0.1"),)
    view.apply(NodeHealthChanged(A, is_alive=False))
    assert directory(view).servers() == ()


def test_only_our_own_data_center_is_known() -> None:
    found = directory(view_with_web(), ready=False)
    assert (found.datacenter, found.is_ready) == ("dc1", False)
