"""Texts and columns are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Run, StubApi


def node(name: str, host: str, node_id: str) -> dict[str, Any]:
    return {
        "ID": node_id,
        "Node": name,
        "Address": host,
        "Datacenter": "dc1",
        "TaggedAddresses": {"wan": host, "lan": host},
        "Meta": {"consul-network-segment": ""},
    }


A = node("cli-a", "127.0.0.1", "28b53884-2ecf-d465-dfa7-bc3b65402909")
B = node("cli-b", "127.0.0.2", "cbba6a5d-1058-98ae-56cd-449af8217599")


def test_data_centers_are_printed_one_a_line(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/datacenters", ["dc1", "dc2"])
    assert run("catalog", "datacenters").out == "dc1\ndc2\n"


def test_nodes_are_sorted_by_name_with_short_ids(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", [B, A])
    assert run("catalog", "nodes").out == (
        "Node   ID        Address    DC\n"
        "cli-a  28b53884  127.0.0.1  dc1\n"
        "cli-b  cbba6a5d  127.0.0.2  dc1\n"
    )


def test_letter_case_does_not_matter_for_the_order_of_nodes(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", [A | {"Node": name} for name in ("Zeta", "beta", "Alpha")])
    lines = run("catalog", "nodes").out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["Alpha", "beta", "Zeta"]


def test_detailed_nodes_show_full_ids_addresses_and_metadata(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", [A])
    header, row = run("catalog", "nodes", "-detailed").out.splitlines()
    assert header.split() == ["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]
    assert row == (
        "cli-a  28b53884-2ecf-d465-dfa7-bc3b65402909  127.0.0.1  dc1  "
        "lan=127.0.0.1, wan=127.0.0.1  consul-network-segment="
    )


def test_nodes_near_one_stay_in_the_order_of_the_answer(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", [B, A])
    lines = run("catalog", "nodes", "-near=_agent").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["cli-b", "cli-a"]
    assert api.requests[0].path == "/v1/catalog/nodes?near=_agent"


def test_nodes_are_chosen_by_a_filter_that_the_agent_reads(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", [A])
    assert run("catalog", "nodes", "-filter", 'Meta.env == "x"').status == 0
    assert api.requests[0].path == "/v1/catalog/nodes?filter=Meta.env+%3D%3D+%22x%22"


def test_nodes_of_a_service_are_asked_for_by_its_name(run: Run, api: StubApi) -> None:
    instance = {**A, "ServiceMeta": {"x": "y"}, "NodeMeta": {"n": "m"}}
    del instance["Meta"]
    api.answer("/v1/catalog/service/my%20web", [instance])
    out = run("catalog", "nodes", "-service", "my web", "-detailed").out
    assert out.endswith("  n=m\n")


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (("-stale", "-datacenter=dc9"), "/v1/catalog/nodes?dc=dc9&stale="),
        (
            ("-node-meta=a=b", "-node-meta", "c=d=e"),
            "/v1/catalog/nodes?node-meta=a%3Ab&node-meta=c%3Ad%3De",
        ),
    ],
)
def test_flags_become_query_parameters(
    run: Run, api: StubApi, args: tuple[str, ...], path: str
) -> None:
    api.answer("/v1/catalog/nodes", [A])
    run("catalog", "nodes", *args)
    assert [request.path for request in api.requests] == [path]


def test_no_match_is_a_line_on_stderr_and_no_failure(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", [])
    api.answer("/v1/catalog/services", {})
    api.answer("/v1/catalog/node/nobody", None)
    tail = "match the given query - try expanding your search.\n"
    for args, what in (
        (("nodes",), "nodes"),
        (("services",), "services"),
        (("services", "-node=nobody"), "services"),
    ):
        result = run("catalog", *args)
        assert (result.status, result.out, result.err) == (0, "", f"No {what} {tail}")


def test_services_are_printed_one_a_line_and_tags_padded(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/services", {"web": ["t"], "consul": [], "api": ["b", "a"]})
    assert run("catalog", "services").out == "api\nconsul\nweb\n"
    assert run("catalog", "services", "-tags").out == (
        "api         a,b\nconsul      \nweb         t\n"
    )


def test_services_of_a_node_are_listed_by_name_with_the_tags_of_all_instances(
    run: Run, api: StubApi
) -> None:
    services = {
        "web-1": {"Service": "web", "Tags": ["b"]},
        "web-2": {"Service": "web", "Tags": ["a", "b"]},
        "db": {"Service": "db", "Tags": None},
    }
    api.answer("/v1/catalog/node/n1", {"Node": A, "Services": services})
    assert run("catalog", "services", "-node=n1", "-tags").out == "db       \nweb      a,b\n"


def test_json_is_there_for_programs(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", [B, A])
    api.answer("/v1/catalog/services", {"web": ["t"]})
    assert json.loads(run("catalog", "nodes", "-format=json").out) == [A, B]
    assert json.loads(run("catalog", "services", "-format=json").out) == {"web": ["t"]}


def test_errors_are_passed_on(run: Run, api: StubApi) -> None:
    api.answer("/v1/catalog/nodes", "No path to datacenter", status=500)
    result = run("catalog", "nodes", "-datacenter=zz")
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "Error listing nodes: Unexpected response code: 500 (No path to datacenter)\n"
    )


def test_arguments_are_counted_and_refused(run: Run) -> None:
    result = run("catalog", "nodes", "extra")
    assert (result.status, result.out) == (1, "")
    assert result.err == "Too many arguments (expected 0, got 1)\n"


def test_metadata_without_an_equals_sign_is_a_wrong_flag(run: Run) -> None:
    result = run("catalog", "services", "-node-meta=a")
    assert result.status == 1
    assert result.err.startswith(
        'invalid value "a" for flag -node-meta: Missing "=" value in argument: a\n\nUsage: '
    )


GLOBAL = [
    {
        "Service": "web",
        "Datacenters": [
            {"Datacenter": "dc1", "Instances": 3, "Healthy": 2, "Version": 1000},
            {"Datacenter": "dc2", "Instances": 1, "Healthy": 1, "Version": 2000},
        ],
    },
    {
        "Service": "db",
        "Datacenters": [{"Datacenter": "dc2", "Instances": 1, "Healthy": 0, "Version": 1}],
    },
]


def test_services_of_all_data_centers_are_printed_with_where_they_are(
    run: Run, api: StubApi
) -> None:
    api.answer("/v1/catalog/services", GLOBAL)
    assert run("catalog", "services", "-global").out == (
        "Service  Healthy/Instances\nweb      dc1 2/3, dc2 1/1\ndb       dc2 0/1\n"
    )
    assert "global=1" in api.requests[-1].path
    assert json.loads(run("catalog", "services", "-global", "-format=json").out) == GLOBAL


def test_services_of_all_data_centers_cannot_be_chosen_by_node(run: Run, api: StubApi) -> None:
    result = run("catalog", "services", "-global", "-node=n1")
    assert (result.status, api.requests) == (1, [])
    assert "cannot be combined" in result.err
