"""`/v1/event/...`"""

import asyncio
from uuid import UUID

import pytest

from .fakes import Answer, Client, FakeAgent, run


async def fire(client: Client, path: str, payload: bytes = b"") -> Answer:
    return await client.call("PUT", f"/v1/event/fire/{path}", data=payload)


def test_a_fired_event_is_answered_and_listed() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await fire(client, "deploy?node=n1", b"payload")
        assert answer.status == 200
        event_id = answer.json["ID"]
        assert str(UUID(event_id)) == event_id
        expected = {
            "ID": event_id,
            "Name": "deploy",
            "Payload": "cGF5bG9hZA==",
            "NodeFilter": "n1",
            "ServiceFilter": "",
            "TagFilter": "",
            "Version": 1,
            "LTime": 1,
        }
        assert answer.json == expected
        assert (await client.get("/v1/event/list")).json == [expected]

    run(scenario)


def test_an_event_for_other_nodes_is_not_listed_here() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await fire(client, "deploy?node=other")
        assert (await client.get("/v1/event/list")).json == []

    run(scenario)


def test_without_a_payload_there_is_none() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await fire(client, "x")).json["Payload"] is None

    run(scenario)


def test_the_list_is_by_name_in_order_of_arrival() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for name in ("a", "b", "a"):
            await fire(client, name)
        listed = (await client.get("/v1/event/list?name=a")).json
        assert [(event["Name"], event["LTime"]) for event in listed] == [("a", 1), ("a", 3)]
        empty = await client.get("/v1/event/list?name=c")
        assert (empty.json, empty.index) == ([], 1)

    run(scenario)


def test_a_blocking_query_waits_for_an_event_of_its_name() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await fire(client, "a")
        index = (await client.get("/v1/event/list?name=a")).index
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, lambda: agent.events.fire("b", b""))
        loop.call_later(0.10, lambda: agent.events.fire("a", b"second"))
        answer = await client.get(f"/v1/event/list?name=a&index={index}&wait=5s")
        assert [event["LTime"] for event in answer.json] == [1, 3]
        assert answer.index != index

    run(scenario)


def test_an_index_of_another_list_is_answered_at_once() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await fire(client, "a")
        async with asyncio.timeout(2):
            assert len((await client.get("/v1/event/list?index=12345&wait=60s")).json) == 1

    run(scenario)


def test_a_blocking_query_ends_when_its_time_is_over() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/event/list?index=1&wait=50ms")
        assert (answer.json, answer.index) == ([], 1)

    run(scenario)


@pytest.mark.parametrize(
    ("path", "payload", "status", "text"),
    [
        ("", b"", 400, "Missing name"),
        ("x?tag=a", b"", 500, "Cannot provide tag filter without service filter"),
        ("x?node=(", b"", 500, "Invalid node filter: error parsing regexp"),
        ("x?dc=other", b"", 500, "No path to datacenter"),
        ("x", b"p" * 600, 500, "user event exceeds the limit of 512 bytes"),
        ("x", b"p" * 600_000, 413, "too large, max size"),
    ],
)
def test_refusals(path: str, payload: bytes, status: int, text: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await fire(client, path, payload)
        assert answer.status == status
        assert text in answer.text

    run(scenario)
