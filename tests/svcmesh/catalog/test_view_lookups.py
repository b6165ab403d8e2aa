"""What the view shows after literal sequences of changes."""

from collections.abc import Iterable

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
from svcmesh.catalog.health import instance_status, is_passing
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    HealthStatus,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
)
from svcmesh.catalog.view import CatalogView

A = NodeId("aaaaaaaa-0000-0000-0000-000000000000")
B = NodeId("bbbbbbbb-0000-0000-0000-000000000000")


def changed(owner: Owner, new: Body) -> RecordChanged:
    match new:
        case NodeRecord():
            return RecordChanged(owner, Kind.NODE, "", None, new)
        case ServiceRecord():
            return RecordChanged(owner, Kind.SERVICE, new.id, None, new)
        case CheckRecord():
            return RecordChanged(owner, Kind.CHECK, new.id, None, new)


def removed(owner: Owner, kind: Kind, record_id: str = "") -> RecordChanged:
    return RecordChanged(owner, kind, record_id, None, None)


def node(name: str, address: str = "10.0.0.1", **meta: str) -> NodeRecord:
    return NodeRecord(name=name, address=address, datacenter="dc1", meta=meta)


def view_of(changes: Iterable[ViewChange]) -> CatalogView:
    view = CatalogView(local_node_id=A, datacenter="dc1", index_start=100)
    for change in changes:
        view.apply(change)
    return view


def web_on_a(**fields: str) -> list[ViewChange]:
    return [
        changed(OwnNode(A), node("a")),
        changed(OwnNode(A), ServiceRecord(id="web-1", name="Web", **fields)),  # type: ignore[arg-type] # only text fields
        NodeBound(A, "a", is_alive=True),
    ]


def service_ids(view: CatalogView, name: str) -> list[str]:
    return [row.record.id for row in view.service(name)]


def test_names_are_looked_up_without_regard_to_letter_case() -> None:
    view = view_of(web_on_a())
    assert service_ids(view, "wEB") == ["web-1"]
    found = view.node("A")
    assert found is not None
    assert found.name == "a"


def test_a_node_is_hidden_until_it_is_bound() -> None:
    view = view_of(web_on_a()[:2])
    assert view.nodes() == ()
    assert view.service("web") == ()


def test_a_bound_node_is_hidden_until_its_record_arrives() -> None:
    view = view_of(web_on_a()[1:])
    assert view.nodes() == ()
    assert view.service("web") == ()
    view.apply(web_on_a()[0])
    assert service_ids(view, "web") == ["web-1"]


def test_an_unbound_node_takes_its_rows_with_it() -> None:
    view = view_of([*web_on_a(), NodeUnbound(A)])
    assert view.node("a") is None
    assert view.service("web") == ()
    assert list(view.checks_in_state("any")) == []
    assert view.nodes_by_address("10.0.0.1") == ()


def test_a_failed_node_is_listed_with_a_critical_serf_check() -> None:
    view = view_of([*web_on_a(), NodeHealthChanged(A, is_alive=False)])
    (row,) = view.service("web")
    assert instance_status(row) is HealthStatus.CRITICAL
    (check,) = row.node.node_checks
    assert (check.record.id, check.record.name, check.record.status, check.record.output) == (
        "serfHealth",
        "Serf Health Status",
        "critical",
        "Agent not live or unreachable",
    )


def test_a_recovered_node_passes_again() -> None:
    view = view_of(
        [*web_on_a(), NodeHealthChanged(A, is_alive=False), NodeHealthChanged(A, is_alive=True)]
    )
    (row,) = view.service("web")
    assert is_passing(row)
    assert row.node.node_checks[0].record.output == "Agent alive and reachable"
    assert list(view.checks_in_state("critical")) == []


def test_an_external_node_has_no_serf_check() -> None:
    view = view_of([changed(ExternalNode("ext"), node("Ext"))])
    (row,) = view.nodes()
    assert (row.name, row.id, row.node_checks) == ("Ext", "", ())


def test_an_agents_node_shadows_an_external_one_of_the_same_name() -> None:
    external = ExternalNode("a")
    view = view_of(
        [
            changed(external, node("A", "10.9.9.9")),
            changed(external, ServiceRecord(id="db", name="db")),
            *web_on_a(),
        ]
    )
    assert [row.body.address for row in view.nodes()] == ["10.0.0.1"]
    assert view.service("db") == ()
    view.apply(NodeUnbound(A))
    assert [row.body.address for row in view.nodes()] == ["10.9.9.9"]
    assert service_ids(view, "db") == ["db"]


def test_of_two_agents_with_one_name_the_first_keeps_it() -> None:
    view = view_of(
        [
            *web_on_a(),
            changed(OwnNode(B), node("A", "10.0.0.2")),
            NodeBound(B, "A", is_alive=True),
        ]
    )
    assert [row.node_id for row in view.nodes()] == [A]
    view.apply(NodeUnbound(A))
    assert [row.node_id for row in view.nodes()] == [B]


def test_a_rebound_node_is_shown_under_its_new_name_only() -> None:
    view = view_of([*web_on_a(), NodeBound(A, "other", is_alive=False)])
    assert view.node("a") is None
    (row,) = view.service("web")
    assert row.node.name == "other"
    assert instance_status(row) is HealthStatus.CRITICAL


def test_a_renamed_instance_moves_to_its_new_service() -> None:
    view = view_of([*web_on_a(), changed(OwnNode(A), ServiceRecord(id="web-1", name="api"))])
    assert view.service("web") == ()
    assert service_ids(view, "api") == ["web-1"]
    assert view.service_tags() == {"api": ()}


def test_service_names_come_with_the_tags_of_all_instances() -> None:
    view = view_of(
        [
            *web_on_a(),
            changed(OwnNode(A), ServiceRecord(id="1", name="db", tags=("b", "common"))),
            changed(OwnNode(A), ServiceRecord(id="2", name="db", tags=("a", "common"))),
        ]
    )
    assert view.service_tags() == {"Web": (), "db": ("a", "b", "common")}


def test_a_check_of_a_missing_service_waits_for_it() -> None:
    check = CheckRecord(id="c", name="c", status=HealthStatus.CRITICAL, service_id="db-1")
    view = view_of([*web_on_a(), changed(OwnNode(A), check)])
    assert list(view.checks_in_state("critical")) == []
    view.apply(changed(OwnNode(A), ServiceRecord(id="db-1", name="db")))
    assert [row.record.id for row in view.checks_in_state("critical")] == ["c"]
    assert [row.record.id for row in view.service_checks("db")] == ["c"]


def test_a_critical_check_of_one_instance_leaves_its_neighbours_alone() -> None:
    check = CheckRecord(id="c", name="c", status=HealthStatus.CRITICAL, service_id="1")
    view = view_of(
        [
            *web_on_a(),
            changed(OwnNode(A), ServiceRecord(id="1", name="db")),
            changed(OwnNode(A), ServiceRecord(id="2", name="db")),
            changed(OwnNode(A), check),
        ]
    )
    assert [instance_status(row) for row in view.service("db")] == ["critical", "passing"]


def test_a_critical_check_of_the_node_takes_all_its_instances() -> None:
    check = CheckRecord(id="disk", name="disk", status=HealthStatus.CRITICAL)
    view = view_of([*web_on_a(), changed(OwnNode(A), check)])
    assert [instance_status(row) for row in view.service("web")] == ["critical"]


def test_a_warning_is_not_passing_but_not_critical_either() -> None:
    check = CheckRecord(id="c", name="c", status=HealthStatus.WARNING, service_id="web-1")
    view = view_of([*web_on_a(), changed(OwnNode(A), check)])
    (row,) = view.service("web")
    assert instance_status(row) is HealthStatus.WARNING
    assert not is_passing(row)


def test_an_agent_cannot_publish_its_own_serf_check() -> None:
    forged = CheckRecord(id="serfHealth", name="mine", status=HealthStatus.PASSING)
    view = view_of([*web_on_a(), NodeHealthChanged(A, is_alive=False), changed(OwnNode(A), forged)])
    assert [row.record.id for row in view.checks_in_state("critical")] == ["serfHealth"]
    view.apply(removed(OwnNode(A), Kind.CHECK, "serfHealth"))
    assert [row.record.id for row in view.checks_in_state("critical")] == ["serfHealth"]


def test_rows_are_found_by_address_in_any_spelling() -> None:
    view = view_of(
        [
            changed(OwnNode(A), node("a", "2001:DB8::1")),
            changed(OwnNode(A), ServiceRecord(id="1", name="db", address="2001:db8:0::2")),
            NodeBound(A, "a", is_alive=True),
        ]
    )
    assert [row.name for row in view.nodes_by_address("2001:db8::1")] == ["a"]
    assert [row.record.id for row in view.services_by_address("2001:db8::2")] == ["1"]


def test_a_moved_node_is_found_at_its_new_address_only() -> None:
    view = view_of([*web_on_a(), changed(OwnNode(A), node("a", "10.0.0.7"))])
    assert view.nodes_by_address("10.0.0.1") == ()
    assert [row.name for row in view.nodes_by_address("10.0.0.7")] == ["a"]


def test_instances_come_by_node_name_and_service_id() -> None:
    view = view_of(
        [
            changed(ExternalNode("z"), node("z")),
            changed(ExternalNode("y"), node("y")),
            changed(ExternalNode("z"), ServiceRecord(id="1", name="db")),
            changed(ExternalNode("y"), ServiceRecord(id="3", name="db")),
            changed(ExternalNode("y"), ServiceRecord(id="2", name="db")),
        ]
    )
    assert [(row.node.name, row.record.id) for row in view.service("db")] == [
        ("y", "2"),
        ("y", "3"),
        ("z", "1"),
    ]


def test_the_index_rises_by_one_with_a_change_that_shows() -> None:
    view = view_of(web_on_a())
    before = view.index
    view.apply(changed(OwnNode(A), ServiceRecord(id="db", name="db")))
    assert view.index == before + 1


def test_the_index_stays_with_a_change_that_does_not_show() -> None:
    view = view_of(web_on_a())
    before = view.index
    view.apply(changed(OwnNode(A), ServiceRecord(id="web-1", name="Web")))
    view.apply(changed(OwnNode(B), node("b")))
    view.apply(NodeHealthChanged(A, is_alive=True))
    view.apply(NodeUnbound(B))
    view.apply(removed(OwnNode(A), Kind.SERVICE, "none"))
    assert view.index == before


def test_an_update_keeps_the_create_index_and_raises_the_modify_index() -> None:
    view = view_of(web_on_a())
    (row,) = view.service("web")
    created = row.create_index
    view.apply(changed(OwnNode(A), ServiceRecord(id="web-1", name="Web", port=80)))
    (row,) = view.service("web")
    assert (row.create_index, row.modify_index) == (created, view.index)


def test_a_change_of_the_node_leaves_the_modify_index_of_its_services() -> None:
    view = view_of(web_on_a())
    view.apply(changed(OwnNode(A), node("a", "10.0.0.7")))
    (row,) = view.service("web")
    assert row.modify_index < view.index
    assert row.node.modify_index == view.index


def test_the_index_starts_above_what_it_was_told() -> None:
    view = view_of(web_on_a())
    assert view.index > 100
    (row,) = view.service("web")
    assert row.create_index > 100
