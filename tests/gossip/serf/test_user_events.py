"""User events of our own, what is told of all of them, and coalescing (10.10)."""

from dataclasses import replace

import pytest

from gossip.config import SerfConfig, SwimConfig
from gossip.errors import ConfigError, StateError, TooLargeError
from gossip.serf.events import UserEventReceived
from gossip.types import LamportTime
from gossip.wire.messages import UserEvent
from svcmesh.simulate.pool import SimulatedPool
from tests.gossip.machines import Bench, of_type, user
from tests.gossip.serf.test_intake import event, quiet_bench
from tests.gossip.serf.test_members import give_state, handed_on, state_of


def told(bench: Bench) -> list[UserEventReceived]:
    return of_type(UserEventReceived, bench.effects)


def fire(bench: Bench, name: str, payload: bytes = b"", *, coalesce: bool = False) -> LamportTime:
    ltime, effects = bench.machine.user_event(name, payload, coalesce=coalesce, now=bench.now)
    bench.note(effects)
    return ltime


class TestFiring:
    def test_it_is_told_here_and_handed_on(self) -> None:
        bench = quiet_bench()
        ltime = fire(bench, "deploy", b"v1", coalesce=True)
        assert told(bench) == [UserEventReceived("deploy", b"v1", ltime)]
        assert set(handed_on(bench)) == {UserEvent(ltime, "deploy", b"v1", True)}

    def test_each_has_a_time_after_everything_seen_before(self) -> None:
        bench = quiet_bench()
        bench.take(user(event(41)))
        assert [fire(bench, "a"), fire(bench, "a")] == [42, 43]

    def test_the_size_is_limited_as_encoded(self) -> None:
        bench = quiet_bench()
        room = 512 - len("xy") - len(b"\x03\x84\xa2CC\xc2\xa5LTime\x01\xa4Name\xa0\xa7Payload") - 3
        fire(bench, "xy", b"p" * room)
        with pytest.raises(TooLargeError):
            fire(bench, "xy", b"p" * (room + 1))
        assert len(told(bench)) == 1

    def test_a_raised_limit_does_not_exceed_what_a_packet_carries(self) -> None:
        bench = Bench(members=3, serf=SerfConfig(event_bytes_max=9216))
        with pytest.raises(TooLargeError):
            fire(bench, "x", b"p" * 1400)
        large = Bench(
            serf=SerfConfig(event_bytes_max=9216), swim=SwimConfig(udp_buffer_bytes=10_000)
        )
        fire(large, "x", b"p" * 9000)

    def test_the_limit_itself_is_limited(self) -> None:
        with pytest.raises(ConfigError):
            SerfConfig(event_bytes_max=9217)

    def test_who_leaves_fires_no_more(self) -> None:
        bench = quiet_bench()
        bench.note(bench.machine.leave(now=bench.now))
        with pytest.raises(StateError):
            fire(bench, "x")


class TestTelling:
    def test_each_event_is_told_once_whichever_way_it_comes(self) -> None:
        bench = quiet_bench()
        bench.take(user(event(3)))
        bench.take(user(event(3)))
        other = quiet_bench()
        other.take(user(event(3)))
        give_state(bench, state_of(other))
        assert [(e.name, e.ltime) for e in told(bench)] == [("deploy", 3)]

    def test_an_event_that_only_a_push_pull_brings_is_told(self) -> None:
        bench, other = quiet_bench(), quiet_bench()
        give_state(bench, state_of(other))
        other.take(user(event(3)))
        give_state(bench, state_of(other))
        assert [(e.name, e.ltime) for e in told(bench)] == [("deploy", 3)]

    def test_what_was_before_the_first_contact_is_not(self) -> None:
        bench, other = quiet_bench(), quiet_bench()
        other.take(user(event(3)))
        give_state(bench, state_of(other))
        assert told(bench) == []
        other.take(user(event(4)))
        give_state(bench, state_of(other))
        assert [(e.name, e.ltime) for e in told(bench)] == [("deploy", 4)]


class TestCoalescing:
    CONFIG = SerfConfig(coalesce_period_s=3.0, coalesce_quiet_s=1.0)

    def burst(self, bench: Bench, *ltimes: int, name: str = "deploy", cc: bool = True) -> None:
        for ltime in ltimes:
            bench.take(user(replace(event(ltime, name), coalesce=cc)))

    def test_of_a_burst_the_last_is_told_when_it_is_quiet(self) -> None:
        bench = Bench(members=3, serf=self.CONFIG)
        self.burst(bench, 3, 5, 4)
        bench.run_for(0.9)
        assert told(bench) == []
        bench.run_for(0.2)
        assert [e.ltime for e in told(bench)] == [5]

    def test_a_burst_that_does_not_end_is_cut_at_the_period(self) -> None:
        bench = Bench(members=3, serf=self.CONFIG)
        for ltime in range(3, 13):
            self.burst(bench, ltime)
            bench.run_for(0.5)
        # At 3.0 s the seventh, of 3.0 s, has come; the rest is a burst of its own.
        assert [e.ltime for e in told(bench)] == [8]

    def test_names_are_coalesced_separately(self) -> None:
        bench = Bench(members=3, serf=self.CONFIG)
        self.burst(bench, 3, 4)
        self.burst(bench, 5, name="other")
        bench.run_for(2)
        assert [(e.name, e.ltime) for e in told(bench)] == [("deploy", 4), ("other", 5)]

    def test_different_events_of_the_same_time_are_both_told(self) -> None:
        bench = Bench(members=3, serf=self.CONFIG)
        for payload in (b"1", b"2"):
            bench.take(user(replace(event(3, payload=payload), coalesce=True)))
        bench.run_for(2)
        assert [e.payload for e in told(bench)] == [b"1", b"2"]

    def test_events_whose_sender_did_not_allow_it_are_told_at_once(self) -> None:
        bench = Bench(members=3, serf=self.CONFIG)
        self.burst(bench, 3, 4, cc=False)
        assert [e.ltime for e in told(bench)] == [3, 4]

    def test_it_is_handed_on_without_delay(self) -> None:
        bench = Bench(members=3, serf=self.CONFIG)
        bench.run_for(5)
        self.burst(bench, 3)
        assert {e.ltime for e in handed_on(bench, 0.5)} == {3}


def test_everybody_hears_every_event_once(seed: int) -> None:
    pool = SimulatedPool(seed=seed)
    members = pool.add_joined(12)
    pool.run_for(5)
    for number in range(20):
        members[number % 12].user_event("deploy", b"%d" % number)
        pool.run_for(0.1)
    pool.run_for(3)
    for member in members:
        payloads = [e.payload for _, e in member.events_of(UserEventReceived)]  # type: ignore[attr-defined]  # the kind asked for
        assert sorted(payloads, key=int) == [b"%d" % number for number in range(20)]
