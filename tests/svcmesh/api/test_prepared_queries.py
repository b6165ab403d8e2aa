"""`/v1/query`: storing, executing and explaining prepared queries. Consul 1.8.7's words."""

from dataclasses import replace
from typing import Any

import pytest

from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import CheckRecord, NodeRecord, QueryRecord, ServiceRecord
from svcmesh.consensus.service import NoLeaderError
from svcmesh.errors import NameReservedError, StorageError
from svcmesh.queries.failover import Outcome
from tests.svcmesh.api.fakes import Client, FakeAgent, run

WEB = {"Service": "web"}


def add_instance(agent: FakeAgent, number: int, status: str = "passing", **fields: Any) -> None:  # noqa: ANN401
    """`web-N` on the external node `nodeN` at 10.0.0.N."""
    owner = ExternalNode(f"node{number}")
    meta = {"rack": str(number)}
    agent.change(owner, NodeRecord(f"node{number}", f"10.0.0.{number}", "dc1", meta=meta))
    service = ServiceRecord(id=f"web-{number}", name="web", port=8000 + number, **fields)
    agent.change(owner, service)
    agent.change(owner, CheckRecord(f"c{number}", "c", status, service_id=service.id))


async def create(client: Client, **definition: object) -> str:
    answer = await client.call("POST", "/v1/query", json={"Name": "q", "Service": WEB} | definition)
    assert answer.status == 200, answer.text
    found: str = answer.json["ID"]
    return found


async def nodes(client: Client, path: str) -> list[str]:
    answer = await client.get(path)
    assert answer.status == 200, answer.text
    return [one["Node"]["Node"] for one in answer.json["Nodes"]]


def test_a_query_is_stored_listed_replaced_and_removed() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/query")).json == []
        query_id = await create(client, Name="Web")
        (one,) = (await client.get(f"/v1/query/{query_id}")).json
        assert one == {
            "ID": query_id, "Name": "Web", "Session": "", "Token": "",
            "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": False},
            "Service": {
                "Service": "web", "Failover": {"NearestN": 0, "Datacenters": None},
                "OnlyPassing": False, "IgnoreCheckIDs": None, "Near": "", "Tags": None,
                "NodeMeta": None, "ServiceMeta": None, "Connect": False,
            },
            "DNS": {"TTL": ""},
            "CreateIndex": one["CreateIndex"], "ModifyIndex": one["CreateIndex"],
        }  # fmt: skip
        assert (await client.get("/v1/query")).json == [one]
        body = {"ID": "other", "Name": "web", "Service": {"Service": "db", "Tags": []}}
        replaced = await client.put(f"/v1/query/{query_id}", json=body)
        assert (replaced.status, replaced.body) == (200, b"")
        (two,) = (await client.get("/v1/query")).json
        assert (two["ID"], two["Name"], two["Service"]["Service"]) == (query_id, "web", "db")
        assert two["Service"]["Tags"] == []
        assert two["CreateIndex"] == one["CreateIndex"] < two["ModifyIndex"]
        assert (await client.call("DELETE", f"/v1/query/{query_id}")).body == b""
        gone = await client.get(f"/v1/query/{query_id}")
        assert (gone.status, gone.text) == (404, "Query not found")

    run(scenario)


@pytest.mark.parametrize(
    ("definition", "status", "text"),
    [
        ({"ID": "x"}, 500, "ID must be empty when creating a new prepared query"),
        ({"Service": {}}, 500, "Invalid prepared query: Must provide a Service name to query"),
        ({"Name": ""}, 500, "Invalid prepared query: Must be bound to a session"),
        (
            {"Service": {"Service": "web", "Failover": {"NearestN": -1}}},
            500, "Invalid prepared query: Bad NearestN '-1', must be >= 0",
        ),
        (
            {"DNS": {"TTL": "x"}},
            500, "Invalid prepared query: Bad DNS TTL 'x': time: invalid duration \"x\"",
        ),
        (
            {"DNS": {"TTL": "-5s"}},
            500, "Invalid prepared query: DNS TTL '-5000000000', must be >=0",
        ),
        ({"Session": "x"}, 500, "invalid session: index error: UUID must be 36 characters"),
        (
            {"Session": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"},
            500, 'invalid session "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"',
        ),
        ({"Template": {"Type": "x"}}, 500, "failed compiling template: Bad Template.Type 'x'"),
        (
            {"Service": {"Service": "web", "NodeMeta": {"a b": "x"}}},
            500,
            "Invalid prepared query: Couldn't load metadata pair ('a b', 'x'): "
            "Key contains invalid characters",
        ),
        ({"Foo": 1}, 400, 'Request decode failed: json: unknown field "Foo"'),
        (
            {"Service": {"Service": "web", "Connect": True}},
            500, "Invalid prepared query: Connect: svcmesh is no service mesh",
        ),
        (
            {"Service": {"Service": "web", "Failover": {"Targets": [{"Peer": "x"}]}}},
            500,
            "Invalid prepared query: Peer: there are no peerings, only data centers joined by WAN",
        ),
        (
            {"Service": {"Service": "web", "Failover": {"NearestN": 1, "Targets": [{}]}}},
            500,
            "Invalid prepared query: Targets cannot be populated with NearestN or Datacenters",
        ),
        ({"Service": {"Service": "x" * 70_000}}, 500, "Invalid prepared query: it may not exceed "
         "65536 bytes"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    definition: dict[str, object], status: int, text: str
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        body = {"Name": "q", "Service": WEB} | definition
        answer = await client.call("POST", "/v1/query", json=body)
        assert (answer.status, answer.text) == (status, text)
        assert len(agent.view.queries) == 0

    run(scenario)


def test_a_name_is_given_away_once_in_any_letter_case() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        query_id = await create(client, Name="Web")
        for name, what in (("wEB", "name"), (query_id, "ID")):
            answer = await client.call("POST", "/v1/query", json={"Name": name, "Service": WEB})
            assert answer.text == f"name '{name}' aliases an existing query {what}"
        every = {"Template": {"Type": "name_prefix_match"}, "Name": ""}
        await create(client, **every)
        answer = await client.call("POST", "/v1/query", json={"Service": WEB, **every})
        assert answer.text == "a query template with an empty name already exists"

    run(scenario)


def test_a_query_without_its_name_says_who_has_it_and_is_executed_by_its_id() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        add_instance(agent, 1)
        first, other = await create(client, Name="web"), await create(client, Name="other")
        row = agent.view.queries.get(other)
        assert row is not None
        # As when another side of a split gives the name away.
        agent.change(ExternalNode(""), replace(row.record, name="web"))
        held = {one["ID"]: one.get("NameHeldBy") for one in (await client.get("/v1/query")).json}
        assert held == {first: None, other: first}
        assert await nodes(client, f"/v1/query/{other}/execute") == ["node1"]
        explained = (await client.get("/v1/query/web/explain")).json
        assert explained["Query"]["ID"] == first

    run(scenario)


def test_executing_leaves_out_critical_instances_and_says_where_they_are() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for number, status in ((1, "passing"), (2, "warning"), (3, "critical")):
            add_instance(agent, number, status)
        query_id = await create(client, Name="Web", DNS={"TTL": "9s"})
        answer = await client.get("/v1/query/wEb/execute")
        found = answer.json.pop("Nodes")
        assert answer.json == {
            "Service": "web", "DNS": {"TTL": "9s"}, "Datacenter": "dc1", "Failovers": 0,
            "Index": 0, "LastContact": 0, "KnownLeader": True, "ConsistencyLevel": "leader",
        }  # fmt: skip
        assert sorted(one["Node"]["Node"] for one in found) == ["node1", "node2"]
        assert {check["CheckID"] for one in found for check in one["Checks"]} == {"c1", "c2"}
        assert sorted(await nodes(client, f"/v1/query/{query_id}/execute")) == ["node1", "node2"]
        assert len(await nodes(client, "/v1/query/web/execute?limit=1")) == 1
        assert await nodes(client, "/v1/query/web/execute?connect=1") == []

    run(scenario)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"OnlyPassing": True}, ["node1"]),
        ({"IgnoreCheckIDs": ["c3"]}, ["node1", "node2", "node3"]),
        ({"OnlyPassing": True, "IgnoreCheckIDs": ["c2", "c3"]}, ["node1", "node2", "node3"]),
        ({"Tags": ["A"]}, ["node1"]),
        ({"Tags": ["!a"]}, ["node2"]),
        ({"Tags": ["all", "!b", "!x"]}, ["node1"]),
        ({"NodeMeta": {"rack": "2"}}, ["node2"]),
        ({"ServiceMeta": {"v": "1"}}, ["node1"]),
        ({"ServiceMeta": {"v": "1"}, "NodeMeta": {"rack": "2"}}, []),
    ],
)
def test_a_query_selects_by_health_tags_and_metadata(
    service: dict[str, object], expected: list[str]
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        add_instance(agent, 1, tags=("a", "All"), meta={"v": "1"})
        add_instance(agent, 2, "warning", tags=("b", "all"), meta={"v": "2"})
        add_instance(agent, 3, "critical", tags=("c",))
        await create(client, Service={"Service": "Web", **service})
        assert sorted(await nodes(client, "/v1/query/q/execute")) == expected

    run(scenario)


def test_near_puts_a_node_first_and_the_client_may_choose_another() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for number in range(1, 6):
            add_instance(agent, number)
        owner = ExternalNode("mine")
        agent.change(owner, NodeRecord("mine", "127.0.0.1", "dc1"))
        agent.change(owner, ServiceRecord(id="web-9", name="web"))
        await create(client, Service={"Service": "web", "Near": "node3"})
        for path, first in (
            ("/v1/query/q/execute", "node3"),
            ("/v1/query/q/execute?near=NODE2", "node2"),
            ("/v1/query/q/execute?near=_ip", "mine"),
        ):
            assert (await nodes(client, path))[0] == first
        forwarded = await client.get(
            "/v1/query/q/execute?near=_ip", **{"X-Forwarded-For": "10.0.0.4, 10.0.0.1"}
        )
        assert forwarded.json["Nodes"][0]["Node"]["Node"] == "node4"

    run(scenario)


def test_the_order_is_random_without_nearness() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for number in range(1, 4):
            add_instance(agent, number)
        await create(client)
        firsts = {(await nodes(client, "/v1/query/q/execute"))[0] for _ in range(60)}
        assert firsts == {"node1", "node2", "node3"}

    run(scenario)


def test_a_template_is_executed_by_names_and_not_by_its_id() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        add_instance(agent, 1)
        template = {"Type": "name_prefix_match"}
        service = {"Service": "${name.suffix}"}
        query_id = await create(client, Name="t-", Template=template, Service=service)
        assert await nodes(client, "/v1/query/t-web/execute") == ["node1"]
        explained = (await client.get("/v1/query/t-web/explain")).json
        assert explained["Query"]["Service"]["Service"] == "web"
        for what in ("execute", "explain"):
            answer = await client.get(f"/v1/query/{query_id}/{what}")
            assert answer.status == 500
            assert answer.text == (
                "prepared query templates can only be resolved up by name, not by ID"
            )

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/query/x",
         500, "failed prepared query lookup: index error: UUID must be 36 characters"),
        ("GET", "/v1/query/execute", 404, "Query not found"),
        ("GET", "/v1/query/no/execute", 404, "Query not found"),
        ("GET", "/v1/query/no/explain", 404, "Query not found"),
        ("GET", "/v1/query/no/execute?limit=x",
         500, 'Bad limit: strconv.Atoi: parsing "x": invalid syntax'),
        ("GET", "/v1/query/no/execute?limit=99999999999999999999",
         500, 'Bad limit: strconv.Atoi: parsing "99999999999999999999": value out of range'),
        ("GET", "/v1/query/no/execute?connect=x",
         500, "Error parsing 'connect' value: strconv.ParseBool: parsing \"x\": invalid syntax"),
        ("GET", "/v1/query/no/execute?dc=dc9", 500, "No path to datacenter"),
        ("DELETE", "/v1/query/x", 500, "Prepared Query lookup failed: failed prepared query "
         "lookup: index error: UUID must be 36 characters"),
        ("DELETE", "/v1/query/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", 500,
         "Cannot modify non-existent prepared query: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'"),
        ("DELETE", "/v1/query/x/execute", 405, "method DELETE not allowed"),
        ("POST", "/v1/query/x", 405, "method POST not allowed"),
        ("PUT", "/v1/query", 405, "method PUT not allowed"),
    ],
)  # fmt: skip
def test_what_is_not_there_or_not_allowed(method: str, path: str, status: int, text: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call(method, path)
        assert (answer.status, answer.text) == (status, text)

    run(scenario)


def test_a_query_bound_to_a_session_needs_no_name_and_a_store_that_answers() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        made = await client.put("/v1/session/create", json={"NodeChecks": []})
        session = made.json["ID"]
        query_id = await create(client, Name="", Session=session)
        (one,) = (await client.get(f"/v1/query/{query_id}")).json
        assert (one["Session"], one["Name"]) == (session, "")
        agent.store.failure = NoLeaderError()
        body = {"Name": "b", "Service": WEB, "Session": session}
        answer = await client.call("POST", "/v1/query", json=body)
        assert (answer.status, answer.text) == (500, "No cluster leader")
        # Others wait for nobody.
        await create(client, Name="c")

    run(scenario)


def test_nothing_is_stored_while_our_name_is_not_ours() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.failure = NameReservedError("n1", "other")
        answer = await client.call("POST", "/v1/query", json={"Name": "q", "Service": WEB})
        assert (answer.status, answer.text) == (500, 'node name "n1" is reserved by node other')
        assert len(agent.view.queries) == 0

    run(scenario)


def test_before_synchronisation_what_is_unknown_is_an_error() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.is_ready = False
        for path in ("/v1/query/no/execute", "/v1/query/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"):
            answer = await client.get(path)
            assert (answer.status, answer.text) == (500, "The catalog is not in sync yet")

    run(scenario)


def test_targets_are_shown_as_they_were_given() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        failover = {"Targets": [{"Datacenter": "dc2", "Peer": ""}, {"Datacenter": "dc3"}]}
        query_id = await create(client, Service={"Service": "web", "Failover": failover})
        (one,) = (await client.get(f"/v1/query/{query_id}")).json
        assert one["Service"]["Failover"] == {
            "NearestN": 0, "Datacenters": None,
            "Targets": [{"Datacenter": "dc2"}, {"Datacenter": "dc3"}],
        }  # fmt: skip

    run(scenario)


def test_what_the_disk_refuses_is_an_error_and_in_force() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.disk_failure = StorageError("cannot write: disk full")
        answer = await client.call("POST", "/v1/query", json={"Name": "q", "Service": WEB})
        assert (answer.status, answer.text) == (500, "cannot write: disk full")
        assert len(agent.view.queries) == 1
        node = {"Node": "db", "Address": "10.0.0.1"}
        for path in ("register", "deregister"):
            answer = await client.put(f"/v1/catalog/{path}", json=node)
            assert (answer.status, answer.text) == (500, "cannot write: disk full")
        answer = await client.put("/v1/txn", json=[{"Node": {"Verb": "set", "Node": node}}])
        assert (answer.status, answer.text) == (500, "cannot write: disk full")

    run(scenario)


def test_instances_of_another_data_center_are_shown_with_it() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        there = FakeAgent()
        add_instance(there, 7)

        class Elsewhere:
            async def execute(self, query: QueryRecord, *, limit: int) -> Outcome:
                assert limit == 3
                return Outcome(query, "dc2", there.view.service("web"), 2)

            async def execute_named(self, *_: object, **__: object) -> Outcome:
                raise AssertionError("not by name")

        agent.queries.elsewhere = Elsewhere()
        await create(client, Service={"Service": "web", "Failover": {"NearestN": 2}})
        answer = (await client.get("/v1/query/q/execute?limit=3")).json
        assert (answer["Datacenter"], answer["Failovers"]) == ("dc2", 2)
        assert [one["Node"]["Node"] for one in answer["Nodes"]] == ["node7"]
        add_instance(agent, 1)
        answer = (await client.get("/v1/query/q/execute?limit=3")).json
        assert (answer["Datacenter"], answer["Failovers"]) == ("dc1", 0)

    run(scenario)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/query/x", "GET,PUT,DELETE"),
        ("/v1/query/x/execute", "GET"),
        ("/v1/query/x/explain", "GET"),
    ],
)
def test_methods_of_a_query_are_told_as_consul_tells_them(path: str, allowed: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call("POST", path)
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)
        answer = await client.call("OPTIONS", path)
        assert (answer.status, answer.headers["Allow"]) == (200, f"OPTIONS,{allowed}")
        assert answer.json == {}

    run(scenario)
