"""`/v1/health/...` and `/v1/status/...`."""

import pytest

from svcmesh.catalog.changes import ExternalNode, NodeHealthChanged, OwnNode
from svcmesh.catalog.records import CheckRecord, NodeId, NodeRecord, ServiceRecord
from svcmesh.consensus.group import KnownServer, Presence
from svcmesh.consensus.raft import ServerId
from tests.svcmesh.api.fakes import NODE_ID, Client, FakeAgent, member, run

OWN = OwnNode(NodeId(NODE_ID))
STATES = ("passing", "warning", "critical")


def three_states() -> FakeAgent:
    """Three external nodes with one instance of `web` each, by the state of their check."""
    agent = FakeAgent()
    for state in STATES:
        owner = ExternalNode(state)
        agent.change(
            owner, NodeRecord(name=state, address="10.0.0.1", datacenter="dc1", meta={"s": state})
        )
        agent.change(owner, ServiceRecord(id="web", name="web", tags=("all", state)))
        agent.change(
            owner,
            CheckRecord(id="c", name="check", status=state, service_id="web", service_name="web"),
        )
    return agent


async def nodes(client: Client, path: str) -> list[str]:
    answer = await client.get(path)
    assert answer.status == 200
    return [row["Node"] if isinstance(row["Node"], str) else row["Node"]["Node"]
            for row in answer.json]  # fmt: skip


def test_an_instance_comes_with_node_and_checks() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.change(OWN, ServiceRecord(id="web-1", name="web", port=80))
        agent.change(
            OWN,
            CheckRecord(
                id="service:web-1",
                name="Service 'web' check",
                status="passing",
                output="ok",
                service_id="web-1",
                service_name="web",
                type="ttl",
            ),
        )
        assert (await client.get("/v1/health/service/web")).json == [
            {
                "Node": {
                    "ID": NODE_ID,
                    "Node": "n1",
                    "Address": "127.0.0.9",
                    "Datacenter": "dc1",
                    "TaggedAddresses": {"lan": "127.0.0.9"},
                    "Meta": {"consul-network-segment": ""},
                    "CreateIndex": 1001,
                    "ModifyIndex": 1001,
                },
                "Service": {
                    "ID": "web-1",
                    "Service": "web",
                    "Tags": [],
                    "Address": "",
                    "Meta": None,
                    "Port": 80,
                    "Weights": {"Passing": 1, "Warning": 1},
                    "EnableTagOverride": False,
                    "Proxy": {"MeshGateway": {}, "Expose": {}},
                    "Connect": {},
                    "CreateIndex": 1002,
                    "ModifyIndex": 1002,
                },
                "Checks": [
                    {
                        "Node": "n1",
                        "CheckID": "serfHealth",
                        "Name": "Serf Health Status",
                        "Status": "passing",
                        "Notes": "",
                        "Output": "Agent alive and reachable",
                        "ServiceID": "",
                        "ServiceName": "",
                        "ServiceTags": [],
                        "Type": "",
                        "Definition": {},
                        "CreateIndex": 1001,
                        "ModifyIndex": 1001,
                    },
                    {
                        "Node": "n1",
                        "CheckID": "service:web-1",
                        "Name": "Service 'web' check",
                        "Status": "passing",
                        "Notes": "",
                        "Output": "ok",
                        "ServiceID": "web-1",
                        "ServiceName": "web",
                        "ServiceTags": [],
                        "Type": "ttl",
                        "Definition": {},
                        "CreateIndex": 1003,
                        "ModifyIndex": 1003,
                    },
                ],
            }
        ]

    run(scenario)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["critical", "passing", "warning"]),
        ("?passing", ["passing"]),
        ("?passing=1", ["passing"]),
        ("?passing=false", ["critical", "passing", "warning"]),
        ("?tag=ALL&tag=warning", ["warning"]),
        ("?node-meta=s:critical", ["critical"]),
        ("?passing&tag=warning", []),
    ],
)
def test_instances_are_selected(query: str, expected: list[str]) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert await nodes(client, f"/v1/health/service/Web{query}") == expected

    run(scenario, three_states())


def test_a_failed_nodes_instances_are_not_passing() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.change(OWN, ServiceRecord(id="web-1", name="web"))
        assert await nodes(client, "/v1/health/service/web?passing") == ["n1"]
        agent.view.apply(NodeHealthChanged(NodeId(NODE_ID), is_alive=False))
        assert await nodes(client, "/v1/health/service/web?passing") == []
        (check,) = (await client.get("/v1/health/node/n1")).json
        assert (check["Status"], check["Output"]) == ("critical", "Agent not live or unreachable")

    run(scenario)


def test_checks_are_listed_by_service_node_and_state() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert sorted(await nodes(client, "/v1/health/checks/web")) == sorted(STATES)
        assert await nodes(client, "/v1/health/checks/web?node-meta=s:warning") == ["warning"]
        assert await nodes(client, "/v1/health/node/warning") == ["warning"]
        assert await nodes(client, "/v1/health/state/critical") == ["critical"]
        assert await nodes(client, "/v1/health/state/passing") == ["n1", "passing"]
        assert len(await nodes(client, "/v1/health/state/any")) == 4
        assert await nodes(client, "/v1/health/state/any?node-meta=s:passing") == ["passing"]
        assert await nodes(client, "/v1/health/state/excellent") == []

    run(scenario, three_states())


def test_there_are_no_proxies() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/health/connect/web")).json == []
        assert (await client.get("/v1/catalog/connect/web")).json == []

    run(scenario, three_states())


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("health/service/web?passing=banana", 400, "Invalid value for ?passing"),
        ("health/service/", 400, "Missing service name"),
        ("health/checks/", 400, "Missing service name"),
        ("health/node/", 400, "Missing node name"),
        ("health/state/", 400, "Missing check state"),
        ("catalog/node/", 400, "Missing node name"),
        ("catalog/service/", 400, "Missing service name"),
        ("health/service/web?dc=nowhere", 500, "No path to datacenter"),
        ("status/leader?dc=nowhere", 500, "No path to datacenter"),
    ],
)
def test_a_wrong_query_is_refused(path: str, status: int, text: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get(f"/v1/{path}")
        assert (answer.status, answer.text) == (status, text)

    run(scenario)


def test_the_leader_is_named_with_its_port() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.get("/v1/status/leader")).body == b'""'
        assert (await client.get("/v1/status/peers")).body == b"[]"
        agent.leader_address = "10.0.0.1:8300"
        assert (await client.get("/v1/status/leader")).body == b'"10.0.0.1:8300"'
        assert (await client.get("/v1/status/peers")).body == b'["10.0.0.1:8300"]'

    run(scenario)


def test_an_agent_that_is_no_server_asks_a_server_who_leads() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.table += [member("s1", id="one"), member("s2", id="two", port="8399")]
        agent.store.servers = [
            KnownServer(ServerId(name), name, ("127.0.0.9", 8300), 2, Presence.ALIVE)
            for name in ("one", "two")
        ]
        assert (await client.get("/v1/status/leader")).body == b'""'
        agent.store.leader = ServerId("two")
        assert (await client.get("/v1/status/leader")).body == b'"127.0.0.9:8399"'

    run(scenario)
