"""`/v1/operator/keyring`, `/v1/agent/force-leave/` and `/v1/agent/monitor`."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from gossip import KeyOperation, KeyReport, MemberName, TooLargeError
from svcmesh.config import load_config

from .fakes import Client, FakeAgent, FakePool, run, serving

KEY, KEY_TEXT = b"k" * 16, "a2tra2tra2tra2tra2traw=="
N1, N2 = MemberName("n1"), MemberName("n2")


def test_keys_are_listed_with_the_number_of_members_that_have_them() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.pool.report = KeyReport(
            2, answers=2, keys_of={N1: ("a", "b"), N2: ("a",)}, primary_keys={"a": 2}
        )
        answer = await client.get("/v1/operator/keyring?relay-factor=3&local-only=true")
        assert answer.json == [
            {
                "WAN": False,
                "Datacenter": "dc1",
                "Segment": "",
                "Keys": {"a": 2, "b": 1},
                "PrimaryKeys": {"a": 2},
                "NumNodes": 2,
            }
        ]
        assert agent.pool.asked == [(KeyOperation.LIST, b"", 3)]

    run(scenario)


@pytest.mark.parametrize(
    ("method", "operation"),
    [
        ("POST", KeyOperation.INSTALL),
        ("PUT", KeyOperation.USE),
        ("DELETE", KeyOperation.REMOVE),
    ],
)
def test_each_method_is_an_operation(method: str, operation: KeyOperation) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.call(method, "/v1/operator/keyring", json={"Key": KEY_TEXT})
        assert (answer.status, answer.body) == (200, b"")
        assert agent.pool.asked == [(operation, KEY, 0)]

    run(scenario)


def test_members_that_fail_are_named() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.pool.report = KeyReport(3, answers=3, failures={N2: "no keyring"})
        answer = await client.call("POST", "/v1/operator/keyring", json={"Key": KEY_TEXT})
        assert answer.status == 500
        assert answer.text == (
            "2 errors occurred:\n\t* dc1 (LAN) error: 1/3 nodes reported failure\n"
            "\t* n2: no keyring\n\n"
        )

    run(scenario)


def test_members_of_both_pools_that_fail_are_listed_together() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        report = KeyReport(1, answers=1, failures={MemberName("n1.dc1"): "no keyring"})
        agent.wan.pool = FakePool(report=report)
        agent.pool.report = KeyReport(1, answers=1, failures={N1: "no keyring"})
        answer = await client.get("/v1/operator/keyring")
        assert answer.status == 500
        assert answer.text == (
            "4 errors occurred:\n\t* WAN error: 1/1 nodes reported failure\n"
            "\t* n1.dc1: no keyring\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n"
            "\t* n1: no keyring\n\n"
        )

    run(scenario)


def test_members_that_are_silent_are_counted() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.pool.report = KeyReport(3, answers=2)
        answer = await client.get("/v1/operator/keyring")
        assert answer.status == 500
        assert "2/3 nodes reported success" in answer.text

    run(scenario)


@pytest.mark.parametrize(
    ("method", "query", "body", "status", "text"),
    [
        ("GET", "?relay-factor=9", b"", 400, "Relay factor must be in range: [0, 5]"),
        ("GET", "?relay-factor=z", b"", 400, "Error parsing relay factor"),
        ("GET", "?local-only=zz", b"", 400, "Error parsing local-only"),
        ("POST", "?local-only=true", b'{"Key":""}', 400, "can only be set for list requests"),
        ("PUT", "", b"x", 400, "Request decode failed"),
        ("PUT", "", b'{"Key":"abc"}', 500, "base64"),
        ("PATCH", "", b"", 405, "not allowed"),
    ],
)
def test_refusals(method: str, query: str, body: bytes, status: int, text: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.call(method, f"/v1/operator/keyring{query}", data=body)
        assert answer.status == status
        assert text in answer.text
        assert agent.pool.asked == []

    run(scenario)


def test_a_key_that_no_query_carries_is_refused_in_words() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.pool.failure = TooLargeError("query exceeds the limit of 1024 bytes")
        answer = await client.call("POST", "/v1/operator/keyring", json={"Key": KEY_TEXT})
        assert (answer.status, answer.text) == (500, "query exceeds the limit of 1024 bytes")

    run(scenario)


def test_a_member_is_forced_to_leave() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.put("/v1/agent/force-leave/n1")).status == 200
        assert (await client.put("/v1/agent/force-leave/n1?prune")).status == 200
        assert agent.pool.left == [("n1", False), ("n1", True)]
        answer = await client.put("/v1/agent/force-leave/nobody")
        assert (answer.status, answer.text) == (500, "agent: No node found with name 'nobody'")

    run(scenario)


def test_a_server_is_forced_to_leave_both_pools() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.wan.pool = FakePool("n1.dc1")
        assert (await client.put("/v1/agent/force-leave/n1")).status == 200
        assert (agent.pool.left, agent.wan.pool.left) == ([("n1", False)], [("n1.dc1", False)])
        assert (await client.put("/v1/agent/force-leave/n1.dc1?prune")).status == 200
        assert (await client.put("/v1/agent/force-leave/n1?wan")).status == 200
        assert agent.pool.left == [("n1", False)]
        assert agent.wan.pool.left[1:] == [("n1.dc1", True), ("n1.dc1", False)]
        assert (await client.put("/v1/agent/force-leave/n2")).status == 500

    run(scenario)


def test_the_keys_of_both_pools_are_listed_the_wans_first() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.wan.pool = FakePool(report=KeyReport(3, answers=3, keys_of={N1: ("a",)}))
        rings = (await client.get("/v1/operator/keyring")).json
        assert [(ring["WAN"], ring["NumNodes"]) for ring in rings] == [(True, 3), (False, 1)]
        rings = (await client.get("/v1/operator/keyring?local-only=1")).json
        assert [ring["WAN"] for ring in rings] == [False]

    run(scenario)


@pytest.mark.parametrize(
    ("encrypt_wan", "query", "changed"),
    [
        (None, "", ("wan", "lan")),
        (KEY_TEXT, "", ("lan",)),
        (KEY_TEXT, "?wan", ("wan",)),
    ],
)
def test_a_key_is_changed_where_it_is_used(
    encrypt_wan: str | None, query: str, changed: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({"encrypt_wan": encrypt_wan or ""}))

    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.wan.pool = FakePool()
        path = f"/v1/operator/keyring{query}"
        assert (await client.call("POST", path, json={"Key": KEY_TEXT})).status == 200
        asked = {"lan": agent.pool.asked, "wan": agent.wan.pool.asked}
        assert {name for name, one in asked.items() if one} == set(changed)

    run(scenario, FakeAgent(config=load_config({"dev": True, "node": "n1"}, [path])))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is awaited has no event of its own
        await asyncio.sleep(0.001)


def test_the_log_is_streamed_until_the_client_hangs_up() -> None:
    async def scenario() -> None:
        root = logging.getLogger()
        before = len(root.handlers)
        async with (
            asyncio.timeout(60),
            serving(FakeAgent()) as client,
            aiohttp.ClientSession() as session,
            session.get(f"{client.base}/v1/agent/monitor?loglevel=warn") as response,
        ):
            assert response.status == 200
            await until(lambda: len(root.handlers) > before)
            logging.getLogger("agent.x").warning("something is up")
            line = await response.content.readline()
            assert line.endswith(b"[WARN]  agent.x: something is up\n")
            response.close()
            await until(lambda: len(root.handlers) == before)

    asyncio.run(scenario())


def test_an_unknown_log_level_is_refused() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/agent/monitor?loglevel=bogus")
        assert (answer.status, answer.text) == (400, "Bad request: Unknown log level: bogus")

    run(scenario)
