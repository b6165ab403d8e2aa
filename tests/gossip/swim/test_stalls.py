"""A member that did not run blames itself, and nobody else for that time."""

from dataclasses import replace

import pytest

from gossip.config import SwimConfig, lan
from gossip.serf.events import MemberFailed
from gossip.swim.effects import StallNoticed
from gossip.wire.messages import Ack, Ping, Suspect
from tests.gossip.machines import ME, Bench, alive, messages, name, of_type, suspect

NO_TCP = replace(lan(), tcp_pings=False)


def health(bench: Bench) -> int:
    return bench.machine.stats()["health_score"]


def stalled(bench: Bench, duration_s: float) -> list[object]:
    """Let the time pass without running the machine, then wake it."""
    bench.now += duration_s
    return [*bench.note(bench.machine.handle_timer(now=bench.now))]


def probing(members: int, swim: SwimConfig = NO_TCP) -> tuple[Bench, Ping]:
    bench = Bench(members=members, swim=swim)
    bench.run_for(20)
    bench.peers_answer = False
    (ping,) = of_type(Ping, bench.run_until_probe().messages)
    return bench, ping


@pytest.mark.parametrize(("stalled_s", "score"), [(0.7, 0), (0.8, 1), (2.0, 2), (30.0, 7)])
def test_a_missed_deadline_lowers_our_standing_by_how_late_we_are(
    stalled_s: float, score: int
) -> None:
    bench, _ = probing(3)  # its direct ping has half a second
    noticed = of_type(StallNoticed, stalled(bench, stalled_s))
    assert health(bench) == score
    assert [event.stalled_s for event in noticed] == (
        [pytest.approx(stalled_s - 0.5)] if score else []
    )


def test_a_stall_that_the_shell_measured_lowers_it_too_but_not_twice() -> None:
    bench = Bench(members=3)
    bench.run_for(5)
    bench.now += 1.2
    first = bench.machine.handle_stall(1.2, now=bench.now)
    again = [*bench.machine.handle_timer(now=bench.now)]
    assert len(of_type(StallNoticed, [*first, *again])) == 1
    assert health(bench) == 2


def test_a_probe_that_ended_while_we_did_not_run_accuses_nobody() -> None:
    bench, ping = probing(4)
    bench.run_for(0.6)  # relays were asked; the verdict is due in 0.4 s
    woken = stalled(bench, 5.0)
    assert of_type(Suspect, messages(woken)) == []  # type: ignore[arg-type]  # effects all
    bench.run_for(0.4)
    bench.take(Ack(ping.seq_no))
    assert of_type(Suspect, messages(bench.run_for(0.3))) == []


def test_a_silence_that_goes_on_after_the_stall_is_an_accusation() -> None:
    bench, ping = probing(4)
    bench.run_for(0.6)
    stalled(bench, 5.0)
    assert suspect(ping.node, 1, ME) in messages(bench.run_for(0.6))


def test_a_suspicion_that_ended_while_we_did_not_run_waits_for_what_we_missed() -> None:
    bench = Bench(members=3)
    bench.run_for(5)
    bench.take(suspect(name(1), 1, "m2"))
    assert of_type(MemberFailed, stalled(bench, 60.0)) == []
    bench.run_for(0.9)
    bench.take(alive(1, 2))
    assert of_type(MemberFailed, bench.run_for(5)) == []


def test_whoever_stays_silent_after_our_stall_fails_an_interval_later() -> None:
    bench = Bench(members=3, swim=replace(lan(), fair_hearing=False))
    bench.run_for(5)
    bench.take(suspect(name(1), 1, "m2"))
    stalled(bench, 60.0)
    bench.take(suspect(name(1), 1, "m3"))
    assert of_type(MemberFailed, bench.run_for(0.95)) == []
    assert of_type(MemberFailed, bench.run_for(0.1))


def test_with_the_switch_off_lateness_is_nothing() -> None:
    bench, _ = probing(3, replace(NO_TCP, own_stalls=False))
    assert of_type(StallNoticed, stalled(bench, 10.0)) == []
    assert health(bench) == 0
