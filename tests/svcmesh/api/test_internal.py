"""`/v1/internal/ui/...`; expected bodies are Consul 1.8's."""

from urllib.parse import quote

import pytest

from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import CheckRecord, NodeRecord, ServiceRecord
from tests.svcmesh.api.fakes import Client, FakeAgent, run


def with_web() -> FakeAgent:
    agent = FakeAgent()
    owner = ExternalNode("fx")
    agent.change(owner, NodeRecord(name="fx", address="10.1.1.1", datacenter="dc1"))
    agent.change(owner, ServiceRecord(id="s1", name="web", tags=("x", "y")))
    agent.change(owner, ServiceRecord(id="s2", name="web", tags=("y", "z")))
    agent.change(owner, CheckRecord(id="c1", name="c1", status="critical", service_id="s1"))
    agent.change(owner, CheckRecord(id="c2", name="c2", status="passing"))
    return agent


def test_services_are_summed_up_and_a_nodes_check_counts_for_each_instance() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/internal/ui/services")
        assert answer.json == [
            {
                "Name": "web", "Tags": ["x", "y", "z"], "Nodes": ["fx", "fx"], "InstanceCount": 2,
                "ChecksPassing": 2, "ChecksWarning": 0, "ChecksCritical": 1,
                "ExternalSources": None, "GatewayConfig": {},
            }
        ]  # fmt: skip
        assert answer.index > 0

    run(scenario, with_web())


def test_nodes_come_with_services_and_checks() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        first, second = (await client.get("/v1/internal/ui/nodes")).json
        assert (first["Node"], len(first["Services"]), len(first["Checks"])) == ("fx", 2, 2)
        assert (second["Node"], second["Checks"][0]["CheckID"]) == ("n1", "serfHealth")
        assert (await client.get("/v1/internal/ui/node/FX")).json == first

    run(scenario, with_web())


def test_an_unknown_node_is_not_found() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/internal/ui/node/none")).status == 404
        assert (await client.get("/v1/internal/ui/node/")).status == 400

    run(scenario)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("Services.Tags contains z", ["fx"]),
        ("Services is empty", ["n1"]),
        ("Checks.Status == critical", ["fx"]),
        ("Meta is not empty", ["n1"]),
    ],
)
def test_nodes_are_chosen_by_their_services_and_checks(expression: str, names: list[str]) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get(f"/v1/internal/ui/nodes?filter={quote(expression)}")
        assert [node["Node"] for node in answer.json] == names

    run(scenario, with_web())


def test_a_service_without_an_instance_that_is_chosen_is_not_shown() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        path = "/v1/internal/ui/services?filter="
        (web,) = (await client.get(path + quote("Service.Tags contains z"))).json
        assert (web["Name"], web["InstanceCount"]) == ("web", 1)
        assert (await client.get(path + quote("Service.Tags contains none"))).json == []

    run(scenario, with_web())
