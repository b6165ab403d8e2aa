"""`/v1/agent/consistency`."""

from datetime import UTC, datetime

from svcmesh.catalog.agreement import Version
from svcmesh.consistency import NamedDifference, PeerReport
from tests.svcmesh.api.fakes import Client, FakeAgent, run


def seconds_ago(text: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


def test_a_report_has_instants_and_what_differs() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        difference = NamedDifference("n3", False, Version(1, 4), Version(1, 9), True, 5.0)
        agent.consistency.agrees, agent.consistency.lag_s = False, 5.0
        agent.consistency.peers = (
            PeerReport("n2", False, 10.0, 1.0, 2, (difference,)),
            PeerReport("n4", None, 0.0, 0.0, 0, ()),
        )
        answer = (await client.get("/v1/agent/consistency")).json
        assert (answer["Node"], answer["Agrees"], answer["LagSeconds"]) == ("n1", False, 5.0)
        assert answer["Fingerprint"] == "0000000000000abc"
        assert 60 <= seconds_ago(answer["Since"]) < 70
        n2, n4 = answer["Peers"]
        assert 10 <= seconds_ago(n2["Since"]) < 20
        assert 1 <= seconds_ago(n2["Compared"]) < 10
        assert n2["Differences"][0] == {
            "Node": "n3",
            "External": False,
            "Ours": {"Epoch": 1, "Sequence": 4},
            "Theirs": {"Epoch": 1, "Sequence": 9},
            "WeLack": True,
            "Since": n2["Differences"][0]["Since"],
        }
        assert (n4["Agrees"], n4["Since"], n4["Compared"]) == (None, None, None)

    run(scenario)


def test_statistics_say_whether_agents_agree_and_the_lag() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.consistency.agrees, agent.consistency.lag_s = None, 1.5
        catalog = (await client.get("/v1/agent/self")).json["Stats"]["catalog"]
        assert (catalog["agrees"], catalog["lag_ms"]) == ("unknown", "1500")

    run(scenario)


def test_the_lag_is_a_metric() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.consistency.lag_s = 2.5
        gauges = (await client.get("/v1/agent/metrics")).json["Gauges"]
        (lag,) = [one["Value"] for one in gauges if one["Name"].endswith("catalog.lag_s")]
        assert lag == 2.5

    run(scenario)
