"""Texts and the shape of results are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run, StubApi

NODES = "/v1/catalog/nodes"


@pytest.fixture(autouse=True)
def agent(api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.answer("/v1/agent/self", {"Config": {"NodeName": "n1"}})
    monkeypatch.setenv("SHELL", "/bin/sh")
    # The command takes them over; a test run keeps its own.
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("-type=bogus",), "Unsupported watch type: bogus"),
        (("-type=connect_leaf",), "Type connect_leaf is not supported in the CLI tool"),
        (("-type=service",), "Must specify a single service to watch"),
        (("-type=key",), "Must specify a single key to watch"),
        (("-type=keyprefix",), "Must specify a single prefix to watch"),
        (("-type=services", "-service=web"), "Invalid parameters: [service]"),
        (("-type=nodes", "-tag=x", "-state=y"), "Invalid parameters: [state tag]"),
        (("-type=checks", "-service=a", "-state=b"), "Cannot specify service and state"),
        (
            ("-type=service", "-service=web", "-passingonly=bogus"),
            'Failed to parse passingonly flag: strconv.ParseBool: parsing "bogus": invalid syntax',
        ),
    ],
)
def test_parameters_that_do_not_fit_the_type_are_refused(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    result = run("watch", *args)
    assert (result.status, result.out, result.err) == (1, "", f"{text}\n")
    assert api.requests == []


def test_without_a_type_the_usage_follows(run: Run) -> None:
    result = run("watch")
    assert result.status == 1
    assert result.err.startswith("Watch type must be specified\n\nUsage: svcmesh watch")


def test_without_an_agent_it_ends(run: Run) -> None:
    result = run("watch", "-type=nodes", "-http-addr=127.0.0.1:1")
    assert result.status == 1
    assert result.err.startswith('Error querying Consul agent: Get "http://127.0.0.1:1/v1/agent/')


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (("-type=nodes", "-datacenter=dc2", "-stale"), f"{NODES}?dc=dc2&stale="),
        (("-type=services",), "/v1/catalog/services"),
        (("-type=checks",), "/v1/health/state/any"),
        (("-type=checks", "-state=critical"), "/v1/health/state/critical"),
        (("-type=checks", "-service=a b"), "/v1/health/checks/a%20b"),
        (
            ("-type=service", "-service=web", "-tag=a", "-tag=b", "-passingonly=true"),
            "/v1/health/service/web?passing=1&tag=a&tag=b",
        ),
        (("-type=service", "-service=web", "-passingonly=false"), "/v1/health/service/web"),
        (("-type=event", "-name=deploy"), "/v1/event/list?name=deploy"),
        (("-type=keyprefix", "-prefix=w/"), "/v1/kv/w/?recurse="),
    ],
)
def test_a_type_asks_its_endpoint(run: Run, api: StubApi, args: tuple[str, ...], path: str) -> None:
    api.answer(path.partition("?")[0], [])
    result = run("watch", *args)
    assert (result.status, result.out, result.err) == (0, "[]\n", "")
    assert api.paths()[1:] == [path]


def test_without_a_child_the_result_is_printed_once_with_four_spaces(
    run: Run, api: StubApi
) -> None:
    api.answer("/v1/catalog/services", {"consul": []})
    assert run("watch", "-type=services").out == '{\n    "consul": []\n}\n'


def test_a_key_that_is_not_there_is_null(run: Run, api: StubApi) -> None:
    api.answer("/v1/kv/none", "", status=404)
    assert run("watch", "-type=key", "-key=none").out == "null\n"


def test_checks_get_the_fields_that_the_api_leaves_out(run: Run, api: StubApi) -> None:
    api.answer("/v1/health/state/any", [{"CheckID": "serfHealth", "Definition": {}}])
    definition = json.loads(run("watch", "-type=checks").out)[0]["Definition"]
    assert definition == {
        "Interval": "0s", "Timeout": "0s", "DeregisterCriticalServiceAfter": "0s", "HTTP": "",
        "Header": None, "Method": "", "Body": "", "TLSSkipVerify": False, "TCP": "",
    }  # fmt: skip


def test_a_service_has_its_fields_in_the_order_of_consuls_tool(run: Run, api: StubApi) -> None:
    service = {"ID": "w", "Service": "web", "Tags": [], "Address": "", "Meta": {}, "Port": 80,
               "Weights": {}, "Proxy": {}, "Connect": {}, "CreateIndex": 1}  # fmt: skip
    api.answer("/v1/health/service/web", [{"Node": {}, "Service": service, "Checks": []}])
    found = json.loads(run("watch", "-type=service", "-service=web").out)[0]
    assert list(found["Service"]) == [
        "ID", "Service", "Tags", "Meta", "Port", "Address", "Weights", "CreateIndex", "Proxy",
        "Connect",
    ]  # fmt: skip
    assert found["Service"] == service


def test_a_child_gets_every_new_result_as_one_line_and_its_index(
    run: Run, api: StubApi, tmp_path: Path
) -> None:
    api.then(NODES, [{"Node": "n1"}], index=5)
    api.then(NODES, [{"Node": "n1"}], index=5)  # nothing new within the wait
    api.then(NODES, [{"Node": "n1"}], index=6)  # another index, the same nodes
    api.then(NODES, [{"Node": "n1"}, {"Node": "n2"}], index=7)
    seen = tmp_path / "seen"
    child = f'read line; echo "$CONSUL_INDEX $line" >>{seen}; test $CONSUL_INDEX -lt 7'
    result = run("watch", "-type=nodes", child)
    assert (result.status, result.err) == (1, "Error executing handler: exit status 1\n")
    assert seen.read_text() == '5 [{"Node":"n1"}]\n7 [{"Node":"n1"},{"Node":"n2"}]\n'
    assert api.paths()[1:] == [NODES, f"{NODES}?index=5", f"{NODES}?index=5", f"{NODES}?index=6"]


def test_an_index_that_goes_back_is_asked_for_anew(run: Run, api: StubApi) -> None:
    api.then(NODES, [1], index=50)
    api.then(NODES, [2], index=3)
    api.then(NODES, [3], index=4)
    run("watch", "-type=nodes", "test $CONSUL_INDEX != 4")
    assert api.paths()[1:] == [NODES, f"{NODES}?index=50", NODES]


def test_a_child_gets_new_events_only(run: Run, api: StubApi, tmp_path: Path) -> None:
    first, second = "00000000-0000-0001-0000-000000000002", "00000000-0000-0004-0000-000000000008"
    api.then("/v1/event/list", [{"ID": first}], index=3)  # 1 ^ 2
    api.then("/v1/event/list", [{"ID": first}, {"ID": second}], index=12)
    seen = tmp_path / "seen"
    run("watch", "-type=event", f"cat >>{seen}; test $CONSUL_INDEX = 3")
    lines = [json.loads(line) for line in seen.read_text().splitlines()]
    assert lines == [[{"ID": first}], [{"ID": second}]]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("kill -9 $$",), "Error executing handler: signal: killed"),
        (
            ("-shell=false", "no such program"),
            'Error starting handler: exec: "no such program": executable file not found in $PATH',
        ),
        (("-shell=false", "false"), "Error executing handler: exit status 1"),
    ],
)
def test_a_child_that_fails_ends_the_watch(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    api.answer(NODES, [], index=5)
    result = run("watch", "-type=nodes", *args)
    assert (result.status, result.err) == (1, f"{text}\n")


def test_a_failure_is_told_and_asked_again_later_and_later(
    run: Run, api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("cli.watch.time.sleep", pauses.append)
    for _ in range(3):
        api.then(NODES, "No path to datacenter", status=500)
    api.then(NODES, [])
    result = run("watch", "-type=nodes")
    assert (result.status, result.out, pauses) == (0, "[]\n", [5.0, 20.0, 45.0])
    first = result.err.splitlines()[0]
    assert first[23:] == (
        'Z [ERROR] watch.watch: Watch errored: type=nodes error="Unexpected response code: 500 '
        '(No path to datacenter)" retry=5s'
    )


def test_what_the_agent_does_not_do_is_not_asked_for_again(run: Run, api: StubApi) -> None:
    api.answer("/v1/kv/k", "not supported yet: the key/value store", status=501)
    result = run("watch", "-type=key", "-key=k")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Watch errored: Unexpected response code: 501 (not supported yet")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_is_no_failure(api: StubApi, number: signal.Signals, tmp_path: Path) -> None:
    api.answer(NODES, [], index=5)
    started = tmp_path / "started"
    command = [sys.executable, "-m", "cli", "watch", f"-http-addr={api.address}", "-type=nodes"]
    watch = subprocess.Popen([*command, f"touch {started}"], cwd=Path(__file__).parents[2])
    ends_at = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < ends_at
        time.sleep(0.01)
    watch.send_signal(number)
    assert watch.wait(60) == 0


def test_keys_are_printed_as_consul_s_tool_orders_them(run: Run, api: StubApi) -> None:
    entry = {
        "LockIndex": 0, "Key": "w/k", "Flags": 0, "Value": "dg==", "CreateIndex": 24,
        "ModifyIndex": 25,
    }  # fmt: skip
    expected = {
        "Key": "w/k", "CreateIndex": 24, "ModifyIndex": 25, "LockIndex": 0, "Flags": 0,
        "Value": "dg==", "Session": "",
    }  # fmt: skip
    api.answer("/v1/agent/self", {})
    api.answer("/v1/kv/w/k", [entry], index=25)
    api.answer("/v1/kv/w/", [{**entry, "Session": "s"}], index=25)
    one = json.loads(run("watch", "-type=key", "-key=w/k").out)
    assert list(one.items()) == list(expected.items())
    (each,) = json.loads(run("watch", "-type=keyprefix", "-prefix=w/").out)
    assert list(each.items()) == list({**expected, "Session": "s"}.items())
