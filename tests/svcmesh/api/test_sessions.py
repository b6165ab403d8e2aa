"""`/v1/session`: what a session is made of, and what is refused."""

from dataclasses import replace

import pytest

from svcmesh.catalog.changes import OwnNode
from svcmesh.catalog.records import CheckRecord, NodeId
from tests.svcmesh.api.fakes import NODE_ID, Client, FakeAgent, config, run


def test_a_session_is_made_renewed_and_ended() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        made = await client.put("/v1/session/create", json={"Name": "s", "TTL": "30s"})
        session_id = made.json["ID"]
        (shown,) = (await client.get(f"/v1/session/info/{session_id}")).json
        assert (shown["Node"], shown["NodeChecks"], shown["LockDelay"]) == (
            "n1", ["serfHealth"], 15_000_000_000,
        )  # fmt: skip
        assert (await client.put(f"/v1/kv/l?acquire={session_id}", data=b"")).json is True
        assert (await client.put(f"/v1/session/renew/{session_id}")).status == 200
        assert agent.store.renewed == [session_id]
        assert (await client.put(f"/v1/session/destroy/{session_id}")).json is True
        (entry,) = (await client.get("/v1/kv/l")).json
        assert "Session" not in entry
        assert (await client.put(f"/v1/session/renew/{session_id}")).status == 404

    run(scenario)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"TTL": "9s"}, 500),
        ({"TTL": "25h"}, 500),
        ({"TTL": "soon"}, 500),
        ({"Behavior": "explode"}, 500),
        ({"Node": "nobody"}, 500),
        ({"Checks": ["nothing"]}, 500),
        ({"LockDelay": "soon"}, 400),
        ({"Name": 1}, 400),
        ({"NodeChecks": "serfHealth"}, 400),
        ([], 400),
        ({"Node": ""}, 500),
        ({"ID": 1}, 400),
        ({"ServiceChecks": True}, 400),
        ({"ServiceChecks": "web"}, 400),
        ({"ServiceChecks": ["web"]}, 400),
        ({"ServiceChecks": [{"ID": "nothing"}]}, 500),
        ({"LockDelay": 2**70}, 400),
    ],
)
def test_a_session_that_consul_refuses_is_refused(body: object, status: int) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.put("/v1/session/create", json=body)).status == status
        assert len(agent.store.state.sessions) == 0

    run(scenario)


@pytest.mark.parametrize(
    ("body", "bound", "older"),
    [
        ({}, ["serfHealth"], None),
        ({"NodeChecks": ["mem"]}, ["mem"], None),
        ({"NodeChecks": []}, [], None),
        ({"NodeChecks": None}, [], None),
        ({"Checks": []}, [], None),
        ({"Checks": None}, [], None),
        ({"Checks": ["mem"]}, ["serfHealth"], ["mem"]),
        ({"Checks": ["serfHealth"]}, ["serfHealth"], None),
        ({"Checks": ["mem", "serfHealth"]}, ["serfHealth"], ["mem", "serfHealth"]),
        ({"NodeChecks": ["mem"], "Checks": ["serfHealth"]}, ["mem"], None),
        ({"NodeChecks": ["mem"], "Checks": ["disk"]}, ["mem"], ["disk"]),
        ({"NodeChecks": ["mem"], "Checks": []}, [], None),
        ({"NodeChecks": [], "Checks": ["mem"]}, [], None),
    ],
)
def test_checks_that_end_a_session_are_read_and_shown_in_the_two_fields_of_consul(
    body: object, bound: list[str], older: list[str] | None
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for name in ("mem", "disk"):
            check = CheckRecord(id=name, name=name, status="passing")
            agent.change(OwnNode(NodeId(NODE_ID)), check)
        made = await client.put("/v1/session/create", json=body)
        (shown,) = (await client.get(f"/v1/session/info/{made.json['ID']}")).json
        assert (shown["NodeChecks"], shown.get("Checks")) == (bound, older)

    run(scenario)


@pytest.mark.parametrize(
    ("given", "delay_ns"),
    [("1m", 60 * 10**9), (5, 5 * 10**9), (1.9, 10**9), (999, 999 * 10**9), (1000, 1000), ([], 0)],
)
def test_a_lock_delay_is_text_or_seconds_or_nanoseconds(given: object, delay_ns: int) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        made = await client.put("/v1/session/create", json={"LockDelay": given})
        (shown,) = (await client.get(f"/v1/session/info/{made.json['ID']}")).json
        assert shown["LockDelay"] == delay_ns

    run(scenario)


def test_a_session_needs_no_body_but_blanks_are_none() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.put("/v1/session/create")).status == 200
        answer = await client.put("/v1/session/create", data=b" ")
        assert (answer.status, answer.text) == (400, "Request decode failed: EOF")

    run(scenario)


def test_the_shortest_ttl_is_a_setting() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.put("/v1/session/create", json={"TTL": "20s"})).status == 200
        answer = await client.put("/v1/session/create", json={"TTL": "19s"})
        text = "Invalid Session TTL '19000000000', must be between [20s=24h0m0s]"
        assert (answer.status, answer.text) == (500, text)

    run(scenario, FakeAgent(config=replace(config(), session_ttl_min_s=20.0)))


@pytest.mark.parametrize("query", ["index=x", "wait=x", "ns=team"])
def test_a_renewal_with_options_that_make_no_sense_is_refused(query: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        session_id = (await client.put("/v1/session/create")).json["ID"]
        assert (await client.put(f"/v1/session/renew/{session_id}?{query}")).status == 400
        assert agent.store.renewed == []

    run(scenario)
