"""Texts and columns are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Run, StubApi


def member(name: str, host: str, *, status: int = 1, **tags: str) -> dict[str, Any]:
    return {"Name": name, "Addr": host, "Port": 8301, "Status": status, "Tags": tags}


SERVER = member(
    "cli-a", "127.0.0.1", role="consul", build="1.8.7:abc", vsn="2", dc="dc1", id="28b5", segment=""
)
CLIENT = member("cli-b", "127.0.0.2", role="node", build="1.8.7:", vsn="2", dc="dc1", segment="")


@pytest.fixture(autouse=True)
def answer(api: StubApi) -> None:
    api.answer("/v1/agent/members", [CLIENT, SERVER])


def test_members_are_listed_servers_first(run: Run) -> None:
    result = run("members")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        "Node   Address         Status  Type    Build  Protocol  DC   Segment\n"
        "cli-a  127.0.0.1:8301  alive   server  1.8.7  2         dc1  <all>\n"
        "cli-b  127.0.0.2:8301  alive   client  1.8.7  2         dc1  <default>\n"
    )


def test_detailed_shows_sorted_tags(run: Run) -> None:
    assert run("members", "-detailed").out == (
        "Node   Address         Status  Tags\n"
        "cli-a  127.0.0.1:8301  alive   "
        "build=1.8.7:abc,dc=dc1,id=28b5,role=consul,segment=<all>,vsn=2\n"
        "cli-b  127.0.0.2:8301  alive   build=1.8.7:,dc=dc1,role=node,segment=<default>,vsn=2\n"
    )


def test_the_status_filter_is_a_regular_expression(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/members", [SERVER, member("cli-c", "::1", status=4, role="node")])
    lines = run("members", "-status", "fail.*").out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["cli-c", "[::1]:8301", "failed"]]


def test_when_nobody_matches_nothing_is_printed_and_the_status_is_2(run: Run) -> None:
    result = run("members", "-status=fail.*")
    assert (result.status, result.out, result.err) == (2, "", "")


def test_a_broken_expression_is_refused_without_asking_the_agent(run: Run, api: StubApi) -> None:
    result = run("members", "-status=(")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "Failed to compile status regexp: error parsing regexp: missing closing ): `(`\n"
    )
    assert api.requests == []


def test_a_member_of_another_program_is_of_unknown_type(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/members", [member("serf-1", "127.0.0.9", role="web")])
    assert run("members").out.splitlines()[1].split() == [
        "serf-1", "127.0.0.9:8301", "alive", "unknown",
    ]  # fmt: skip


def test_members_as_json(run: Run) -> None:
    shown = json.loads(run("members", "-format=json").out)
    assert [one["Name"] for one in shown] == ["cli-a", "cli-b"]
    assert run("members", "-format=xml").err == (
        "Invalid format: xml. Valid formats are: pretty, json\n"
    )


def test_an_error_of_the_agent_is_passed_on(run: Run, api: StubApi) -> None:
    text = "Network segments are not supported in this version of Consul"
    api.answer("/v1/agent/members", text, status=500)
    result = run("members", "-segment=x")
    assert (result.status, result.out) == (1, "")
    assert result.err == f"Error retrieving members: Unexpected response code: 500 ({text})\n"


def test_no_agent_there_is_told_with_the_whole_request(run: Run) -> None:
    result = run("members", "-http-addr=127.0.0.1:1")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        'Error retrieving members: Get "http://127.0.0.1:1/v1/agent/members?segment=_all": '
        "dial tcp 127.0.0.1:1: connect: connection refused\n"
    )
