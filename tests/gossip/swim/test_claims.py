"""The merge rules of alive, suspect and dead (gossip protocol, 8.3 to 8.6)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.config import SwimConfig
from gossip.serf.events import (
    Member,
    MemberFailed,
    MemberJoined,
    MemberStatus,
    MemberUpdated,
)
from gossip.swim.effects import NameConflict
from gossip.types import Address, MemberName
from gossip.wire.messages import Alive, Dead, PacketMessage, PushPull, PushPullNode, Suspect
from tests.gossip.machines import (
    ME,
    STRANGER,
    VSN,
    Bench,
    address,
    alive,
    dead,
    drop_reasons,
    messages,
    name,
    node,
    of_type,
    suspect,
)


def swim_view(bench: Bench, number: int) -> PushPullNode | None:
    """What the machine tells others of a member: the state in its push/pull."""
    reply = bench.exchange(PushPull(False, ()))
    return next((n for n in reply.nodes if n.name == name(number)), None)


def rumors(bench: Bench) -> list[PacketMessage]:
    """What the machine gossips next, itself joining aside."""
    return [m for m in messages(bench.run_for(0.5)) if isinstance(m, Alive | Suspect | Dead)]


def state_of(bench: Bench, number: int) -> int | None:
    found = swim_view(bench, number)
    return None if found is None else found.state


def incarnation_of(bench: Bench, number: int) -> int:
    found = swim_view(bench, number)
    assert found is not None
    return found.incarnation


ALIVE, SUSPECT, DEAD, LEFT = range(4)


class TestAlive:
    def test_an_unknown_member_joins(self) -> None:
        bench = Bench()
        (joined,) = of_type(MemberJoined, bench.take(alive(1, 3, tags={"role": "web"})))
        assert joined.member.tags == {"role": "web"}
        assert joined.member.status == MemberStatus.ALIVE
        assert joined.member.incarnation == 3

    def test_news_is_handed_on_and_old_claims_are_not(self) -> None:
        bench = Bench(members=2)
        rumors(bench)
        bench.run_for(5)
        bench.take(alive(1, 2))
        assert alive(1, 2) in rumors(bench)
        bench.run_for(5)
        bench.take(alive(1, 2))
        bench.take(alive(1, 1))
        assert rumors(bench) == []

    def test_an_equal_incarnation_does_not_update(self) -> None:
        bench = Bench(members=1)
        assert not of_type(MemberUpdated, bench.take(alive(1, 1, tags={"a": "b"})))

    def test_a_higher_incarnation_with_other_tags_updates(self) -> None:
        bench = Bench(members=1)
        (updated,) = of_type(MemberUpdated, bench.take(alive(1, 2, tags={"a": "b"})))
        assert updated.member.tags == {"a": "b"}

    def test_a_suspect_member_that_refutes_returns_silently(self) -> None:
        bench = Bench(members=3)
        bench.take(suspect(name(1), 1, "m2"))
        assert bench.take(alive(1, 2)) == []
        assert state_of(bench, 1) == ALIVE

    def test_a_dead_member_returns_only_with_a_higher_incarnation(self) -> None:
        bench = Bench(members=3)
        bench.take(dead(name(1), 1, "m2"))
        bench.take(alive(1, 1))
        assert state_of(bench, 1) == DEAD
        assert of_type(MemberJoined, bench.take(alive(1, 2)))

    def test_port_zero_means_our_own_port(self) -> None:
        bench = Bench()
        bench.take(replace(alive(1), port=0))
        member = bench.machine.member(name(1))
        assert member is not None
        assert member.address.port == 7946

    @pytest.mark.parametrize(
        ("claim", "reason"),
        [
            (alive(1, vsn=bytes((0, 5, 2, 2, 5, 5))), "claim-bad-vsn"),
            (alive(1, vsn=bytes((1, 0, 2, 2, 5, 5))), "claim-bad-vsn"),
            (alive(1, vsn=bytes((4, 3, 2, 2, 5, 5))), "claim-bad-vsn"),
            (alive(1, vsn=b""), "claim-bad-vsn"),
            (alive(1, vsn=VSN[:5]), "claim-bad-vsn"),
            (alive(1, vsn=VSN + b"\x05"), "claim-bad-vsn"),
            (alive(1, vsn=bytes((1, 1, 1, 2, 5, 5))), "claim-incompatible-versions"),
            (alive(1, vsn=bytes((1, 5, 2, 2, 4, 4))), "claim-incompatible-versions"),
            (alive(1, meta=bytes(513)), "claim-bad-meta"),
            (replace(alive(1), node=MemberName("n" * 256)), "claim-bad-name"),
            (replace(alive(1), node=MemberName("")), "claim-bad-name"),
            (replace(alive(1), addr=b"\x0a\x00\x00"), "claim-bad-address"),
            (alive(1, 0), "claim-incarnation-zero"),
        ],
    )
    def test_a_claim_that_breaks_a_bound_is_dropped_with_its_reason(
        self, claim: Alive, reason: str
    ) -> None:
        bench = Bench()
        assert drop_reasons(bench.take(claim)) == [reason]
        assert len(bench.machine.members()) == 1

    def test_new_names_beyond_the_members_bound_are_dropped(self) -> None:
        bench = Bench(members=2, swim=SwimConfig(members_max=3))
        assert drop_reasons(bench.take(alive(3))) == ["members-max"]
        assert of_type(MemberUpdated, bench.take(alive(1, 2, tags={"still": "updated"})))


class TestNameConflicts:
    elsewhere = Address("10.9.9.9", 7946)

    def test_the_first_holder_keeps_a_name_and_the_conflict_is_told(self) -> None:
        bench = Bench(members=1)
        (conflict,) = bench.take(alive(1, 9, at=self.elsewhere))
        assert conflict == NameConflict(name(1), address(1), alive(1, 9, at=self.elsewhere))
        assert swim_view(bench, 1) == node(1)

    def test_another_encoding_of_the_address_is_another_address(self) -> None:
        bench = Bench(members=1)
        mapped = bytes(10) + b"\xff\xff" + address(1).packed
        assert of_type(NameConflict, bench.take(replace(alive(1, 9), addr=mapped)))

    def test_a_dead_members_name_is_kept_without_reclaim(self) -> None:
        bench = Bench(members=3)
        bench.take(dead(name(1), 1, "m2"))
        assert of_type(NameConflict, bench.take(alive(1, 9, at=self.elsewhere)))

    def test_a_dead_members_name_is_free_after_the_reclaim_time_only(self) -> None:
        bench = Bench(members=3, swim=SwimConfig(dead_node_reclaim_s=10))
        bench.take(dead(name(1), 5, "m2"))
        bench.run_for(9.5)
        assert of_type(NameConflict, bench.take(alive(1, 1, at=self.elsewhere)))
        bench.run_for(1)
        (joined,) = of_type(MemberJoined, bench.take(alive(1, 1, at=self.elsewhere)))
        assert joined.member.address == self.elsewhere
        assert joined.member.incarnation == 1

    def test_a_left_members_name_is_free_at_once_at_any_incarnation(self) -> None:
        bench = Bench(members=3)
        bench.take(dead(name(1), 5, "m1"))
        (joined,) = of_type(MemberJoined, bench.take(alive(1, 2, at=self.elsewhere)))
        assert joined.member.address == self.elsewhere

    def test_somebody_else_with_our_name_is_a_conflict_and_changes_nothing(self) -> None:
        bench = Bench()
        claim = replace(alive(1, 9), node=ME)
        assert of_type(NameConflict, bench.take(claim))
        assert bench.machine.incarnation == 1


class TestSuspectAndDead:
    def test_claims_about_unknown_members_change_nothing(self) -> None:
        bench = Bench()
        assert bench.take(suspect(name(1), 5, "m2")) == []
        assert bench.take(dead(name(1), 5, "m2")) == []
        assert swim_view(bench, 1) is None

    def test_an_accusation_at_an_old_incarnation_is_ignored(self) -> None:
        bench = Bench()
        bench.take(alive(1, 5))
        bench.take(suspect(name(1), 4, "m2"))
        bench.take(dead(name(1), 4, "m2"))
        assert state_of(bench, 1) == ALIVE

    def test_a_suspect_member_is_still_alive_to_the_user_until_its_time_is_over(self) -> None:
        bench = Bench(members=1)
        bench.take(suspect(name(1), 1, "m2"))
        member = bench.machine.member(name(1))
        assert member is not None
        assert member.status == MemberStatus.ALIVE
        assert state_of(bench, 1) == SUSPECT

    @pytest.mark.parametrize(
        ("members", "confirmers", "timeout_s"),
        # The pool has one more member than `members`: us. LAN: k = 2 from four members on.
        [(2, "", 4.0), (3, "", 24.0), (3, "b", 11.381), (3, "bc", 4.0), (3, "bcd", 4.0)],
    )
    def test_a_suspect_member_fails_after_the_documented_time(
        self, members: int, confirmers: str, timeout_s: float
    ) -> None:
        bench = Bench(members=members)
        start = bench.now
        bench.take(suspect(name(1), 1, "a"))
        for witness in confirmers:
            bench.take(suspect(name(1), 1, witness))
        while bench.now < start + 30:
            if of_type(MemberFailed, bench.step()):
                break
        assert bench.now - start == pytest.approx(timeout_s)

    def test_a_new_witness_is_handed_on_and_a_known_one_is_not(self) -> None:
        bench = Bench(members=4)
        bench.run_for(3)
        bench.take(suspect(name(1), 1, "a"))
        bench.take(suspect(name(1), 1, "b"))
        assert suspect(name(1), 1, "b") in rumors(bench)
        bench.run_for(3)
        bench.take(suspect(name(1), 1, "b"))
        assert suspect(name(1), 1, "b") not in rumors(bench)

    def test_dead_by_another_is_dead_and_dead_by_itself_is_left(self) -> None:
        bench = Bench(members=2)
        bench.take(dead(name(1), 1, "m2"))
        bench.take(dead(name(2), 1, "m2"))
        assert (state_of(bench, 1), state_of(bench, 2)) == (DEAD, LEFT)

    def test_a_later_accusation_raises_a_dead_members_stored_incarnation(self) -> None:
        bench = Bench(members=2)
        bench.take(dead(name(1), 1, "m2"))
        bench.take(suspect(name(1), 4, "m2"))
        assert incarnation_of(bench, 1) == 4
        bench.take(dead(name(1), 6, "m2"))
        assert incarnation_of(bench, 1) == 6
        bench.take(alive(1, 6))
        assert state_of(bench, 1) == DEAD

    def test_a_state_from_a_push_pull_that_says_dead_only_raises_a_suspicion(self) -> None:
        bench = Bench(members=3)
        bench.machine.handle_push_pull(
            PushPull(False, (node(1, 1, DEAD), node(2, 1, LEFT))), source=STRANGER, now=bench.now
        )
        assert (state_of(bench, 1), state_of(bench, 2)) == (SUSPECT, LEFT)


class TestRefuting:
    def test_an_accusation_is_refuted_above_the_accused_incarnation(self) -> None:
        bench = Bench(members=1)
        bench.take(suspect(ME, 7, "m1"))
        assert bench.machine.incarnation == 8
        assert bench.machine.stats()["health_score"] == 1
        assert 8 in [m.incarnation for m in of_type(Alive, rumors(bench)) if m.node == ME]

    def test_an_accusation_at_an_old_incarnation_needs_no_denial(self) -> None:
        bench = Bench(members=1, incarnation=9)
        bench.take(dead(ME, 8, "m1"))
        assert bench.machine.incarnation == 9

    def test_being_declared_dead_or_left_is_refuted(self) -> None:
        bench = Bench(members=1)
        bench.take(dead(ME, 1, "m1"))
        assert bench.machine.incarnation == 2
        bench.take(dead(ME, 2, ME))
        assert bench.machine.incarnation == 3
        assert bench.machine.local.status == MemberStatus.ALIVE

    def test_our_own_old_tags_are_refuted_and_our_own_words_are_not(self) -> None:
        bench = Bench(members=1, tags={"new": "tags"})
        (mine,) = {m for m in of_type(Alive, rumors(bench)) if m.node == ME}
        bench.take(mine)
        assert bench.machine.incarnation == 1
        bench.take(replace(mine, meta=b"\xff\x80"))
        assert bench.machine.incarnation == 2
        assert bench.machine.local.tags == {"new": "tags"}

    @pytest.mark.parametrize("incarnation", [2**32 - 1, 2**32 - 2**23])
    def test_an_accusation_at_the_top_of_the_range_is_ignored(self, incarnation: int) -> None:
        bench = Bench(members=1)
        assert drop_reasons(bench.take(suspect(ME, incarnation, "m1"))) == [
            "accusation-at-incarnation-limit"
        ]
        assert bench.machine.incarnation == 1

    def test_a_member_that_starts_near_the_top_can_still_refute(self) -> None:
        top = 2**32 - 2**24
        bench = Bench(members=1, incarnation=top)
        bench.take(suspect(ME, top, "m1"))
        assert bench.machine.incarnation == top + 1


class TestAdmission:
    @staticmethod
    def refuse_db(members: Sequence[Member]) -> str | None:
        return "no databases here" if any(m.tags.get("role") == "db" for m in members) else None

    def test_a_refused_member_stays_unknown_and_the_reason_is_told(self) -> None:
        bench = Bench(admit=self.refuse_db)
        (drop,) = bench.take(alive(1, tags={"role": "db"}))
        assert drop_reasons([drop]) == ["claim-not-admitted"]
        assert "no databases here" in str(drop)
        assert bench.machine.member(name(1)) is None

    def test_an_admitted_member_joins(self) -> None:
        bench = Bench(admit=self.refuse_db)
        assert of_type(MemberJoined, bench.take(alive(1, tags={"role": "web"})))

    def test_old_claims_do_not_cost_asking(self) -> None:
        asked: list[str] = []

        def admit(members: Sequence[Member]) -> str | None:
            asked.extend(m.name for m in members)
            return None

        bench = Bench(admit=admit)
        bench.take(alive(1, 5))
        bench.take(alive(1, 5))
        bench.take(alive(1, 4))
        assert asked == ["m1"]


incarnations = st.integers(1, 5)
claims = st.one_of(
    st.builds(alive, st.just(1), incarnations),
    st.builds(suspect, st.just(name(1)), incarnations, st.sampled_from("abc")),
    st.builds(dead, st.just(name(1)), incarnations, st.sampled_from(["a", "b", "m1"])),
)


@given(st.lists(claims, max_size=12))
def test_a_stored_incarnation_never_falls(history: list[PacketMessage]) -> None:
    bench, before = Bench(members=3), 1
    for claim in history:
        bench.take(claim)
        after = incarnation_of(bench, 1)
        assert after >= before
        before = after


@given(st.lists(claims, max_size=12))
def test_hearing_a_history_twice_is_hearing_it_once(history: list[PacketMessage]) -> None:
    bench = Bench(members=3)
    for claim in history:
        bench.take(claim)
    once = swim_view(bench, 1)
    bench.take(history[-1]) if history else None
    assert swim_view(bench, 1) == once


@given(incarnations)
def test_at_one_incarnation_dead_beats_suspect_beats_alive_in_any_order(incarnation: int) -> None:
    trio: list[PacketMessage] = [
        alive(1, incarnation),
        suspect(name(1), incarnation, "a"),
        dead(name(1), incarnation, "a"),
    ]
    for subset, winner in ((trio[:2], SUSPECT), (trio, DEAD)):
        for order in permutations(subset):
            # First known at the claimed incarnation: a brand-new member ignores accusations.
            bench = Bench(members=3)
            bench.take(alive(1, incarnation))
            for claim in order:
                bench.take(claim)
            assert state_of(bench, 1) == winner


@given(st.lists(incarnations, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_alive_claims_commute(which: list[int], rng: object) -> None:
    views = set()
    for order in (which, which[::-1], sorted(which)):
        bench = Bench(members=3)
        for incarnation in order:
            bench.take(alive(1, incarnation, tags={"at": str(incarnation)}))
        views.add(swim_view(bench, 1))
    assert len(views) == 1


@given(incarnations, incarnations)
def test_a_refutation_above_an_accusation_wins_in_any_order(accused: int, above: int) -> None:
    accusation, denial = suspect(name(1), accused, "a"), alive(1, accused + above)
    for order in ((accusation, denial), (denial, accusation)):
        bench = Bench(members=3)
        for claim in order:
            bench.take(claim)
        assert state_of(bench, 1) == ALIVE
        assert incarnation_of(bench, 1) == accused + above
