"""`svcmesh why`."""

import json
import time

import pytest

from tests.cli.conftest import Run, StubApi

FOUND = {
    "Node": "n7",
    "Status": "failed",
    "Address": "127.0.0.9:8301",
    "Incarnation": 7,
    "Timeline": [
        {"At": "2023-11-14T22:13:20.250Z", "Text": "suspected by n3: no answer"},
        {"At": "2023-11-14T22:13:21.750Z", "Text": "declared failed by n3: no answer"},
    ],
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_a_timeline_is_one_line_for_each_step(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/why/n7", FOUND)
    result = run("why", "n7")
    assert result.status == 0
    assert result.out.splitlines() == [
        "n7 is failed (127.0.0.9:8301)",
        "  2023-11-14",
        "  22:13:20.250  suspected by n3: no answer",
        "  22:13:21.750  declared failed by n3: no answer",
    ]


def test_json_is_the_answer_of_the_api(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/why/n7", FOUND)
    assert json.loads(run("why", "-format=json", "n7").out) == FOUND


def test_a_node_nobody_doubted_says_so(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/why/n7", {**FOUND, "Status": "alive", "Timeline": []})
    assert "nobody has doubted it" in run("why", "n7").out


def test_an_unknown_node_is_an_error(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/why/n8", "No member", status=404)
    result = run("why", "n8")
    assert (result.status, result.out) == (1, "")
    assert "No member" in result.err


def test_without_a_node_the_usage_is_missing_its_argument(run: Run) -> None:
    assert run("why").status == 1
