"""`/v1/agent/why/service/...`."""

from svcmesh.catalog.changes import OwnNode, RecordChanged
from svcmesh.catalog.records import CheckRecord, HealthStatus, Kind, NodeId, ServiceRecord
from svcmesh.insight import Standing
from tests.svcmesh.api.fakes import NODE_ID, Client, FakeAgent, member, run

OWNER = OwnNode(NodeId(NODE_ID))


def test_an_instance_is_explained_check_by_check_with_its_member() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.insight.standings["n1"] = Standing(member("n1"), ())
        agent.change(OWNER, ServiceRecord("a/b", "web", port=80))
        check = CheckRecord("c", "C", HealthStatus.CRITICAL, "refused", service_id="a/b")
        agent.change(OWNER, check)
        agent.health_log.note(
            RecordChanged(OWNER, Kind.CHECK, "c", None, check), is_synced=True, now_utc=1.7e9 + 0.5
        )
        answer = (await client.get("/v1/agent/why/service/a%2Fb")).json
        assert answer["AskedOf"] == "n1"
        assert answer["RemembersSince"] == "2023-11-14T22:13:20.000Z"
        (instance,) = answer["Instances"]
        assert not instance["Answered"]
        assert (instance["Node"], instance["Address"], instance["Port"]) == ("n1", "127.0.0.9", 80)
        assert instance["Member"]["Status"] == "alive"
        assert instance["Checks"][0] == {
            "Kind": "service",
            "CheckID": "c",
            "Name": "C",
            "Status": "critical",
            "Since": "2023-11-14T22:13:20.500Z",
            "SeenBy": "n1",
            "Output": "refused",
            "Excludes": True,
            "History": [
                {
                    "At": "2023-11-14T22:13:20.500Z",
                    "From": "",
                    "To": "critical",
                    "Output": "refused",
                    "WasThere": False,
                }
            ],
        }

    run(scenario)


def test_what_nobody_has_is_not_found_and_a_node_of_that_name_is_another_question() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.insight.standings["n1"] = Standing(member("n1"), ())
        assert (await client.get("/v1/agent/why/service/n1")).status == 404
        assert (await client.get("/v1/agent/why/n1")).json["Status"] == "alive"

    run(scenario)
