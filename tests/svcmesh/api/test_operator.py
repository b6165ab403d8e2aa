"""The group of servers and autopilot over HTTP; texts are those of a recorded Consul 1.8.7."""

from urllib.parse import quote

import pytest

from svcmesh.consensus.service import NoLeaderError, StoreError
from tests.svcmesh.api.fakes import Client, FakeAgent, run

CONFIG = "/v1/operator/autopilot/configuration"


def test_the_configuration_is_asked_for_as_fresh_as_wanted() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.get("/v1/operator/raft/configuration")
        assert answer.json["Servers"][1] == {
            "ID": "b", "Node": "n-b", "Address": "127.0.0.9:8300", "Leader": False,
            "ProtocolVersion": "3", "Voter": False,
        }  # fmt: skip
        await client.get("/v1/operator/raft/configuration?stale")
        assert agent.store.operator.asked == [
            ("configuration", "default"), ("configuration", "stale"),
        ]  # fmt: skip
        agent.store.operator.failure = NoLeaderError()
        answer = await client.get("/v1/operator/raft/configuration")
        assert (answer.status, answer.text) == (500, "No cluster leader")

    run(scenario)


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        (
            "",
            400,
            "Bad request: Must specify either ?id with the server's ID or ?address with IP:port of "
            "peer to remove",
        ),
        ("?id=x&address=y", 400, "Bad request: Must specify only one of ?id or ?address"),
        ("?id=x", 500, 'id "x" was not found in the Raft configuration'),
    ],
)
def test_a_peer_that_is_not_removed(query: str, status: int, text: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.store.operator.failure = StoreError('id "x" was not found in the Raft configuration')
        answer = await client.call("DELETE", f"/v1/operator/raft/peer{query}")
        assert (answer.status, answer.text) == (status, text)

    run(scenario)


def test_a_peer_is_removed_and_leadership_handed_over() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        path = "/v1/operator/raft/peer?address=127.0.0.9:8300"
        assert (await client.call("DELETE", path)).status == 200
        assert agent.store.operator.asked == [("remove", "address", "127.0.0.9:8300")]
        answer = await client.put("/v1/operator/raft/transfer-leader?id=a")
        assert answer.json == {"Success": True}
        answer = await client.put("/v1/operator/raft/transfer-leader?id=b")
        assert answer.json == {"Success": False}

    run(scenario)


def test_health_is_429_with_an_ill_server_and_state_is_not() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/operator/autopilot/health")
        assert answer.status == 429
        ill = answer.json["Servers"][1]
        assert (ill["Healthy"], ill["LastContact"], ill["Leader"]) == (False, "1.5s", False)
        answer = await client.get("/v1/operator/autopilot/state")
        assert (answer.status, answer.json["Healthy"]) == (200, False)
        assert answer.json["Voters"] == ["a"]
        assert answer.json["Servers"]["b"]["Status"] == "non-voter"

    run(scenario)


def test_what_a_body_leaves_out_is_zero() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        body = {"minquorum": 2, "LastContactThreshold": 5_000_000, "RedundancyZoneTag": "z"}
        assert (await client.put(CONFIG, body)).json is True
        settings = (await client.get(CONFIG)).json
        assert {name: value for name, value in settings.items() if "Index" not in name} == {
            "CleanupDeadServers": False, "LastContactThreshold": "5ms", "MaxTrailingLogs": 0,
            "MinQuorum": 2, "ServerStabilizationTime": "0s", "RedundancyZoneTag": "z",
            "DisableUpgradeMigration": False, "UpgradeVersionTag": "",
        }  # fmt: skip
        index = settings["ModifyIndex"]
        assert (await client.put(f"{CONFIG}?cas={index + 1}", {})).json is False
        assert (await client.put(f"{CONFIG}?cas={index}", {})).json is True

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        {"Bogus": 1}, {"CleanupDeadServers": 1}, {"MaxTrailingLogs": -1}, {"MaxTrailingLogs": "3"},
        {"LastContactThreshold": "x"}, {"LastContactThreshold": True}, [],
    ],
)  # fmt: skip
def test_a_body_that_is_no_configuration_is_refused(body: object) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.put(CONFIG, body)).status == 400

    run(scenario)


@pytest.mark.parametrize("cas", ["x", "-1", "\u00b2", "18446744073709551616", "9" * 5000])
def test_an_index_that_is_none_is_refused(cas: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put(f"{CONFIG}?cas={quote(cas)}", {})
        assert answer.status == 400
        assert "Error parsing cas value: strconv.ParseUint" in answer.text

    run(scenario)


def test_settings_that_were_read_can_be_written_back() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        settings = (await client.get(CONFIG)).json
        assert "ModifyIndex" in settings
        settings["MaxTrailingLogs"] = 77
        path = f"{CONFIG}?cas={settings['ModifyIndex']}"
        assert (await client.put(path, json=settings)).json is True
        assert (await client.get(CONFIG)).json["MaxTrailingLogs"] == 77

    run(scenario)


@pytest.mark.parametrize("duration", [1, -1, 1.5, 1_099_511_627_776, "1ns", "-1s"])
def test_every_duration_that_is_taken_can_be_shown(duration: object) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.put(CONFIG, json={"LastContactThreshold": duration})).json is True
        assert (await client.get(CONFIG)).status == 200

    run(scenario)


@pytest.mark.parametrize(
    "path", ["/v1/operator/autopilot/health", "/v1/status/leader", "/v1/status/peers"]
)
@pytest.mark.parametrize("query", ["index=x", "stale&consistent", "consistent&max_stale=1s"])
def test_options_that_make_no_sense_are_refused(path: str, query: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get(f"{path}?{query}")).status == 400

    run(scenario)
