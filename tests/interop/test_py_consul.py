"""PyPI's `py-consul`, whose calls about agent, catalog and health are made against an agent."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import PATIENCE_S, Svcmesh, ended_afterwards, wait_until

consul = pytest.importorskip("consul", reason="py-consul is not installed")

pytestmark = pytest.mark.interop

ADDRESS = "127.0.41.2"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Svcmesh]:
    folder: Path = tmp_path_factory.mktemp("py-consul")
    subject = Svcmesh("n1", ADDRESS, folder, "-server", "-bootstrap-expect=1")
    with ended_afterwards(subject):
        subject.wait_until_up()
        wait_until(lambda: subject.http("/v1/status/leader"), what="a leader")
        yield subject


@pytest.fixture
def client(agent: Svcmesh) -> Iterator[Any]:
    with consul.Consul(host=agent.address, port=8500) as subject:
        yield subject
        for service_id in subject.agent.services():
            subject.agent.service.deregister(service_id)
        for check_id in subject.agent.checks():
            subject.agent.check.deregister(check_id)


def test_agent_self_and_members(client: Any) -> None:  # noqa: ANN401  # py-consul has no types
    assert client.agent.self()["Config"]["NodeName"] == "n1"
    assert [member["Name"] for member in client.agent.members()] == ["n1"]
    assert [member["Name"] for member in client.agent.members(wan=True)] == ["n1.dc1"]
    assert client.agent.reload() is True
    assert client.agent.join(ADDRESS) is True


def test_a_service_of_the_agent_with_all_that_can_be_said_of_it(client: Any) -> None:  # noqa: ANN401
    assert client.agent.service.register(
        "web", service_id="web-1", address="10.0.0.5", port=8080, tags=["a", "b"],
        meta={"k": "v"}, weights={"Passing": 10, "Warning": 1}, enable_tag_override=True,
    )  # fmt: skip
    (found,) = client.agent.services().values()
    assert (found["ID"], found["Service"], found["Port"]) == ("web-1", "web", 8080)
    assert (found["Tags"], found["Meta"]) == (["a", "b"], {"k": "v"})
    assert client.agent.service_definition("web-1")["Address"] == "10.0.0.5"
    assert client.agent.services(filter_expr='Service == "db"') == {}
    assert client.agent.service.deregister("web-1") is True
    assert client.agent.services() == {}


def test_a_ttl_check_is_fed_and_seen_in_health(client: Any) -> None:  # noqa: ANN401
    client.agent.service.register("web", check=consul.Check.ttl("20s"))
    (check,) = client.agent.checks().values()
    check_id = check["CheckID"]
    for feed, status in (
        (client.agent.check.ttl_pass, "passing"),
        (client.agent.check.ttl_warn, "warning"),
        (client.agent.check.ttl_fail, "critical"),
    ):
        assert feed(check_id, notes=f"now {status}") is True
        assert client.agent.checks()[check_id]["Status"] == status
        _, checks = client.health.checks("web")
        assert [one["Status"] for one in checks] == [status]
    _, entries = client.health.service("web", passing=True)
    assert entries == []


def test_checks_of_their_own_are_registered_and_run(client: Any) -> None:  # noqa: ANN401
    url = f"http://{ADDRESS}:8500/v1/status/leader"
    assert client.agent.check.register("api", check=consul.Check.http(url, "100ms"), check_id="api")
    assert client.agent.check.register("dns", check=consul.Check.tcp(ADDRESS, 8600, "100ms"))
    wait_until(
        lambda: {one["Status"] for one in client.agent.checks().values()} == {"passing"},
        what="both checks pass",
    )
    assert client.agent.check.deregister("api") is True
    assert set(client.agent.checks()) == {"dns"}


def test_maintenance_of_a_service_and_of_the_node(client: Any) -> None:  # noqa: ANN401
    client.agent.service.register("web")
    for set_maintenance in (
        lambda on: client.agent.service.maintenance("web", on, "why"),
        lambda on: client.agent.maintenance(on, "why"),
    ):
        assert set_maintenance(True) is True
        assert client.health.service("web", passing=True)[1] == []
        assert [one["Notes"] for one in client.agent.checks().values()] == ["why"]
        assert set_maintenance(False) is True
        assert len(client.health.service("web", passing=True)[1]) == 1


def test_the_catalog_lists_nodes_and_services(client: Any) -> None:  # noqa: ANN401
    client.agent.service.register("web", service_id="web-1", tags=["a"], port=80)
    client.agent.service.register("web", service_id="web-2", tags=["b"], port=81)
    assert client.catalog.datacenters() == ["dc1"]
    index, nodes = client.catalog.nodes()
    assert [node["Node"] for node in nodes] == ["n1"]
    assert int(index) > 0
    assert client.catalog.nodes(near="_agent")[1] == nodes
    assert client.catalog.nodes(node_meta={"no": "such"})[1] == []
    assert client.catalog.services()[1]["web"] == ["a", "b"]
    _, node = client.catalog.node("n1")
    assert {"web-1", "web-2"} <= set(node["Services"])
    assert client.catalog.node("nobody")[1] is None
    _, tagged = client.catalog.service("web", tag="b")
    assert [one["ServiceID"] for one in tagged] == ["web-2"]
    _, consistent = client.catalog.service("web", consistency="consistent")
    assert len(consistent) == 2


def test_a_node_without_an_agent_is_registered_and_taken_away(client: Any) -> None:  # noqa: ANN401
    service = {"Service": "ext", "ID": "ext-1", "Port": 5}
    check = {"Node": "out", "CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "ext-1"}
    assert client.catalog.register("out", "10.9.9.9", service=service, check=check) is True
    _, (entry,) = client.health.service("ext")
    assert (entry["Node"]["Address"], entry["Checks"][0]["Status"]) == ("10.9.9.9", "passing")
    assert client.catalog.deregister("out", service_id="ext-1") is True
    assert client.health.service("ext")[1] == []
    assert client.catalog.deregister("out") is True
    assert [node["Node"] for node in client.catalog.nodes()[1]] == ["n1"]


def test_health_of_nodes_and_states(client: Any) -> None:  # noqa: ANN401
    _, checks = client.health.node("n1")
    assert [one["CheckID"] for one in checks] == ["serfHealth"]
    client.agent.check.register("ttl", check=consul.Check.ttl("20s"))
    assert [one["Name"] for one in client.health.state("critical")[1]] == ["ttl"]
    assert [one["CheckID"] for one in client.health.state("passing")[1]] == ["serfHealth"]
    assert len(client.health.state("any")[1]) == 2


def test_a_blocking_query_returns_with_the_change(client: Any, agent: Svcmesh) -> None:  # noqa: ANN401
    index, entries = client.health.service("late")
    assert entries == []
    timer = threading.Timer(0.2, lambda: agent.register(Name="late", Port=1))
    timer.start()
    started_at = time.monotonic()
    new_index, entries = client.health.service("late", index=index, wait="120s")
    took_s = time.monotonic() - started_at
    timer.join()
    assert len(entries) == 1
    assert int(new_index) > int(index)
    assert took_s < PATIENCE_S


def test_a_blocking_query_returns_without_a_change_when_the_wait_is_over(client: Any) -> None:  # noqa: ANN401
    def took_s() -> float | None:
        index, _ = client.catalog.services()
        started_at = time.monotonic()
        new_index, _ = client.catalog.services(index=index, wait="300ms")
        return time.monotonic() - started_at if new_index == index else None

    # The agent may have something to change of its own.
    quiet = (found for _ in range(100) if (found := took_s()) is not None)
    assert 0.25 < next(quiet) < PATIENCE_S


def test_errors_are_the_ones_it_knows(client: Any) -> None:  # noqa: ANN401
    with pytest.raises(consul.ConsulException):
        client.agent.check.ttl_pass("no-such-check")
    with pytest.raises(consul.ConsulException, match="No path to datacenter"):
        client.catalog.nodes(dc="elsewhere")
    with pytest.raises(consul.ConsulException):
        client.catalog.nodes(filter_expr="no ( expression")


def test_events_coordinates_and_status(client: Any) -> None:  # noqa: ANN401
    event = client.event.fire("deploy", body="now")
    _, events = client.event.list("deploy")
    assert [(one["ID"], one["Payload"]) for one in events] == [(event["ID"], b"now")]
    assert [one["Node"] for one in client.coordinate.nodes()[1]] in ([], ["n1"])
    assert client.status.leader() == f"{ADDRESS}:8300"
    assert client.status.peers() == [f"{ADDRESS}:8300"]
