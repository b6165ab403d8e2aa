"""`/v1/catalog/...`; expected bodies are Consul 1.8's."""

import orjson
import pytest

from svcmesh.catalog.changes import ExternalNode, NodeHealthChanged, OwnNode
from svcmesh.catalog.records import CheckRecord, NodeId, NodeRecord, ServiceRecord, TaggedAddress
from svcmesh.errors import NameReservedError
from svcmesh.federation import DcPlace
from svcmesh.summaries import GlobalService, Place
from tests.svcmesh.api.fakes import NODE_ID, Client, FakeAgent, run

WEB = ServiceRecord(id="web-1", name="web", tags=("a", "b"), port=80, address="10.0.0.9")


def with_web(record: ServiceRecord = WEB) -> FakeAgent:
    agent = FakeAgent()
    agent.change(OwnNode(NodeId(NODE_ID)), record)
    return agent


def with_externals(*names: str) -> FakeAgent:
    agent = FakeAgent()
    for name in names:
        record = NodeRecord(name=name, address="10.1.0.1", datacenter="dc1", meta={"rack": name})
        agent.change(ExternalNode(name), record)
        agent.change(ExternalNode(name), ServiceRecord(id="db", name="db", tags=(name,)))
    return agent


def test_nodes_are_listed_with_their_indexes() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/catalog/nodes")
        assert answer.status == 200
        assert answer.body == (
            b'[{"ID":"11111111-2222-3333-4444-555555555555","Node":"n1","Address":"127.0.0.9",'
            b'"Datacenter":"dc1","TaggedAddresses":{"lan":"127.0.0.9"},'
            b'"Meta":{"consul-network-segment":""},"CreateIndex":1001,"ModifyIndex":1001}]'
        )

    run(scenario)


def test_a_service_is_joined_with_its_node() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/catalog/service/web")
        assert answer.json == [
            {
                "ID": NODE_ID,
                "Node": "n1",
                "Address": "127.0.0.9",
                "Datacenter": "dc1",
                "TaggedAddresses": {"lan": "127.0.0.9"},
                "NodeMeta": {"consul-network-segment": ""},
                "ServiceKind": "",
                "ServiceID": "web-1",
                "ServiceName": "web",
                "ServiceTags": ["a", "b"],
                "ServiceAddress": "10.0.0.9",
                "ServiceTaggedAddresses": {
                    "lan_ipv4": {"Address": "10.0.0.9", "Port": 80},
                    "wan_ipv4": {"Address": "10.0.0.9", "Port": 80},
                },
                "ServiceWeights": {"Passing": 1, "Warning": 1},
                "ServiceMeta": {},
                "ServicePort": 80,
                "ServiceEnableTagOverride": False,
                "ServiceProxy": {"MeshGateway": {}, "Expose": {}},
                "ServiceConnect": {},
                "CreateIndex": 1002,
                "ModifyIndex": 1002,
            }
        ]

    run(scenario, with_web())


def test_given_tagged_addresses_are_kept() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        (row,) = (await client.get("/v1/catalog/service/web")).json
        assert row["ServiceTaggedAddresses"] == {
            "lan_ipv6": {"Address": "::5", "Port": 1},
            "wan_ipv6": {"Address": "::9", "Port": 0},
        }

    tagged = {"lan_ipv6": TaggedAddress("::5", 1)}
    run(
        scenario,
        with_web(ServiceRecord(id="w", name="web", address="::9", tagged_addresses=tagged)),
    )


def test_a_failed_nodes_services_stay_listed() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.view.apply(NodeHealthChanged(NodeId(NODE_ID), is_alive=False))
        assert len((await client.get("/v1/catalog/service/web")).json) == 1

    run(scenario, with_web())


def test_an_unknown_service_is_an_empty_list() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/catalog/service/none")
        assert (answer.status, answer.json, answer.index) == (200, [], 1000)

    run(scenario)


def test_what_is_not_known_before_the_first_sync_is_an_error() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for path in ("catalog/service/none", "catalog/node/none", "health/service/none",
                     "health/node/none", "health/checks/none"):  # fmt: skip
            answer = await client.get(f"/v1/{path}")
            assert (answer.status, answer.text) == (500, "The catalog is not in sync yet")
        answer = await client.get("/v1/catalog/service/web")
        assert (answer.status, answer.headers["X-Consul-KnownLeader"]) == (200, "false")

    agent = with_web()
    agent.is_ready = False
    run(scenario, agent)


@pytest.mark.parametrize(
    ("query", "nodes"),
    [
        ("", ["e1", "e2"]),
        ("?tag=E1", ["e1"]),
        ("?tag=e1&tag=e2", []),
        ("?node-meta=rack:e2", ["e2"]),
        ("?node-meta=rack:e2&node-meta=rack2:x", []),
    ],
)
def test_instances_are_selected_by_tags_and_node_metadata(query: str, nodes: list[str]) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get(f"/v1/catalog/service/DB{query}")
        assert [row["Node"] for row in answer.json] == nodes

    run(scenario, with_externals("e1", "e2"))


def test_services_map_names_to_the_tags_of_all_instances() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/catalog/services")).json == {"db": ["e1", "e2"]}
        some = await client.get("/v1/catalog/services?node-meta=rack:e2")
        assert some.json == {"db": ["e2"]}

    run(scenario, with_externals("e1", "e2"))


def test_a_node_comes_with_its_services_by_id_or_as_a_list() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        by_id = (await client.get("/v1/catalog/node/E1")).json
        as_list = (await client.get("/v1/catalog/node-services/E1")).json
        assert by_id["Node"]["ID"] == ""
        assert by_id["Services"] == {
            "db": {
                "ID": "db",
                "Service": "db",
                "Tags": ["e1"],
                "Address": "",
                "Meta": None,
                "Port": 0,
                "Weights": {"Passing": 1, "Warning": 1},
                "EnableTagOverride": False,
                "Proxy": {"MeshGateway": {}, "Expose": {}},
                "Connect": {},
                "CreateIndex": 1003,
                "ModifyIndex": 1003,
            }
        }
        assert as_list == {"Node": by_id["Node"], "Services": [by_id["Services"]["db"]]}

    run(scenario, with_externals("e1"))


def test_an_unknown_node_is_null() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/catalog/node/none")
        assert (answer.status, answer.body) == (200, b"null")

    run(scenario)


def test_registering_an_external_node_with_service_and_check_shows_all_three() -> None:
    body = {
        "Node": "Ext",
        "Address": "10.1.0.1",
        "NodeMeta": {"rack": "r1"},
        "Service": {"Service": "db", "Tags": ["master"], "Port": 5432},
        "Check": {
            "Name": "alive",
            "ServiceID": "db",
            "Status": "passing",
            "Definition": {"TCP": "10.1.0.1:5432", "Interval": "5000ms", "Timeout": "1s"},
        },
    }

    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put("/v1/catalog/register", body)
        assert (answer.status, answer.body) == (200, b"true")
        (row,) = (await client.get("/v1/health/service/db")).json
        assert row["Node"]["Meta"] == {"rack": "r1"}
        assert row["Node"]["Datacenter"] == "dc1"
        assert row["Service"]["ID"] == "db"
        (check,) = row["Checks"]
        assert check["Node"] == "Ext"
        assert (check["CheckID"], check["ServiceName"], check["ServiceTags"], check["Type"]) == (
            "alive",
            "db",
            ["master"],
            "tcp",
        )
        assert check["Definition"] == {
            "Interval": "5s",
            "Timeout": "1s",
            "TCP": "10.1.0.1:5432",
        }

    run(scenario)


def test_an_external_node_that_comes_under_another_name_was_renamed() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        node_id = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
        body = {"Node": "Old", "Address": "1.1.1.1", "ID": node_id, "Service": {"Service": "s"}}
        await client.put("/v1/catalog/register", {**body, "Check": {"Name": "c"}})
        body = {"Node": "new", "Address": "1.1.1.2", "ID": node_id.upper()}
        assert (await client.put("/v1/catalog/register", body)).json is True
        names = [node["Node"] for node in (await client.get("/v1/catalog/nodes")).json]
        assert names == ["n1", "new"]
        assert (await client.get("/v1/catalog/service/s")).json == []
        assert agent.view.external_node("old") is None

    run(scenario)


def test_a_node_update_is_skipped_only_for_a_node_that_is_there() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for address in ("1.1.1.1", "2.2.2.2"):
            body = {"Node": "e", "Address": address, "SkipNodeUpdate": True}
            assert (await client.put("/v1/catalog/register", body)).json is True
            node = (await client.get("/v1/catalog/node/e")).json["Node"]
            assert node["Address"] == "1.1.1.1"

    run(scenario)


def test_deregistering_a_service_takes_its_checks_along() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        check = CheckRecord(id="c", name="c", status="critical", service_id="db")
        agent.change(ExternalNode("e1"), check)
        answer = await client.put("/v1/catalog/deregister", {"Node": "e1", "ServiceID": "db"})
        assert (answer.status, answer.body) == (200, b"true")
        assert (await client.get("/v1/catalog/node/e1")).json["Services"] == {}
        assert (await client.get("/v1/health/node/e1")).json == []

    run(scenario, with_externals("e1"))


def test_deregistering_a_check_leaves_its_service() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.change(ExternalNode("e1"), CheckRecord(id="c", name="c", status="critical"))
        await client.put("/v1/catalog/deregister", {"Node": "e1", "CheckID": "c"})
        assert (await client.get("/v1/health/node/e1")).json == []
        assert len((await client.get("/v1/catalog/service/db")).json) == 1

    run(scenario, with_externals("e1"))


def test_deregistering_a_node_leaves_nothing_of_it() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.put("/v1/catalog/deregister", {"Node": "E1"})).body == b"true"
        assert agent.view.external_node("e1") is None
        assert (await client.put("/v1/catalog/deregister", {"Node": "e1"})).body == b"true"

    run(scenario, with_externals("e1"))


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("register", {"Node": "e"}, 500, "Must provide address if SkipNodeUpdate is not set"),
        ("register", {"Address": "1.1.1.1"}, 500, "Must provide node"),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "Checks": [{"CheckID": "c"}] * 257},
            500,
            "Checks: at most 256 may be given, got 257",
        ),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "Service": {"ID": "x"}},
            500,
            "Must provide service name with ID",
        ),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "ID": "zz"},
            500,
            "Bad node ID: uuid string is wrong length",
        ),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "Bogus": 1},
            400,
            'Request decode failed: json: unknown field "Bogus"',
        ),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "Check": {"Name": "a", "ServiceID": "no"}},
            500,
            'failed inserting check: Missing service registration on node "e"',
        ),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "Checks": [{"Name": "b", "Node": "other"}]},
            500,
            'check node "other" does not match node "e"',
        ),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "Datacenter": "nowhere"},
            500,
            "No path to datacenter",
        ),
        (
            "register",
            {"Node": "e", "Address": "1.1.1.1", "Service": {"Service": "x", "Port": "80"}},
            400,
            "Request decode failed: json: cannot unmarshal string into field Service.Port"
            " of type int",
        ),
        (
            "register",
            {
                "Node": "e",
                "Address": "1.1.1.1",
                "Service": {"Service": "x", "Connect": {"Native": True}},
            },
            400,
            'Request decode failed: json: unknown field "Connect" - svcmesh is no service mesh',
        ),
        ("deregister", {}, 500, "Must provide node"),
        ("deregister", {"Node": "e", "Datacenter": "nowhere"}, 500, "No path to datacenter"),
        (
            "deregister",
            {"Node": "e", "Bogus": "y"},
            400,
            'Request decode failed: json: unknown field "Bogus"',
        ),
        (
            "deregister",
            [],
            400,
            "Request decode failed: json: cannot unmarshal array into the body of type object",
        ),
    ],
)
def test_a_wrong_registration_is_refused(path: str, body: object, status: int, text: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        before = agent.view.index
        answer = await client.put(f"/v1/catalog/{path}", data=orjson.dumps(body))
        assert (answer.status, answer.text) == (status, text)
        assert agent.view.index == before

    run(scenario)


@pytest.mark.parametrize(
    ("given", "weights"),
    [({}, (1, 1)), ({"Passing": 0, "Warning": 5}, (1, 1)), ({"Passing": 3}, (3, 0))],
)
def test_an_external_instance_that_passes_always_weighs_something(
    given: dict[str, int], weights: tuple[int, int]
) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        service = {"Service": "db", "Weights": given}
        body = {"Node": "e1", "Address": "10.0.0.1", "Service": service}
        await client.put("/v1/catalog/register", body)
        (row,) = (await client.get("/v1/catalog/service/db")).json
        assert row["ServiceWeights"] == {"Passing": weights[0], "Warning": weights[1]}

    run(scenario)


@pytest.mark.parametrize(
    "service",
    [
        {"Port": 65536},
        {"TaggedAddresses": {"lan": {"Address": "10.0.0.1", "Port": -1}}},
        {"Weights": {"Passing": 1, "Warning": 70000}},
        {"Tags": ["t" * 100] * 700},
    ],
)
def test_what_peers_could_not_take_over_is_refused(service: dict[str, object]) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        body = {"Node": "e1", "Address": "10.0.0.1", "Service": {"Service": "db", **service}}
        assert (await client.put("/v1/catalog/register", body)).status == 500
        assert (await client.get("/v1/catalog/service/db")).json == []

    run(scenario)


@pytest.mark.parametrize("path", ["register", "deregister"])
def test_a_node_with_an_agent_is_written_by_that_agent_only(path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put(f"/v1/catalog/{path}", {"Node": "N1", "Address": "1.1.1.1"})
        assert (answer.status, answer.text) == (
            500,
            f"Node name N1 is reserved by node {NODE_ID} with name n1 (127.0.0.9): "
            "use the API of its agent",
        )

    run(scenario)


def test_checks_are_listed_by_id_whenever_they_were_registered() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        checks = [
            {"CheckID": name, "ServiceID": service, "Status": "passing"}
            for name, service in (("z", ""), ("a", ""), ("y", "s"), ("B", "s"))
        ]
        body = {"Node": "e", "Address": "a", "Service": {"Service": "s"}, "Checks": checks}
        await client.put("/v1/catalog/register", body)
        (found,) = (await client.get("/v1/health/service/s")).json
        assert [each["CheckID"] for each in found["Checks"]] == ["a", "z", "B", "y"]

    run(scenario)


@pytest.mark.parametrize(
    ("definition", "shown"),
    [
        ({"Interval": 5_000_000_000, "HTTP": "http://a"}, {"Interval": "5s", "HTTP": "http://a"}),
        ({"IntervalDuration": "5s", "TCP": "a:1"}, {"Interval": "5s", "TCP": "a:1"}),
        ({"Interval": "0s", "Header": {}}, {}),
        (
            {"HTTP": "http://a", "Header": {"X": ["1", "2"]}, "TLSSkipVerify": True},
            {"HTTP": "http://a", "TLSSkipVerify": True, "Header": {"X": ["1", "2"]}},
        ),
    ],
)
def test_a_check_definition_is_shown_without_its_empty_fields(
    definition: object, shown: object
) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        check = {"Name": "c", "Definition": definition}
        await client.put("/v1/catalog/register", {"Node": "e", "Address": "a", "Check": check})
        (found,) = (await client.get("/v1/health/node/e")).json
        assert found["Definition"] == shown

    run(scenario)


def test_an_external_node_cannot_take_the_id_of_an_agent() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        body = {"Node": "e", "Address": "1.1.1.1", "ID": NODE_ID}
        answer = await client.put("/v1/catalog/register", body)
        assert (answer.status, "is reserved" in answer.text) == (500, True)

    run(scenario)


def test_a_contested_agent_says_who_holds_its_name() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.failure = NameReservedError("n1", "other")
        answer = await client.put("/v1/catalog/register", {"Node": "e", "Address": "1.1.1.1"})
        assert (answer.status, answer.text) == (500, 'node name "n1" is reserved by node other')

    run(scenario)


def test_a_record_that_could_not_be_replicated_is_refused() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        body = {"Node": "e", "Address": "1.1.1.1", "NodeMeta": {"k": "v" * 70_000}}
        assert (await client.put("/v1/catalog/register", body)).status == 500

    run(scenario)


def test_datacenters_are_listed_in_the_order_that_the_wan_gives() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.get("/v1/catalog/datacenters?dc=other")).json == ["dc1"]
        agent.wan.found = [DcPlace("dc1", ()), DcPlace("far", ()), DcPlace("dc2", ())]
        assert (await client.get("/v1/catalog/datacenters")).json == ["dc1", "far", "dc2"]

    run(scenario)


def test_services_of_all_data_centers_are_listed_with_where_they_are() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        places = (Place("dc1", 3, 2, 1000), Place("dc2", 1, 1, 2000))
        agent.wan.all_services = [GlobalService("web", places)]
        answer = await client.get("/v1/catalog/services?global")
        assert answer.json == [
            {
                "Service": "web",
                "Datacenters": [
                    {"Datacenter": "dc1", "Instances": 3, "Healthy": 2, "Version": 1000},
                    {"Datacenter": "dc2", "Instances": 1, "Healthy": 1, "Version": 2000},
                ],
            }
        ]
        assert (await client.get("/v1/catalog/services")).json == {}
        agent.wan.all_services = None
        answer = await client.get("/v1/catalog/services?global=1")
        assert (answer.status, answer.text) == (500, "No known Consul servers")

    run(scenario)


def test_of_checks_with_one_id_the_last_counts_and_the_single_one_is_the_last() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        body = {
            "Node": "e", "Address": "10.0.0.1",
            "Check": {"CheckID": "c", "Name": "single"},
            "Checks": [{"CheckID": "c", "Name": "first"}, {"CheckID": "d", "Name": "second"}],
        }  # fmt: skip
        assert (await client.put("/v1/catalog/register", json=body)).status == 200
        checks = (await client.get("/v1/health/node/e")).json
        assert {check["CheckID"]: check["Name"] for check in checks} == {
            "c": "single", "d": "second",
        }  # fmt: skip

    run(scenario)


def test_a_check_names_its_node_to_the_letter() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        body = {"Node": "e", "Address": "10.0.0.1", "Check": {"CheckID": "c", "Node": "E"}}
        answer = await client.put("/v1/catalog/register", json=body)
        text = 'check node "E" does not match node "e"'
        assert (answer.status, answer.text) == (500, text)

    run(scenario)
