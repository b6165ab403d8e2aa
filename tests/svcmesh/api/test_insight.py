"""`/v1/agent/why/...` and `/v1/agent/doctor`."""

from gossip.driver.diagnosis import Diagnosis
from gossip.serf.events import MemberStatus
from gossip.swim.history import Accusation, Reason, Step
from gossip.types import Address, Incarnation, MemberName
from svcmesh.doctor import Examination, MemberReport
from svcmesh.insight import Standing
from tests.svcmesh.api.fakes import Client, FakeAgent, member, run

AT_UTC = 1_700_000_000.25


def told(step: Step, by: str, reason: Reason | None = None) -> tuple[float, Accusation]:
    return AT_UTC, Accusation(5.0, step, MemberName(by), reason, Incarnation(7))


def test_why_tells_the_status_and_each_step_with_its_author_and_reason() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.insight.standings["n 7"] = Standing(
            member("n 7", MemberStatus.FAILED),
            (told(Step.SUSPECTED, "n3", Reason.REFUSED), told(Step.FAILED, "n4", Reason.TIMEOUT)),
        )
        answer = (await client.get("/v1/agent/why/n%207")).json
        assert answer["Node"] == "n 7"
        assert answer["Status"] == "failed"
        assert answer["Address"] == "127.0.0.9:8301"
        assert answer["Timeline"][0] == {
            "At": "2023-11-14T22:13:20.250Z",
            "Step": "suspected",
            "By": "n3",
            "Reason": "refused",
            "Incarnation": 7,
            "Text": "suspected by n3: its host refused the connection",
        }
        assert answer["Timeline"][1]["Text"] == "declared failed by n4: no answer"

    run(scenario)


def test_a_member_that_was_forgotten_still_has_its_timeline() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.insight.standings["gone"] = Standing(None, (told(Step.LEFT, "gone", Reason.LEAVE),))
        answer = (await client.get("/v1/agent/why/gone")).json
        assert (answer["Status"], answer["Address"]) == ("forgotten", "")

    run(scenario)


def test_an_unknown_name_is_not_found() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/agent/why/nobody")
        assert answer.status == 404
        assert "nobody" in answer.text

    run(scenario)


def test_the_doctor_reports_each_member_in_milliseconds() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        diagnosis = Diagnosis(
            MemberName("n2"), Address("127.0.0.2", 8301), 0.0012344, 1, 1200, None, "refused"
        )
        sick = MemberReport(diagnosis, False, "plain text", ("no answer by TCP: refused",))
        agent.insight.report = Examination(0.0015, -2.5, 1, "plain text", ("late",), (sick,))
        answer = (await client.get("/v1/agent/doctor")).json
        assert answer == {
            "Node": "n1",
            "Healthy": False,
            "Problems": ["late"],
            "LoopLagMs": 1.5,
            "ClockDriftMs": -2500.0,
            "HealthScore": 1,
            "Encryption": "plain text",
            "Members": [
                {
                    "Node": "n2",
                    "Address": "127.0.0.2:8301",
                    "Failed": False,
                    "UdpRttMs": 1.23,
                    "UdpLost": 1,
                    "DatagramBytes": 1200,
                    "TcpRttMs": None,
                    "TcpError": "refused",
                    "Encryption": "plain text",
                    "Problems": ["no answer by TCP: refused"],
                }
            ],
        }

    run(scenario)
