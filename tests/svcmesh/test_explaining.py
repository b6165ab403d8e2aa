from collections.abc import Callable

import pytest

from svcmesh.catalog.changes import ExternalNode, NodeBound, NodeHealthChanged, OwnNode, ViewChange
from svcmesh.catalog.changes import RecordChanged as Changed
from svcmesh.catalog.records import (
    Body,
    CheckRecord,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
)
from svcmesh.catalog.view import CatalogView
from svcmesh.explaining import CheckKind, ExplainedInstance, Explainer
from svcmesh.healthlog import HealthLog

N1, N2 = OwnNode(NodeId("id-1")), OwnNode(NodeId("id-2"))


class World:
    """A view and a log that are told the same, as in an agent."""

    def __init__(self, *, only_passing: bool = False) -> None:
        self.view = CatalogView(local_node_id=N1.node_id, datacenter="dc1", index_start=0)
        self.log = HealthLog(started_utc=100.0)
        self.own: dict[str, CheckRecord] = {}
        self.explainer = Explainer(
            self.view, self.log, own_name="n1", own_check=self.own.get, only_passing=only_passing
        )
        self.now_utc = 200.0
        for owner, name in ((N1, "n1"), (N2, "n2")):
            self.tell(NodeBound(owner.node_id, name, is_alive=True))
            self.put(owner, NodeRecord(name, f"10.0.0.{name[1]}", "dc1"))

    def tell(self, change: ViewChange) -> None:
        self.view.apply(change)
        self.log.note(change, is_synced=True, now_utc=self.now_utc)
        self.now_utc += 1

    def put(self, owner: OwnNode | ExternalNode, body: Body, old: Body | None = None) -> None:
        match body:
            case NodeRecord():
                kind, record_id = Kind.NODE, ""
            case ServiceRecord():
                kind, record_id = Kind.SERVICE, body.id
            case CheckRecord():
                kind, record_id = Kind.CHECK, body.id
        self.tell(Changed(owner, kind, record_id, old, body))

    def explain(self, name: str) -> ExplainedInstance:
        (found,) = self.explainer.instances(name)
        return found


@pytest.fixture
def world() -> World:
    made = World()
    made.put(N2, ServiceRecord("web-1", "web", port=80))
    return made


def check(status: str, check_id: str = "service:web-1", **more: str) -> CheckRecord:
    return CheckRecord(check_id, check_id, status, **{"service_id": "web-1", **more})  # type: ignore[arg-type]  # words


def test_an_instance_that_nothing_keeps_out_is_answered(world: World) -> None:
    found = world.explain("web-1")
    assert found.is_answered
    assert (found.node, found.address, found.port) == ("n2", "10.0.0.2", 80)
    (member,) = found.checks
    assert (member.kind, member.status, member.since_utc) == (CheckKind.MEMBER, "passing", None)
    assert member.seen_by == "n1"


def test_a_failed_member_keeps_it_out_since_the_moment_it_was_declared(world: World) -> None:
    world.tell(NodeHealthChanged(N2.node_id, is_alive=False))
    found = world.explain("web-1")
    assert not found.is_answered
    assert found.checks[0].kind is CheckKind.MEMBER
    assert found.checks[0].since_utc == world.now_utc - 1


CAUSES: dict[str, tuple[CheckRecord, CheckKind]] = {
    "service": (check("critical", output="refused"), CheckKind.SERVICE),
    "node": (check("critical", "disk", service_id="", output="full"), CheckKind.NODE),
    "maintenance of the service": (
        check("critical", "_service_maintenance:web-1", notes="why"),
        CheckKind.MAINTENANCE,
    ),
    "maintenance of the node": (
        check("critical", "_node_maintenance", service_id="", notes="why"),
        CheckKind.MAINTENANCE,
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_critical_keeps_it_out_and_comes_first(world: World, cause: str) -> None:
    record, kind = CAUSES[cause]
    world.put(N2, record)
    found = world.explain("web-1")
    first, *others = found.checks
    assert not found.is_answered
    assert (first.kind, first.id, first.excludes) == (kind, record.id, True)
    assert (first.seen_by, first.since_utc) == ("n2", world.now_utc - 1)
    assert first.output == (record.notes or record.output)
    assert not any(other.excludes for other in others)


@pytest.mark.parametrize(("only_passing", "is_answered"), [(False, True), (True, False)])
def test_a_warning_keeps_it_out_where_dns_wants_passing_ones_only(
    only_passing: bool, is_answered: bool
) -> None:
    world = World(only_passing=only_passing)
    world.put(N2, ServiceRecord("web-1", "web"))
    world.put(N2, check("warning"))
    assert world.explain("web-1").is_answered is is_answered


def test_a_check_that_passes_again_is_so_since_then_with_its_past(world: World) -> None:
    bad, good = check("critical"), check("passing")
    world.put(N2, bad)
    world.put(N2, good, old=bad)
    (found,) = (one for one in world.explain("web-1").checks if one.kind is CheckKind.SERVICE)
    assert found.since_utc == world.now_utc - 1
    assert [entry.new for entry in found.history] == ["passing", "critical"]


def test_what_happened_before_the_agent_started_has_no_time(world: World) -> None:
    change = Changed(N2, Kind.CHECK, "service:web-1", None, check("critical"))
    world.view.apply(change)
    world.log.note(change, is_synced=False, now_utc=world.now_utc)
    assert world.explain("web-1").checks[0].since_utc is None
    assert world.explainer.remembers_since_utc == 100.0


def test_of_its_own_checks_the_agent_tells_the_latest_output(world: World) -> None:
    world.put(N1, ServiceRecord("own", "own"))
    world.put(N1, check("critical", "c", service_id="own", output="old"))
    world.own["c"] = check("critical", "c", service_id="own", output="new")
    assert world.explain("own").checks[0].output == "new"


def test_the_id_wins_over_the_name_of_a_service(world: World) -> None:
    world.put(N1, ServiceRecord("web", "web"))
    assert [one.service_id for one in world.explainer.instances("web")] == ["web"]


def test_of_a_service_all_instances_are_explained_those_that_are_missing_first(
    world: World,
) -> None:
    world.put(N1, ServiceRecord("web-0", "web"))
    world.put(N2, check("critical"))
    found = world.explainer.instances("WEB")
    assert [one.service_id for one in found] == ["web-1", "web-0"]


def test_an_external_node_has_no_member_to_blame(world: World) -> None:
    owner = ExternalNode("ext")
    world.put(owner, NodeRecord("Ext", "10.9.9.9", "dc1"))
    world.put(owner, ServiceRecord("x", "x"))
    world.put(owner, check("critical", "serfHealth", service_id=""))
    found = world.explain("x")
    assert found.is_external
    assert found.checks[0].kind is CheckKind.NODE


def test_what_nobody_has_is_nothing(world: World) -> None:
    instances: Callable[[str], list[ExplainedInstance]] = world.explainer.instances
    assert instances("nothing") == []
