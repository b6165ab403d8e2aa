"""Texts are those of a recorded Consul 1.8.7, `state` and `transfer-leader` those of later ones."""

import json

import pytest

from tests.cli.conftest import Run, StubApi

CONFIG = {
    "CleanupDeadServers": True, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250,
    "MinQuorum": 0, "ServerStabilizationTime": "10s", "RedundancyZoneTag": "",
    "DisableUpgradeMigration": False, "UpgradeVersionTag": "", "CreateIndex": 4, "ModifyIndex": 9,
}  # fmt: skip
PATH = "/v1/operator/autopilot/configuration"


def test_list_peers(run: Run, api: StubApi) -> None:
    server = {
        "ID": "28b53884-2ecf-d465-dfa7-bc3b65402909", "Node": "cli-a", "Address": "127.0.0.1:8300",
        "Leader": True, "ProtocolVersion": "3", "Voter": True,
    }  # fmt: skip
    api.answer("/v1/operator/raft/configuration", {"Servers": [server], "Index": 0})
    result = run("operator", "raft", "list-peers", "-stale")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        "Node   ID                                    Address         State   Voter  RaftProtocol\n"
        "cli-a  28b53884-2ecf-d465-dfa7-bc3b65402909  127.0.0.1:8300  leader  true   3\n"
    )
    assert api.paths() == ["/v1/operator/raft/configuration?stale="]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "an address or id is required for the peer to remove"),
        (("-address=a", "-id=b"), "cannot give both an address and id"),
        (("-id=x",), 'Unexpected response code: 500 (id "x" was not found)'),
    ],
)
def test_a_peer_that_is_not_removed(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    api.answer("/v1/operator/raft/peer", 'id "x" was not found', status=500)
    result = run("operator", "raft", "remove-peer", *args)
    assert (result.status, result.out) == (1, "")
    assert result.err == f"Error removing peer: {text}\n"


def test_remove_peer(run: Run, api: StubApi) -> None:
    api.answer("/v1/operator/raft/peer", "")
    out = run("operator", "raft", "remove-peer", "-address=1.2.3.4:8300").out
    assert out == 'Removed peer with address "1.2.3.4:8300"\n'
    assert api.requests[0].method == "DELETE"
    assert api.paths() == ["/v1/operator/raft/peer?address=1.2.3.4%3A8300"]


def test_transfer_leader(run: Run, api: StubApi) -> None:
    api.answer("/v1/operator/raft/transfer-leader", {"Success": True})
    assert run("operator", "raft", "transfer-leader", "-id=x").out == "Success\n"
    assert api.paths() == ["/v1/operator/raft/transfer-leader?id=x"]
    api.answer("/v1/operator/raft/transfer-leader", {"Success": False})
    assert run("operator", "raft", "transfer-leader").status == 1


def test_get_config(run: Run, api: StubApi) -> None:
    api.answer(PATH, CONFIG)
    assert run("operator", "autopilot", "get-config").out == (
        "CleanupDeadServers = true\nLastContactThreshold = 200ms\nMaxTrailingLogs = 250\n"
        "MinQuorum = 0\nServerStabilizationTime = 10s\nRedundancyZoneTag = \"\"\n"
        "DisableUpgradeMigration = false\nUpgradeVersionTag = \"\"\n"
    )  # fmt: skip


def test_set_config_keeps_what_is_not_given_and_loses_no_change_of_others(
    run: Run, api: StubApi
) -> None:
    api.answer(PATH, CONFIG)
    api.then(PATH, True)
    result = run("operator", "autopilot", "set-config", "-min-quorum=3", "-max-trailing-logs=0")
    assert (result.status, result.out) == (0, "Configuration updated!\n")
    assert api.requests[1].path == f"{PATH}?cas=9"
    kept = {name: value for name, value in CONFIG.items() if not name.endswith("Index")}
    assert api.requests[1].body == {**kept, "MinQuorum": 3, "MaxTrailingLogs": 0}


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (
            "-cleanup-dead-servers=x",
            'invalid boolean value "x" for -cleanup-dead-servers: strconv.ParseBool: parsing "x": '
            "invalid syntax",
        ),
        (
            "-last-contact-threshold=x",
            'invalid value "x" for flag -last-contact-threshold: time: invalid duration "x"',
        ),
        (
            "-max-trailing-logs=-3",
            'invalid value "-3" for flag -max-trailing-logs: strconv.ParseUint: parsing "-3": '
            "invalid syntax",
        ),
    ],
)
def test_a_setting_of_another_type_is_refused(
    run: Run, api: StubApi, option: str, text: str
) -> None:
    result = run("operator", "autopilot", "set-config", option)
    assert result.status == 1
    assert result.err.startswith(text)
    assert api.requests == []


def test_a_config_that_somebody_else_has_changed_meanwhile(run: Run, api: StubApi) -> None:
    api.answer(PATH, CONFIG)
    api.then(PATH, False)
    result = run("operator", "autopilot", "set-config", "-min-quorum=3")
    assert result.status == 1
    assert "could not be atomically updated" in result.err


def test_state(run: Run, api: StubApi) -> None:
    server = {
        "ID": "s", "Name": "n", "Address": "127.0.0.1:8300", "NodeStatus": "alive",
        "Version": "1", "LastContact": "0s", "LastTerm": 2, "LastIndex": 7, "Healthy": True,
        "Status": "leader", "NodeType": "voter",
    }  # fmt: skip
    api.answer(
        "/v1/operator/autopilot/state",
        {"Healthy": True, "FailureTolerance": 1, "OptimisticFailureTolerance": 1, "Leader": "s",
         "Voters": ["s"], "Servers": {"s": server}},
    )  # fmt: skip
    out = run("operator", "autopilot", "state").out
    assert "Failure Tolerance:            1\n" in out
    assert "      Node Status:     alive\n" in out
    assert json.loads(run("operator", "autopilot", "state", "-format=json").out)["Leader"] == "s"
