"""Who is woken by what, and the indexes of topics."""

from svcmesh.catalog.changes import NodeHealthChanged, NodeUnbound, OwnNode
from svcmesh.catalog.records import CheckRecord, HealthStatus, Kind, ServiceRecord
from svcmesh.catalog.topics import (
    CHECKS,
    NODES,
    SERVICES,
    Topic,
    node_checks_topic,
    node_topic,
    service_checks_topic,
    service_topic,
)
from svcmesh.catalog.view import CatalogView
from tests.svcmesh.catalog.test_view_lookups import A, changed, node, removed, view_of, web_on_a

WEB = (service_topic("Web"), service_checks_topic("web"))


def watched(view: CatalogView, *topics: Topic) -> list[str]:
    """A list that grows when one of `topics` changes."""
    calls: list[str] = []
    view.watch(topics, lambda: calls.append("woken"))
    return calls


def test_a_watch_of_one_service_sleeps_through_changes_of_another() -> None:
    view = view_of(web_on_a())
    calls = watched(view, *WEB)
    view.apply(changed(OwnNode(A), ServiceRecord(id="db", name="db")))
    view.apply(
        changed(
            OwnNode(A),
            CheckRecord(id="c", name="c", status=HealthStatus.CRITICAL, service_id="db"),
        )
    )
    assert calls == []
    view.apply(changed(OwnNode(A), ServiceRecord(id="web-2", name="web")))
    assert calls == ["woken"]


def test_a_watch_is_woken_once_only() -> None:
    view = view_of(web_on_a())
    calls = watched(view, *WEB)
    view.apply(NodeUnbound(A))
    view.apply(web_on_a()[2])
    assert calls == ["woken"]


def test_a_cancelled_watch_is_not_woken() -> None:
    view = view_of(web_on_a())
    calls: list[str] = []
    watch = view.watch(WEB, lambda: calls.append("woken"))
    view.cancel_watch(watch)
    view.apply(NodeUnbound(A))
    view.cancel_watch(watch)
    assert calls == []


def test_a_failed_node_wakes_the_health_of_its_services_but_not_their_rows() -> None:
    view = view_of(web_on_a())
    rows, checks = watched(view, WEB[0], NODES, SERVICES), watched(view, WEB[1])
    view.apply(NodeHealthChanged(A, is_alive=False))
    assert (rows, checks) == ([], ["woken"])


def test_a_moved_node_wakes_the_rows_of_its_services() -> None:
    view = view_of(web_on_a())
    calls = watched(view, WEB[0])
    view.apply(changed(OwnNode(A), node("a", "10.0.0.7")))
    assert calls == ["woken"]


def test_a_watch_of_a_service_that_is_not_there_is_woken_by_its_first_instance() -> None:
    view = view_of(web_on_a())
    before = view.topic_index([service_topic("db")])
    calls = watched(view, service_topic("db"))
    view.apply(changed(OwnNode(A), ServiceRecord(id="1", name="DB")))
    assert calls == ["woken"]
    assert view.topic_index([service_topic("db")]) > before


def test_the_topic_of_a_service_that_went_has_a_higher_index_than_before() -> None:
    view = view_of(web_on_a())
    before = view.topic_index(WEB)
    calls = watched(view, *WEB)
    view.apply(removed(OwnNode(A), Kind.SERVICE, "web-1"))
    assert calls == ["woken"]
    assert view.topic_index(WEB) > before


def test_the_topics_of_a_node_that_went_have_a_higher_index_than_before() -> None:
    view = view_of(web_on_a())
    topics = [node_topic("a"), node_checks_topic("a"), NODES, CHECKS]
    before = [view.topic_index([topic]) for topic in topics]
    calls = [watched(view, topic) for topic in topics]
    view.apply(NodeUnbound(A))
    assert calls == [["woken"]] * 4
    assert all(view.topic_index([topic]) > old for topic, old in zip(topics, before, strict=True))


def test_new_tags_wake_the_list_of_services_but_a_new_port_does_not() -> None:
    view = view_of(web_on_a())
    calls = watched(view, SERVICES)
    view.apply(changed(OwnNode(A), ServiceRecord(id="web-1", name="Web", port=80)))
    assert calls == []
    view.apply(changed(OwnNode(A), ServiceRecord(id="web-1", name="Web", port=80, tags=("x",))))
    assert calls == ["woken"]


def test_a_woken_watch_sees_the_finished_change() -> None:
    view = view_of(web_on_a())
    seen: list[tuple[int, int]] = []
    topic = service_topic("web")
    view.watch([topic], lambda: seen.append((len(view.service("web")), view.topic_index([topic]))))
    view.apply(NodeUnbound(A))
    assert seen == [(0, view.index)]


def test_a_watch_may_be_renewed_while_it_is_woken() -> None:
    view = view_of(web_on_a())
    calls: list[int] = []

    def again() -> None:
        calls.append(view.index)
        view.watch([NODES], again)

    view.watch([NODES], again)
    view.apply(NodeUnbound(A))
    view.apply(web_on_a()[2])
    assert calls == [view.index - 1, view.index]
