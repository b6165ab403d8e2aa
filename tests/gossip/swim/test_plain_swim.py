"""What is left of failure detection with `lifeguard` off: SWIM alone, to compare with."""

from dataclasses import replace

from gossip.config import lan
from gossip.serf.events import MemberFailed
from gossip.wire.messages import IndirectPing, Nack, Ping, Suspect
from tests.gossip.machines import ME, Bench, messages, name, of_type, suspect

PLAIN = replace(lan(), lifeguard=False, tcp_pings=False)


def test_a_suspicion_lasts_its_minimum_however_many_confirm_it() -> None:
    for confirmers in ("", "bcd"):
        bench = Bench(members=9, swim=PLAIN)
        bench.take(suspect(name(1), 1, "a"))
        for witness in confirmers:
            bench.take(suspect(name(1), 1, witness))
        assert of_type(MemberFailed, bench.run_for(3.99)) == []
        assert of_type(MemberFailed, bench.run_for(0.02))


def test_a_confirmation_is_not_gossiped() -> None:
    bench = Bench(members=9, swim=PLAIN)
    bench.take(suspect(name(1), 1, "a"))
    bench.run_for(3)
    bench.take(suspect(name(1), 1, "b"))
    assert suspect(name(1), 1, "b") not in messages(bench.run_for(0.9))


def test_failed_probes_and_refuting_leave_a_member_as_healthy_as_before() -> None:
    bench = Bench(members=4, swim=PLAIN)
    bench.peers_answer = False
    bench.run_for(5)
    bench.take(suspect(ME, 1, "a"))
    assert bench.machine.stats()["health_score"] == 0


def test_relays_are_not_asked_for_nacks() -> None:
    bench = Bench(members=4, swim=PLAIN)
    bench.peers_answer = False
    requests = of_type(IndirectPing, messages(bench.run_for(3)))
    assert requests
    assert not any(request.nack for request in requests)
    assert not of_type(Nack, messages(bench.effects))


def test_a_suspect_is_pinged_without_telling_it_first() -> None:
    bench = Bench(members=1, swim=PLAIN)
    bench.run_for(30)
    bench.take(suspect(name(1), 1, "a"))
    packet = bench.run_until_probe()
    assert isinstance(packet.messages[0], Ping)
    # The rumor rides along as on any packet; it is not an accusation of our own.
    assert suspect(name(1), 1, ME) not in of_type(Suspect, packet.messages)
