from svcmesh.catalog.changes import (
    ExternalNode,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    OwnNode,
    RecordChanged,
)
from svcmesh.catalog.records import CheckRecord, HealthStatus, Kind, NodeId, ServiceRecord
from svcmesh.healthlog import ENTRIES_MAX, HealthEntry, HealthLog

N1 = OwnNode(NodeId("id-1"))


def check(status: HealthStatus, output: str = "") -> CheckRecord:
    return CheckRecord("c", "C", status, output, service_id="web")


def log(
    *changes: tuple[CheckRecord | None, CheckRecord | None], is_synced: bool = True
) -> HealthLog:
    made = HealthLog(started_utc=100.0)
    for number, (old, new) in enumerate(changes):
        change = RecordChanged(N1, Kind.CHECK, "c", old, new)
        made.note(change, is_synced=is_synced, now_utc=200.0 + number)
    return made


PASSING, CRITICAL = check(HealthStatus.PASSING), check(HealthStatus.CRITICAL, "refused")


def test_a_change_of_state_is_remembered_with_what_the_check_said() -> None:
    (entry,) = log((PASSING, CRITICAL)).of(N1, "c")
    assert entry == HealthEntry(200.0, N1, "c", "web", "passing", "critical", "refused", False)


def test_the_latest_comes_first() -> None:
    found = list(log((PASSING, CRITICAL), (CRITICAL, PASSING)).of(N1, "c"))
    assert [entry.new for entry in found] == ["passing", "critical"]


def test_another_output_in_the_same_state_is_no_change() -> None:
    assert list(log((CRITICAL, check(HealthStatus.CRITICAL, "other"))).of(N1, "c")) == []


def test_what_appears_and_passes_is_not_worth_an_entry() -> None:
    assert list(log((None, PASSING)).of(N1, "c")) == []
    assert len(list(log((None, CRITICAL)).of(N1, "c"))) == 1


def test_what_appears_before_the_first_synchronisation_was_there_already() -> None:
    (entry,) = log((None, CRITICAL), is_synced=False).of(N1, "c")
    assert entry.was_there
    (entry,) = log((PASSING, CRITICAL), is_synced=False).of(N1, "c")
    assert not entry.was_there


def test_a_check_that_goes_is_remembered() -> None:
    (entry,) = log((CRITICAL, None)).of(N1, "c")
    assert (entry.old, entry.new) == ("critical", "")


def test_members_are_remembered_as_their_check() -> None:
    subject = HealthLog(started_utc=100.0)
    for change in (
        NodeBound(NodeId("id-1"), "n1", is_alive=True),
        NodeHealthChanged(NodeId("id-1"), is_alive=False),
        NodeHealthChanged(NodeId("id-1"), is_alive=True),
        NodeUnbound(NodeId("id-1")),
    ):
        subject.note(change, is_synced=True, now_utc=200.0)
    assert [entry.new for entry in subject.of(N1, "serfHealth")] == ["passing", "critical"]


def test_a_member_that_had_failed_before_we_came_had_done_so_at_an_unknown_time() -> None:
    subject = HealthLog(started_utc=100.0)
    bound = NodeBound(NodeId("id-1"), "n1", is_alive=False)
    subject.note(bound, is_synced=False, now_utc=200.0)
    (entry,) = subject.of(N1, "serfHealth")
    assert (entry.new, entry.was_there) == ("critical", True)


def test_each_node_has_its_own() -> None:
    assert list(log((PASSING, CRITICAL)).of(ExternalNode("n1"), "c")) == []


def test_services_are_not_its_business() -> None:
    subject = HealthLog(started_utc=100.0)
    change = RecordChanged(N1, Kind.SERVICE, "c", None, ServiceRecord("c", "web"))
    subject.note(change, is_synced=True, now_utc=1.0)
    assert list(subject.of(N1, "c")) == []


def test_it_forgets_the_oldest_and_says_since_when_nothing_is_missing() -> None:
    subject = log((PASSING, check(HealthStatus.CRITICAL, "x" * 10_000)))
    assert subject.since_utc == 100.0
    assert len(next(subject.of(N1, "c")).output) == 200
    for number in range(ENTRIES_MAX):
        old, new = (CRITICAL, PASSING) if number % 2 else (PASSING, CRITICAL)
        change = RecordChanged(N1, Kind.CHECK, "d", old, new)
        subject.note(change, is_synced=True, now_utc=1000.0 + number)
    assert list(subject.of(N1, "c")) == []
    assert subject.since_utc == 1000.0
