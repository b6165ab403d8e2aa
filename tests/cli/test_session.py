"""Sessions by the command line."""

import json

import pytest

from tests.cli.conftest import Run, StubApi

ID = "06cf3a50-21a3-4a4b-8ef3-00cf1a32103c"
SESSION = {
    "ID": ID, "Name": "job", "Node": "n1", "LockDelay": 15_000_000_000, "Behavior": "release",
    "TTL": "10s", "NodeChecks": ["serfHealth"], "ServiceChecks": [{"ID": "c", "Namespace": ""}],
    "CreateIndex": 5, "ModifyIndex": 6,
}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "body"),
    [
        ((), {}),
        (("-name=job", "-node=n1"), {"Name": "job", "Node": "n1"}),
        # Time ends it, so a node that is taken for dead by mistake does not.
        (("-ttl=10s",), {"TTL": "10s", "NodeChecks": []}),
        (("-ttl=10s", "-check=a", "-check=b"), {"TTL": "10s", "NodeChecks": ["a", "b"]}),
        (("-behavior=delete", "-lock-delay=0s"), {"Behavior": "delete", "LockDelay": "0s"}),
    ],
)
def test_create(run: Run, api: StubApi, args: tuple[str, ...], body: dict[str, object]) -> None:
    api.answer("/v1/session/create", {"ID": ID})
    result = run("session", "create", *args)
    assert (result.status, result.out, result.err) == (0, f"{ID}\n", "")
    assert api.requests[0].body == body


def test_renew_and_destroy(run: Run, api: StubApi) -> None:
    api.answer(f"/v1/session/renew/{ID}", [SESSION])
    api.answer(f"/v1/session/destroy/{ID}", True)
    assert run("session", "renew", ID).out == f"Success! Renewed session: {ID}\n"
    assert run("session", "destroy", ID).out == f"Success! Destroyed session: {ID}\n"


def test_a_session_that_is_over(run: Run, api: StubApi) -> None:
    api.answer(f"/v1/session/renew/{ID}", f"Session id '{ID}' not found", status=404)
    api.answer(f"/v1/session/info/{ID}", [])
    result = run("session", "renew", ID)
    assert (result.status, result.out) == (1, "")
    text = f"Unexpected response code: 404 (Session id '{ID}' not found)"
    assert result.err == f"Error renewing session: {text}\n"
    assert run("session", "info", ID).status == 1


def test_info_and_list(run: Run, api: StubApi) -> None:
    api.answer(f"/v1/session/info/{ID}", [SESSION])
    api.answer("/v1/session/list", [SESSION])
    api.answer("/v1/session/node/n1", [])
    assert "LockDelay    15s\nChecks       serfHealth, c\n" in run("session", "info", ID).out
    assert run("session", "list").out.splitlines()[1].split() == [
        ID, "job", "n1", "10s", "release", "serfHealth,c",
    ]  # fmt: skip
    assert json.loads(run("session", "list", "-format=json").out) == [SESSION]
    assert run("session", "list", "-node=n1").status == 0


@pytest.mark.parametrize("command", ["info", "renew", "destroy"])
def test_an_id_is_needed(run: Run, api: StubApi, command: str) -> None:
    result = run("session", command)
    assert (result.status, result.err) == (1, "Missing ID argument\n")
