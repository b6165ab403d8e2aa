"""What `svcmesh doctor` calls wrong, and in which words."""

import pytest

from gossip.driver.diagnosis import PINGS, Diagnosis
from gossip.types import Address, MemberName
from svcmesh.doctor import (
    PLAIN,
    Examination,
    MemberReport,
    failed_problems,
    fingerprint,
    network_problems,
    own_problems,
    seal_problems,
)


def found(
    *,
    udp_rtt_s: float | None = 0.001,
    udp_lost: int = 0,
    datagram_bytes: int = 1400,
    tcp_rtt_s: float | None = 0.002,
    tcp_error: str = "",
) -> Diagnosis:
    return Diagnosis(
        MemberName("n2"),
        Address("127.0.0.2", 8301),
        udp_rtt_s,
        udp_lost,
        datagram_bytes,
        tcp_rtt_s,
        tcp_error,
    )


@pytest.mark.parametrize(
    ("diagnosis", "words"),
    [
        (found(), []),
        (found(udp_rtt_s=None, udp_lost=PINGS, datagram_bytes=0), ["is UDP port 8301 blocked"]),
        (found(udp_lost=1), ["1 of 3 UDP pings were lost"]),
        (found(tcp_rtt_s=None, tcp_error="connection refused"), ["no answer by TCP: connection"]),
        (
            found(udp_rtt_s=None, tcp_rtt_s=None, tcp_error="i/o timeout", datagram_bytes=0),
            ["does not answer at all (i/o timeout)"],
        ),
        (found(datagram_bytes=1200), ["datagrams above 1200 bytes do not arrive"]),
        (found(udp_rtt_s=0.4), ["slow: 400 ms"]),
        (found(udp_rtt_s=0.4, datagram_bytes=576), ["above 576", "slow"]),
    ],
)
def test_what_is_wrong_on_the_way_is_said_once_each(diagnosis: Diagnosis, words: list[str]) -> None:
    problems = network_problems(diagnosis, datagram_bytes=1400)
    assert len(problems) == len(words)
    for problem, word in zip(problems, words, strict=True):
        assert word in problem


def test_a_failed_member_is_named_also_when_it_answers() -> None:
    gone = found(udp_rtt_s=None, tcp_rtt_s=None, tcp_error="connection refused")
    assert failed_problems(gone, ["does not answer at all"]) == [
        "has failed, and does not answer at all (connection refused)"
    ]
    assert failed_problems(found(), ["slow"]) == [
        "is listed as failed, but answers this agent",
        "slow",
    ]


@pytest.mark.parametrize(
    ("seal", "own", "problems"),
    [
        ("aa", "aa", []),
        (PLAIN, PLAIN, []),
        (PLAIN, "aa", ["sends plain text"]),
        ("aa", PLAIN, ["encrypts, this agent does not"]),
        ("bb", "aa", ["sends with key bb"]),
    ],
)
def test_a_member_that_seals_otherwise_than_we_do_is_named(
    seal: str, own: str, problems: list[str]
) -> None:
    assert seal_problems(seal, own=own) == problems


def test_a_fingerprint_tells_keys_apart_and_does_not_contain_them() -> None:
    key = bytes(range(16))
    assert fingerprint(key) == fingerprint(key) != fingerprint(key[::-1])
    assert key.hex() not in fingerprint(key)
    assert fingerprint(None) == PLAIN


def test_an_agent_is_itself_examined() -> None:
    assert own_problems(lag_s=0.1, drift_s=0.5, health_score=0) == ()
    lag, clock, score = own_problems(lag_s=1.5, drift_s=-3.0, health_score=2)
    assert "1.5 s late" in lag
    assert "3.0 s behind" in clock
    assert "health score 2" in score


def test_a_report_is_healthy_when_nobody_has_a_problem() -> None:
    fine = MemberReport(found(), False, PLAIN, ())
    sick = MemberReport(found(), False, PLAIN, ("slow",))
    assert Examination(0, 0, 0, PLAIN, (), (fine,)).is_healthy
    assert not Examination(0, 0, 0, PLAIN, (), (fine, sick)).is_healthy
    assert not Examination(0, 0, 0, PLAIN, ("late",), (fine,)).is_healthy
