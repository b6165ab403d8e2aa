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


def check(kind: str, check_id: str, status: str, **more: object) -> dict[str, object]:
    return {
        "Kind": kind, "CheckID": check_id, "Name": check_id, "Status": status,
        "Since": "2023-11-14T22:13:20.250Z", "SeenBy": "n2", "Output": "", "Excludes": False,
        "History": [], **more,
    }  # fmt: skip


def instance(*checks: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "AskedOf": "n1",
        "RemembersSince": "2023-11-14T20:00:00.000Z",
        "Instances": [
            {
                "Node": "n2", "ServiceID": "web-1", "Service": "web", "Address": "::1", "Port": 80,
                "External": False, "Answered": not any(one["Excludes"] for one in checks),
                "Checks": list(checks), "Member": None, **more,
            }
        ],
    }  # fmt: skip


SERVICE = "/v1/agent/why/service/web-1"
MEMBER = check("member", "serfHealth", "passing", SeenBy="n1", Since=None)


def test_a_service_that_is_answered_says_what_was_looked_at(run: Run, api: StubApi) -> None:
    api.answer(SERVICE, instance(MEMBER))
    headline, line = run("why", "web-1").out.splitlines()
    assert headline == "web-1 (web) on n2 at [::1]:80: DNS answers with it"
    assert line.startswith("  its node is alive, as n1 sees it, for at least ")


def test_what_keeps_a_service_out_comes_with_since_when_by_whom_and_what_it_said(
    run: Run, api: StubApi
) -> None:
    before = {"At": "2023-11-14T21:00:00.000Z", "From": "critical", "To": "passing"}
    critical = check(
        "service", "c", "critical", Excludes=True, Output="refused\n\ntwice\n",
        History=[{"At": "2023-11-14T22:13:20.250Z", "From": "passing", "To": "critical"}, before],
    )  # fmt: skip
    maintenance = check(
        "maintenance", "_node_maintenance", "critical", Excludes=True, Output="disk swap"
    )
    api.answer(SERVICE, instance(critical, maintenance, MEMBER))
    lines = run("why", "web-1").out.splitlines()
    assert lines[0].endswith(": DNS leaves it out")
    assert lines[1].startswith(
        "  because its check c is critical, seen by n2, since 2023-11-14 22:13:20, "
    )
    assert lines[2:5] == [
        "      refused", "      twice", "      before: 2023-11-14 21:00:00 from critical to passing"
    ]  # fmt: skip
    assert lines[5].startswith("  and its node is in maintenance, since ")
    assert lines[6] == "      disk swap"


def test_a_failed_member_comes_with_its_accusers(run: Run, api: StubApi) -> None:
    failed = check("member", "serfHealth", "critical", SeenBy="n1", Excludes=True)
    api.answer(SERVICE, instance(failed, Member=FOUND))
    lines = run("why", "web-1").out.splitlines()
    assert lines[1].startswith("  because its node has failed, as n1 sees it, since ")
    assert lines[3] == "      22:13:20.250  suspected by n3: no answer"


def test_an_external_node_has_no_agent(run: Run, api: StubApi) -> None:
    api.answer(SERVICE, instance(External=True))
    assert run("why", "web-1").out.splitlines() == [
        "web-1 (web) on n2, which has no agent, at [::1]:80: DNS answers with it",
        "  nothing checks it",
    ]


def test_a_name_is_a_service_first_and_flags_say_otherwise(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/why/service/n7", instance(MEMBER))
    api.answer("/v1/agent/why/n7", FOUND)
    assert run("why", "n7").out.startswith("web-1 ")
    assert run("why", "-service", "n7").out.startswith("web-1 ")
    assert run("why", "-node", "n7").out.startswith("n7 is failed")
    result = run("why", "-node", "-service", "n7")
    assert (result.status, result.err) == (1, "Only one of -node or -service may be provided\n")


def test_a_service_that_is_not_there_is_an_error(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/why/service/x", "No service", status=404)
    result = run("why", "-service", "x")
    assert result.status == 1
    assert "No service" in result.err
