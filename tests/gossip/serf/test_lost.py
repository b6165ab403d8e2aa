"""The address book of lost peers: whom it keeps, and how often each is dialled."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.config import SerfConfig
from gossip.serf.lost import EAGERNESS_MAX, EAGERNESS_MIN, SWEEP_AFTER_S, LostPeers, eagerness
from gossip.swim.effects import OpenPushPull
from gossip.types import Peer
from tests.gossip.machines import (
    Bench,
    address,
    alive,
    dead,
    leave_intent,
    name,
    of_type,
    user,
)

DAY_S = 24 * 3600.0


def peers_of(bench: Bench) -> set[Peer]:
    return set(bench.machine.peers())


def peer(number: int) -> Peer:
    return Peer(name(number), address(number))


class TestEagerness:
    @given(st.floats(0, 1e9), st.floats(0, 1e9))
    def test_it_decays_and_never_ends(self, a: float, b: float) -> None:
        sooner, later = sorted((a, b))
        first, second = (eagerness(at) for at in (sooner, later))
        assert EAGERNESS_MIN <= second <= first <= EAGERNESS_MAX

    @pytest.mark.parametrize(
        ("lost_s", "dials"),
        [(0, 20), (30, 20), (60, 10), (600, 1), (DAY_S / 2, 1), (4 * DAY_S, 0.25)],
    )
    def test_an_hour_is_no_less_than_in_serf_and_days_are_rare(
        self, lost_s: float, dials: float
    ) -> None:
        assert eagerness(lost_s) == dials


class TestWhoIsMissed:
    def test_a_failed_member_is_missed_and_stays_so_when_it_is_listed_no_more(self) -> None:
        bench = Bench(members=2, serf=SerfConfig(reconnect_timeout_s=60))
        bench.take(dead(name(1), 1, "m2"))
        bench.run_for(120)
        assert bench.machine.member(name(1)) is None
        assert peers_of(bench) == {peer(1), peer(2)}
        assert bench.machine.stats()["lost_peers"] == 1

    def test_one_that_left_is_not_missed(self) -> None:
        bench = Bench(members=2)
        bench.take(user(leave_intent(name(1), 9)))
        bench.take(dead(name(1), 1, "m1"))
        assert peers_of(bench) == {peer(2)}

    def test_one_that_failed_and_was_forced_to_leave_is_not_missed_any_more(self) -> None:
        bench = Bench(members=2)
        bench.take(dead(name(1), 1, "m2"))
        bench.take(user(leave_intent(name(1), 9)))
        assert peers_of(bench) == {peer(2)}

    def test_one_that_returns_is_present_and_not_missed(self) -> None:
        bench = Bench(members=2)
        bench.take(dead(name(1), 1, "m2"))
        bench.take(alive(1, 2))
        assert bench.machine.stats()["lost_peers"] == 0
        assert peers_of(bench) == {peer(1), peer(2)}

    def test_a_name_or_address_that_somebody_has_is_not_missed(self) -> None:
        lost = LostPeers(size_max=9)
        lost.lose(*peer(1), now=0.0)
        lost.lose(*peer(2), now=0.0)
        lost.find(name(1), address(7), now=1.0)
        lost.find(name(8), address(2), now=1.0)
        assert list(lost) == []

    def test_the_book_is_bounded_and_gives_up_the_longest_lost(self) -> None:
        lost = LostPeers(size_max=3)
        for number in range(5):
            lost.lose(*peer(number), now=float(number))
        assert [p.name for p in lost] == [name(2), name(3), name(4)]


class TestDialling:
    def dials(self, bench: Bench, duration_s: float) -> int:
        effects = bench.run_for(duration_s)
        return sum(e.state.join for e in of_type(OpenPushPull, effects))

    def test_peers_of_an_earlier_run_are_dialled_at_once(self) -> None:
        bench = Bench(known_peers=[peer(1), peer(2)])
        (first,) = of_type(OpenPushPull, bench.step())
        assert first.to in {address(1), address(2)}

    def test_who_has_lost_everybody_dials_every_second(self) -> None:
        bench = Bench(known_peers=[peer(n) for n in range(1, 50)])
        assert 50 <= self.dials(bench, 60) <= 62

    def test_ourselves_are_not_looked_for(self) -> None:
        me = Bench().machine.local
        bench = Bench(known_peers=[Peer(me.name, me.address)])
        assert self.dials(bench, 60) == 0

    def test_a_pool_together_dials_a_lost_peer_as_often_as_it_is_eager(self) -> None:
        cases = ((10, 3600.0, 1.0), (10, 10.0, 20.0), (100, 30.0, 20.0))
        for present, lost_s, per_interval in cases:
            dials, spent_s, rng = 0, 0.0, Random(1)
            lost = LostPeers(size_max=9)
            lost.lose(*peer(1), now=0.0)
            while spent_s < 300_000:
                found, pause_s = lost.plan(present=present, interval_s=30, rng=rng, now=lost_s)
                dials += found is not None
                spent_s += pause_s
            assert dials * present * 30 / spent_s == pytest.approx(per_interval, rel=0.15)

    def test_with_one_that_returns_the_others_of_its_company_are_dialled_once_each(self) -> None:
        lost = LostPeers(size_max=99)
        for number in range(1, 30):
            lost.lose(*peer(number), now=1000.0 + number)
        lost.lose(*peer(50), now=0.0)  # long before
        now = 2000.0
        assert lost.find(*peer(7), now=now)
        lost.find(*peer(8), now=now + 1)  # by gossip, in time
        rng, dialled = Random(1), list[str]()
        now += SWEEP_AFTER_S
        while now < 2050:
            found, pause_s = lost.plan(present=10_000, interval_s=30, rng=rng, now=now)
            dialled += [found.name] if found else []
            now += pause_s
        assert sorted(dialled) == sorted(name(n) for n in range(1, 30) if n not in (7, 8))

    def test_one_that_returns_alone_makes_nobody_dial(self) -> None:
        bench = Bench(members=200)
        bench.take(dead(name(1), 1, "m2"))
        bench.run_for(700)
        bench.take(dead(name(2), 1, "m3"))
        bench.run_for(700)
        bench.take(alive(1, 2))
        assert self.dials(bench, 60) <= 1

    def test_after_a_year_it_is_still_dialled(self) -> None:
        lost = LostPeers(size_max=9)
        lost.lose(*peer(1), now=0.0)
        rng, now, found = Random(1), 365 * DAY_S, None
        while found is None and now < 366 * DAY_S:
            found, pause_s = lost.plan(present=1, interval_s=30, rng=rng, now=now)
            now += pause_s
        assert found is not None
