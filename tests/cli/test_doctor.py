"""`svcmesh doctor`."""

import json

from tests.cli.conftest import Run, StubApi

FINE = {
    "Node": "n2",
    "Address": "127.0.0.2:8301",
    "UdpRttMs": 0.61,
    "UdpLost": 0,
    "DatagramBytes": 1400,
    "TcpRttMs": 1.1,
    "TcpError": "",
    "Encryption": "17f2598d",
    "Problems": [],
}
SICK = {
    **FINE,
    "Node": "n3",
    "UdpRttMs": None,
    "DatagramBytes": 0,
    "Encryption": "unknown",
    "Problems": ["no answer by UDP", "slow"],
}
REPORT = {
    "Node": "n1",
    "Healthy": True,
    "Problems": [],
    "LoopLagMs": 1.5,
    "ClockDriftMs": -3.0,
    "HealthScore": 0,
    "Encryption": "17f2598d",
    "Members": [FINE],
}


def test_a_healthy_pool_is_a_table_and_status_zero(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/doctor", REPORT)
    result = run("doctor")
    assert result.status == 0
    assert result.out.splitlines() == [
        "n1: loop lag 2 ms at most in the last minute, clock -3 ms from the peers' median, "
        "health score 0, gossip sent as encrypted with key 17f2598d",
        "",
        "Node  Address         UDP     TCP     Datagram  Encryption  Problem",
        "n2    127.0.0.2:8301  0.6 ms  1.1 ms  1400      17f2598d    -",
        "",
        "1 member examined, nothing wrong with them",
    ]


def test_an_agent_that_is_alone_examines_nobody(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/doctor", {**REPORT, "Members": []})
    assert run("doctor").out.splitlines()[1:] == ["There are no other members to examine"]


def test_a_sick_member_or_agent_is_status_two(run: Run, api: StubApi) -> None:
    sick = {**REPORT, "Healthy": False, "Members": [SICK, FINE], "Problems": ["its clock is off"]}
    api.answer("/v1/agent/doctor", sick)
    result = run("doctor")
    assert result.status == 2
    assert "  its clock is off" in result.out.splitlines()
    assert "no answer by UDP; slow" in result.out
    assert "2 members examined, 1 with problems" in result.out


def test_json_is_the_answer_of_the_api_with_the_same_status(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/doctor", {**REPORT, "Healthy": False})
    result = run("doctor", "-format=json")
    assert result.status == 2
    assert json.loads(result.out)["Members"] == [FINE]


def test_an_agent_that_cannot_be_asked_is_status_one(run: Run, api: StubApi) -> None:
    api.answer("/v1/agent/doctor", "no", status=500)
    assert run("doctor").status == 1
