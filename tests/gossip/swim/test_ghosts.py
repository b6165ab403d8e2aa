"""Nobody stays dead by mistake, and nobody returns by mistake (stale claims, forgotten members)."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.config import SwimConfig
from gossip.serf.events import Effect, MemberJoined
from gossip.types import Address, MemberState
from gossip.wire.messages import Alive, Dead, PacketMessage, PushPull, Suspect
from tests.gossip.machines import (
    ME,
    STRANGER,
    Bench,
    address,
    alive,
    dead,
    messages,
    name,
    node,
    of_type,
    sent,
    suspect,
)

DAY_S = 24 * 3600.0


def told(effects: Sequence[Effect], to: Address) -> list[PacketMessage]:
    """The claims that were sent to one address."""
    return [
        message
        for packet in sent(effects)
        if packet.to == to
        for message in packet.messages
        if isinstance(message, Alive | Suspect | Dead)
    ]


def forgotten(claim: Dead, **settings: object) -> Bench:
    """A machine whose table has forgotten a member that is gone."""
    bench = Bench(members=3, **settings)  # type: ignore[arg-type]  # the bench's own keywords
    bench.take(alive(1, claim.incarnation))
    bench.take(claim)
    bench.run_for(60)
    reply = bench.exchange(PushPull(False, ()))
    assert name(1) not in {n.name for n in reply.nodes}
    bench.effects.clear()
    return bench


class TestStaleClaims:
    def test_who_restarted_too_low_is_told_of_its_death_at_its_own_address(self) -> None:
        bench = Bench(members=3)
        bench.take(dead(name(1), 100, "m2"))
        answer = bench.take(alive(1, 1), source=address(2))
        assert told(answer, address(1)) == [suspect(name(1), 100, ME)]

    def test_an_old_life_of_a_member_is_answered_with_its_newest(self) -> None:
        bench = Bench(members=3)
        bench.take(alive(1, 6))
        assert told(bench.take(alive(1, 5), source=address(2)), address(2)) == [alive(1, 6)]

    @pytest.mark.parametrize("accuse", [suspect, dead])
    def test_an_accusation_of_an_old_life_is_answered_with_the_new_one(
        self, accuse: type[Suspect]
    ) -> None:
        bench = Bench(members=3)
        bench.take(alive(1, 6))
        answer = bench.take(accuse(name(1), 5, "m2"), source=address(2))  # type: ignore[call-arg, arg-type]
        assert told(answer, address(2)) == [alive(1, 6)]

    def test_whoever_accuses_us_is_told_at_once_that_we_live(self) -> None:
        bench = Bench()
        (refuted,) = told(bench.take(suspect(ME, 4, "m2"), source=STRANGER), STRANGER)
        assert isinstance(refuted, Alive)
        assert refuted.incarnation == 5
        (again,) = told(bench.take(suspect(ME, 4, "m2"), source=STRANGER), STRANGER)
        assert again == refuted
        assert bench.machine.incarnation == 5

    def test_who_left_is_told_so_and_so_is_who_believes_in_it(self) -> None:
        bench = Bench(members=3)
        bench.take(dead(name(1), 7, "m1"))
        answer = bench.take(alive(1, 7), source=address(2))
        assert told(answer, address(1)) == [dead(name(1), 7, "m1")]
        assert told(answer, address(2)) == [dead(name(1), 7, "m1")]

    def test_what_everybody_knows_is_not_answered(self) -> None:
        bench = Bench(members=3)
        assert bench.take(alive(1, 1), source=address(2)) == []
        assert told(bench.take(suspect(name(1), 1, "m2"), source=address(2)), address(2)) == []

    def test_answers_are_bounded(self) -> None:
        bench = Bench(members=3)
        bench.take(alive(1, 6))
        answers = [bench.take(alive(1, 5), source=address(2)) for _ in range(10_000)]
        assert sum(map(bool, answers)) < 2500


class TestForgottenMembers:
    def test_an_equal_or_older_life_does_not_bring_back_who_died(self) -> None:
        bench = forgotten(dead(name(1), 5, "m2"))
        for incarnation in (4, 5):
            answer = bench.take(alive(1, incarnation), source=address(2))
            assert of_type(MemberJoined, answer) == []
            assert told(answer, address(1)) == [suspect(name(1), 5, ME)]

    def test_a_newer_life_does(self) -> None:
        bench = forgotten(dead(name(1), 5, "m2"))
        assert of_type(MemberJoined, bench.take(alive(1, 6)))

    def test_what_is_heard_of_the_dead_only_raises_what_is_known(self) -> None:
        bench = forgotten(dead(name(1), 5, "m2"))
        bench.take(suspect(name(1), 8, "m2"))
        assert of_type(MemberJoined, bench.take(alive(1, 8))) == []
        assert of_type(MemberJoined, bench.take(alive(1, 9)))

    def test_a_full_state_does_not_bring_it_back_and_is_told_of_the_end(self) -> None:
        bench = forgotten(dead(name(1), 5, "m1"))
        reply = bench.exchange(PushPull(False, (node(1, 5), node(2))))
        mentioned = {n.name: (n.state, n.incarnation) for n in reply.nodes}
        assert mentioned[name(1)] == (MemberState.LEFT, 5)
        assert of_type(MemberJoined, bench.effects) == []

    def test_its_name_is_free_for_another_host_at_any_incarnation(self) -> None:
        bench = forgotten(dead(name(1), 5, "m2"))
        elsewhere = Address("10.9.9.9", 7946)
        assert of_type(MemberJoined, bench.take(alive(1, 1, at=elsewhere)))

    def test_a_day_later_nothing_is_remembered_of_it(self) -> None:
        bench = forgotten(dead(name(1), 5, "m2"), swim=SwimConfig(remember_gone_s=300))
        bench.run_for(200)
        assert of_type(MemberJoined, bench.take(alive(1, 5))) == []
        bench.run_for(200)
        assert of_type(MemberJoined, bench.take(alive(1, 5)))


@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_whatever_is_claimed_in_whatever_order_incarnations_only_rise(
    seed: int, kinds: list[int]
) -> None:
    rng = Random(seed)
    bench = Bench(members=2)
    highest = 1
    for kind in kinds:
        incarnation = rng.randrange(1, 8)
        match kind:
            case 0:
                bench.take(alive(1, incarnation))
            case 1:
                bench.take(suspect(name(1), incarnation, "m2"))
            case 2:
                bench.take(dead(name(1), incarnation, rng.choice(["m1", "m2"])))
            case _:
                bench.run_for(rng.choice([0.5, 40.0]))
        known = bench.machine.member(name(1))
        assert known is not None
        assert known.incarnation >= highest
        highest = known.incarnation


def test_a_name_nobody_knows_is_answered_by_nothing() -> None:
    bench = Bench(members=1)
    assert messages(bench.take(suspect(name(9), 5, "m1"), source=address(1))) == []
