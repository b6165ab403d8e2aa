"""`/v1/coordinate/...`"""

import asyncio
from dataclasses import replace

import pytest

from gossip import Coordinate
from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import NodeRecord
from svcmesh.federation import DcPlace

from .fakes import Client, FakeAgent, config, run

COORD = {"Vec": [0.1, 0.2, 0, 0, 0, 0, 0, 0], "Error": 0.5, "Adjustment": 0.001, "Height": 0.002}
PLACE = Coordinate((0.1, 0.2, 0, 0, 0, 0, 0, 0), 0.5, 0.001, 0.002)


def external(agent: FakeAgent, name: str, where: Coordinate | None = None) -> None:
    record = NodeRecord(name=name, address="10.8.0.1", datacenter="dc1", coordinate=where)
    agent.change(ExternalNode(name), record)


def test_agents_and_external_nodes_are_listed_by_name() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        external(agent, "ext", PLACE)
        agent.agent_coordinates["n1"] = PLACE
        agent.coordinates.refresh()
        answer = await client.get("/v1/coordinate/nodes")
        assert answer.json == [
            {"Node": "ext", "Segment": "", "Coord": COORD},
            {"Node": "n1", "Segment": "", "Coord": COORD},
        ]
        answer = await client.get("/v1/coordinate/node/N1")
        assert answer.json == [{"Node": "n1", "Segment": "", "Coord": COORD}]
        answer = await client.get("/v1/agent/self")
        assert answer.json["Coord"] == COORD

    run(scenario)


def test_a_node_without_a_coordinate_is_not_found() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        external(agent, "ext")
        assert (await client.get("/v1/coordinate/node/ext")).status == 404
        assert (await client.get("/v1/coordinate/node/nobody")).status == 404
        assert (await client.get("/v1/coordinate/nodes")).json == []

    run(scenario)


def test_an_update_is_kept_exactly() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        external(agent, "ext")
        answer = await client.put("/v1/coordinate/update", {"Node": "ext", "Coord": COORD})
        assert (answer.status, answer.body) == (200, b"")
        answer = await client.get("/v1/coordinate/node/ext")
        assert answer.json == [{"Node": "ext", "Segment": "", "Coord": COORD}]

    run(scenario)


def test_registering_the_node_again_keeps_its_coordinate() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        external(agent, "ext", PLACE)
        await client.put("/v1/catalog/register", {"Node": "ext", "Address": "10.8.0.2"})
        assert (await client.get("/v1/coordinate/node/ext")).json[0]["Coord"] == COORD

    run(scenario)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"x", 400, "Request decode failed"),
        (b'{"Node": "ext"}', 400, "Coord"),
        (b'{"Node": "ext", "Coord": {"Vec": [0, 0]}}', 500, "incompatible coordinate"),
        (b'{"Node": "ext", "Coord": {"Vec": ["0"]}}', 400, "Coord.Vec"),
        (b'{"Node": "ext", "Coord": {"Vec": [1e300,0,0,0,0,0,0,0]}}', 500, "incompatible"),
        (b'{"Node": "n1", "Coord": {"Vec": [0,0,0,0,0,0,0,0]}}', 500, "has an agent"),
        (b'{"Node": "ext", "Segment": "s", "Coord": {"Vec": [0,0,0,0,0,0,0,0]}}', 500, "segments"),
        (b'{"Node": "nobody", "Coord": {"Vec": [0,0,0,0,0,0,0,0]}}', 200, ""),
    ],
)
def test_updates_are_checked(body: bytes, status: int, text: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        external(agent, "ext")
        answer = await client.put("/v1/coordinate/update", data=body)
        assert answer.status == status
        assert text in answer.text

    run(scenario)


def test_a_blocking_query_waits_for_the_next_picture() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        first = await client.get("/v1/coordinate/nodes")
        agent.agent_coordinates["n1"] = PLACE
        asyncio.get_running_loop().call_later(0.05, agent.coordinates.refresh)
        answer = await client.get(f"/v1/coordinate/nodes?index={first.index}&wait=5s")
        assert answer.json == [{"Node": "n1", "Segment": "", "Coord": COORD}]
        assert answer.index > first.index

    run(scenario)


def test_every_data_center_has_the_coordinates_of_its_servers() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.wan.found = [DcPlace("dc1", (("n1", PLACE),)), DcPlace("dc2", ())]
        answer = await client.get("/v1/coordinate/datacenters")
        entry = {"Node": "n1", "Segment": "", "Coord": COORD}
        assert answer.json == [
            {"Datacenter": "dc1", "AreaID": "wan", "Coordinates": [entry]},
            {"Datacenter": "dc2", "AreaID": "wan", "Coordinates": []},
        ]

    run(scenario)


def test_another_data_center_is_not_reached() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/coordinate/nodes?dc=other")).status == 500

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "nodes"), ("GET", "node/n1"), ("GET", "datacenters"), ("PUT", "update")],
)
def test_without_coordinates_every_endpoint_says_so(method: str, path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call(method, f"/v1/coordinate/{path}")
        assert (answer.status, answer.text) == (401, "Coordinate support disabled")

    run(scenario, FakeAgent(config=replace(config(), disable_coordinates=True)))


def test_no_node_is_in_a_network_segment() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.agent_coordinates["n1"] = Coordinate((0.0,) * 8, 1.0, 0.0, 0.0)
        agent.coordinates.refresh()
        assert len((await client.get("/v1/coordinate/nodes")).json) == 1
        assert (await client.get("/v1/coordinate/nodes?segment=s")).json == []
        assert (await client.get("/v1/coordinate/node/n1?segment=s")).status == 404

    run(scenario)
