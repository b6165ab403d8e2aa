"""Who hears nobody cannot hear a refutation: what that means for suspicions."""

from dataclasses import replace

from gossip.config import SwimConfig, lan
from gossip.serf.events import MemberFailed
from gossip.swim.hearing import Hearing
from tests.gossip.machines import Bench, alive, name, of_type, suspect

QUIET = replace(lan(), crash_evidence=False, own_stalls=False, push_pull_interval_s=0.0)
"""Minimum 4 s and maximum 24 s in a pool of ten; two confirmations are wanted."""


def pool(swim: SwimConfig = QUIET) -> Bench:
    return Bench(members=9, swim=swim)


def failed(bench: Bench) -> list[str]:
    return [event.member.name for event in of_type(MemberFailed, bench.effects)]


def confirmed(bench: Bench) -> None:
    """m1 is accused by three, at once."""
    for accuser in ("m2", "m3", "m4"):
        bench.take(suspect(name(1), 1, accuser))


def test_with_others_to_be_heard_confirmations_shorten_the_wait_to_the_minimum() -> None:
    bench = pool()
    confirmed(bench)
    bench.run_for(4.1)
    assert failed(bench) == ["m1"]


def test_a_member_that_hears_nobody_waits_for_the_longest_suspicion() -> None:
    bench = pool()
    bench.peers_answer = False
    confirmed(bench)
    bench.run_for(23.9)
    assert "m1" not in failed(bench)
    bench.run_for(0.2)
    assert "m1" in failed(bench)


def test_a_refutation_that_waited_all_that_time_is_in_time() -> None:
    bench = pool()
    bench.peers_answer = False
    confirmed(bench)
    bench.run_for(15)
    bench.take(alive(1, 2))
    bench.peers_answer = True
    bench.run_for(30)
    assert "m1" not in failed(bench)


def test_time_in_which_nobody_was_heard_does_not_count() -> None:
    bench = pool()
    bench.peers_answer = False
    bench.take(suspect(name(1), 1, "m2"))
    bench.run_for(20)
    bench.take(alive(3))
    bench.peers_answer = True
    bench.run_for(4.5)  # the longest suspicion, 24 s, would be over by now
    assert "m1" not in failed(bench)
    bench.run_for(24)
    assert "m1" in failed(bench)


def test_a_late_confirmation_leaves_a_probe_interval_to_refute() -> None:
    bench = pool()
    bench.take(suspect(name(1), 1, "m2"))
    bench.run_for(10)
    bench.take(suspect(name(1), 1, "m3"))
    bench.take(suspect(name(1), 1, "m4"))
    bench.run_for(0.9)
    assert failed(bench) == []
    bench.run_for(0.2)
    assert failed(bench) == ["m1"]


def test_without_it_a_late_confirmation_decides_at_once_as_in_memberlist() -> None:
    bench = pool(replace(QUIET, fair_hearing=False))
    bench.take(suspect(name(1), 1, "m2"))
    bench.run_for(10)
    bench.take(suspect(name(1), 1, "m3"))
    bench.take(suspect(name(1), 1, "m4"))
    bench.run_for(0.01)
    assert failed(bench) == ["m1"]


def test_three_probe_intervals_without_a_message_are_a_silence() -> None:
    hearing = Hearing(2.0, now=10.0)
    assert not hearing.is_deaf(16.0)
    assert hearing.is_deaf(16.1)
    assert hearing.hear(16.5) == 6.5
    assert hearing.hear(17.0) == 0.0
