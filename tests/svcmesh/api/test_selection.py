"""`filter`, `near` and `node-meta`: which rows are listed, and in which order."""

import pytest

from gossip.wire.messages import Coordinate
from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import CheckRecord, NodeRecord, ServiceRecord
from tests.svcmesh.api.fakes import Client, FakeAgent, run

CANNOT = "Failed to create boolean expression evaluator: "


def place(x: float) -> Coordinate:
    return Coordinate((x, *[0.0] * 7), 1.5, 0.0, 1e-5)


def with_nodes() -> FakeAgent:
    """Nodes `a` to `d`, each with an instance of `web`; nobody knows where `d` is."""
    agent = FakeAgent()
    for name, x in (("a", 0.3), ("b", 0.1), ("c", 0.2), ("d", None)):
        owner = ExternalNode(name)
        record = NodeRecord(
            name=name,
            address="10.0.0.1",
            datacenter="dc1",
            meta={"even": "yes" if name in "bd" else "no"},
            coordinate=None if x is None else place(x),
        )
        agent.change(owner, record)
        agent.change(owner, ServiceRecord(id="w", name="web", port=ord(name), tags=(name,)))
        status = "passing" if name in "ab" else "critical"
        agent.change(owner, CheckRecord(id="c", name="c", status=status, service_id="w"))
    return agent


LISTS = ["catalog/nodes", "catalog/service/web", "health/service/web", "health/checks/web",
         "health/state/any"]  # fmt: skip


async def listed(client: Client, path: str) -> str:
    """The names of the nodes in a list, one after the other, without the agent's own."""
    answer = await client.get(f"/v1/{path}")
    assert answer.status == 200
    names = [row["Node"]["Node"] if "Service" in row else row["Node"] for row in answer.json]
    return "".join(name for name in names if name != "n1")


@pytest.mark.parametrize("path", LISTS)
def test_near_a_node_the_nearest_comes_first(path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert await listed(client, f"{path}?near=b") == "bcad"
        assert await listed(client, f"{path}?near=A") == "acbd"

    run(scenario, with_nodes())


@pytest.mark.parametrize("near", ["d", "nobody", "_agent"])
def test_near_where_nobody_knows_nothing_moves(near: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for path in LISTS:
            assert await listed(client, f"{path}?near={near}") == "abcd"

    run(scenario, with_nodes())


def test_near_follows_the_agents_own_place_without_waking_a_query() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for x, order in ((0.0, "bcad"), (0.4, "acbd")):
            agent.agent_coordinates = {"n1": place(x)}
            agent.coordinates.refresh()
            assert await listed(client, "catalog/service/web?near=_agent") == order
        first = await client.get("/v1/catalog/service/web?near=_agent")
        again = await client.get(
            f"/v1/catalog/service/web?near=_agent&index={first.index}&wait=20ms"
        )
        assert again.index == first.index

    run(scenario, with_nodes())


@pytest.mark.parametrize("path", LISTS)
def test_node_meta_chooses_nodes(path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert await listed(client, f"{path}?node-meta=even:yes") == "bd"
        assert await listed(client, f"{path}?node-meta=even:yes&node-meta=x:y") == ""

    run(scenario, with_nodes())


@pytest.mark.parametrize(
    ("path", "expression", "nodes"),
    [
        ("catalog/nodes", 'Meta.even+==+no', "ac"),
        ("catalog/service/web", "ServicePort+==+98", "b"),
        ("catalog/service/web", "NodeMeta.even+==+yes+and+d+in+ServiceTags", "d"),
        ("health/service/web", "Service.Port+==+98+or+Checks.Status+==+critical", "bcd"),
        ("health/checks/web", "Status+!=+passing", "cd"),
        ("health/state/any", "Node+matches+%22^[ab]$%22", "ab"),
        ("health/state/critical", "Node+==+d", "d"),
        ("health/node/c", "Status+==+critical", "c"),
        ("health/node/c", "Status+==+passing", ""),
    ],
)  # fmt: skip
def test_a_filter_chooses_rows(path: str, expression: str, nodes: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert await listed(client, f"{path}?filter={expression}") == nodes

    run(scenario, with_nodes())


def test_a_filter_of_one_node_chooses_its_services() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for path, none in (("node", {}), ("node-services", [])):
            answer = await client.get(f"/v1/catalog/{path}/a?filter=Service+==+db")
            assert (answer.json["Node"]["Node"], answer.json["Services"]) == ("a", none)
            answer = await client.get(f"/v1/catalog/{path}/a?filter=Service+==+web")
            assert len(answer.json["Services"]) == 1

    run(scenario, with_nodes())


@pytest.mark.parametrize("path", [*LISTS, "catalog/node/a", "catalog/connect/web",
                                  "health/connect/web", "health/node/none"])  # fmt: skip
def test_a_wrong_filter_is_a_server_error_as_in_consul(path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get(f"/v1/{path}?filter=Nope+==+1")
        assert (answer.status, answer.text) == (500, f'{CANNOT}Selector "Nope" is not valid')
        answer = await client.get(f"/v1/{path}?filter=Nope")
        assert answer.text.startswith(f"{CANNOT}1:5 (4): no match found")

    run(scenario, with_nodes())


def test_filter_and_passing_and_tag_hold_together() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        path = "health/service/web?passing&filter=Node.Meta.even+==+yes"
        assert await listed(client, path) == "b"
        assert await listed(client, f"{path}&tag=a") == ""

    run(scenario, with_nodes())
