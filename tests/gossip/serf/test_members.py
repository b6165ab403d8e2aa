"""Serf's statuses, intents and lists (gossip protocol, 10.3 to 10.8)."""

from collections.abc import Iterable

import pytest

from gossip.config import SerfConfig, SwimConfig
from gossip.serf.events import (
    Effect,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    PeerFound,
)
from gossip.swim.effects import OpenPushPull, PushPullFinished
from gossip.types import LamportTime, MemberName, Peer
from gossip.wire.messages import (
    JoinIntent,
    LeaveIntent,
    PushPull,
    SerfMessage,
    SerfState,
    UserMessage,
)
from gossip.wire.serf import decode_serf_untrusted, encode_serf
from tests.gossip.machines import (
    ME,
    STRANGER,
    Bench,
    address,
    alive,
    dead,
    drop_reasons,
    join_intent,
    leave_intent,
    messages,
    name,
    node,
    of_type,
    sent,
    user,
)


def status(bench: Bench, number: int) -> MemberStatus | None:
    member = bench.machine.member(name(number))
    return None if member is None else member.status


def state_of(bench: Bench) -> SerfState:
    """The machine's part of a push/pull."""
    state = decode_serf_untrusted(bench.exchange(PushPull(False, ())).user_state)
    assert isinstance(state, SerfState)
    return state


def give_state(bench: Bench, state: SerfState) -> None:
    _, effects = bench.machine.handle_push_pull(
        PushPull(False, (), encode_serf(state)), source=STRANGER, now=bench.now
    )
    bench.note(effects)


def handed_on(bench: Bench, duration_s: float = 0.3) -> list[SerfMessage]:
    """The Serf messages gossiped next."""
    found = of_type(UserMessage, messages(bench.run_for(duration_s)))
    return [decode_serf_untrusted(each.payload) for each in found]


def reaped_names(effects: Iterable[Effect]) -> list[str]:
    return [e.member.name for e in of_type(MemberReaped, effects)]


class TestStatuses:
    def test_a_member_that_goes_without_an_intent_has_failed(self) -> None:
        bench = Bench(members=2)
        (event,) = of_type(MemberFailed, bench.take(dead(name(1), 1, "m2")))
        assert event.member.status == MemberStatus.FAILED

    def test_a_departure_that_the_member_declares_is_one_also_without_its_intent(self) -> None:
        bench = Bench(members=2)
        assert of_type(MemberLeft, bench.take(dead(name(1), 1, "m1")))

    def test_a_leave_intent_before_the_departure_makes_it_left(self) -> None:
        bench = Bench(members=2)
        bench.take(user(leave_intent(name(1), 5)))
        assert status(bench, 1) == MemberStatus.LEAVING
        (event,) = of_type(MemberLeft, bench.take(dead(name(1), 1, "m1")))
        assert event.member.status == MemberStatus.LEFT
        assert state_of(bench).left_members == (name(1),)

    def test_a_failed_member_that_is_said_to_have_left_has_left(self) -> None:
        bench = Bench(members=2)
        bench.take(dead(name(1), 1, "m2"))
        (event,) = of_type(MemberLeft, bench.take(user(leave_intent(name(1), 5))))
        assert event.member.status == MemberStatus.LEFT
        assert (bench.machine.stats()["failed"], bench.machine.stats()["left"]) == (0, 1)

    def test_a_member_that_returns_joins_with_its_new_tags(self) -> None:
        bench = Bench(members=2)
        bench.take(dead(name(1), 1, "m2"))
        (event,) = of_type(MemberJoined, bench.take(alive(1, 2, tags={"now": "back"})))
        assert event.member.tags == {"now": "back"}
        assert bench.machine.stats()["failed"] == 0

    def test_other_tags_are_an_update(self) -> None:
        bench = Bench(members=1)
        (event,) = of_type(MemberUpdated, bench.take(alive(1, 2, tags={"a": "b"})))
        assert event.member.status == MemberStatus.ALIVE

    def test_a_member_with_undecodable_tags_has_none(self) -> None:
        bench = Bench()
        effects = bench.take(alive(1, meta=b"\xff\xc1"))
        assert drop_reasons(effects) == ["bad-tags"]
        member = bench.machine.member(name(1))
        assert member is not None
        assert member.tags == {}

    def test_bare_metadata_is_the_role(self) -> None:
        bench = Bench()
        (event,) = of_type(MemberJoined, bench.take(alive(1, meta=b"db")))
        assert event.member.tags == {"role": "db"}

    def test_a_refutation_shows_in_the_members_incarnation_without_an_event(self) -> None:
        bench = Bench(members=1)
        assert of_type(MemberUpdated, bench.take(alive(1, 8))) == []
        member = bench.machine.member(name(1))
        assert member is not None
        assert member.incarnation == 8


class TestIntents:
    def test_news_is_handed_on_as_the_bytes_that_came(self) -> None:
        bench = Bench(members=3)
        bench.run_for(5)
        odd = b"\x01\x83\xa5LTime\x07\xa4Node\xa2m1\xa3New\xc3"  # with a key of a later version
        bench.take(UserMessage(odd))
        assert UserMessage(odd) in messages(bench.run_for(0.3))

    def test_an_intent_heard_before_is_not_handed_on(self) -> None:
        bench = Bench(members=3)
        bench.take(user(join_intent(name(1), 7)))
        bench.run_for(5)
        bench.take(user(join_intent(name(1), 7)))
        bench.take(user(leave_intent(name(1), 6)))
        assert handed_on(bench) == []
        assert status(bench, 1) == MemberStatus.ALIVE

    def test_a_newer_join_intent_takes_a_leaving_back(self) -> None:
        bench = Bench(members=1)
        bench.take(user(leave_intent(name(1), 5)))
        bench.take(user(join_intent(name(1), 6)))
        assert status(bench, 1) == MemberStatus.ALIVE

    def test_a_leave_intent_that_came_before_its_member_is_remembered(self) -> None:
        bench = Bench()
        bench.take(user(leave_intent(name(1), 5)))
        bench.take(alive(1))
        assert status(bench, 1) == MemberStatus.LEAVING
        assert state_of(bench).status_ltimes[name(1)] == 5

    def test_a_join_intent_that_came_before_its_member_sets_its_time(self) -> None:
        bench = Bench()
        bench.take(user(join_intent(name(1), 5)))
        bench.take(alive(1))
        assert status(bench, 1) == MemberStatus.ALIVE
        assert state_of(bench).status_ltimes[name(1)] == 5

    def test_intents_are_forgotten_when_their_member_does_not_come(self) -> None:
        bench = Bench()
        bench.take(user(leave_intent(name(1), 5)))
        bench.run_for(320)
        bench.take(alive(1))
        assert status(bench, 1) == MemberStatus.ALIVE

    def test_beyond_the_bound_the_oldest_intent_goes(self) -> None:
        bench = Bench(serf=SerfConfig(recent_intents_max=2))
        for number in (1, 2, 3):
            bench.take(user(leave_intent(name(number), 5)))
        for number in (1, 2, 3):
            bench.take(alive(number))
        assert [status(bench, n) for n in (1, 2, 3)] == ["alive", "leaving", "leaving"]

    def test_being_told_that_we_leave_is_denied_with_a_newer_join_intent(self) -> None:
        bench = Bench(members=1)
        bench.run_for(5)
        bench.take(user(leave_intent(ME, 40)))
        assert bench.machine.local.status == MemberStatus.ALIVE
        assert set(handed_on(bench)) == {JoinIntent(LamportTime(41), ME)}

    @pytest.mark.parametrize("ltime", [2**32 + 3, 2**63, 2**64 - 1])
    def test_an_absurd_time_is_dropped_and_moves_no_clock(self, ltime: int) -> None:
        bench = Bench(members=1)
        before = bench.machine.stats()["member_time"]
        effects = bench.take(user(leave_intent(name(1), ltime)))
        assert drop_reasons(effects) == ["serf-lamport-jump"]
        assert bench.machine.stats()["member_time"] == before
        assert status(bench, 1) == MemberStatus.ALIVE

    def test_times_that_were_witnessed_are_exceeded(self) -> None:
        bench = Bench(members=1)
        bench.take(user(join_intent(name(1), 100)))
        assert bench.machine.stats()["member_time"] == 101


class TestPruning:
    def test_a_failed_member_is_forgotten_at_once(self) -> None:
        bench = Bench(members=2)
        bench.take(dead(name(1), 1, "m2"))
        effects = bench.take(user(leave_intent(name(1), 5, prune=True)))
        assert [type(e) for e in effects] == [MemberLeft, MemberReaped]
        assert status(bench, 1) is None

    def test_a_member_alive_gets_the_time_of_a_graceful_leave(self) -> None:
        bench = Bench(members=2)
        bench.take(user(leave_intent(name(1), 5, prune=True)))
        bench.take(dead(name(1), 1, "m1"))
        bench.run_for(5.9)
        assert status(bench, 1) == MemberStatus.LEFT
        bench.run_for(0.2)
        assert status(bench, 1) is None

    def test_a_member_that_came_back_meanwhile_stays(self) -> None:
        bench = Bench(members=2)
        bench.take(user(leave_intent(name(1), 5, prune=True)))
        bench.take(user(join_intent(name(1), 6)))
        bench.run_for(7)
        assert status(bench, 1) == MemberStatus.ALIVE


class TestReaping:
    def test_failed_and_left_members_are_forgotten_after_their_timeouts(self) -> None:
        bench = Bench(members=3, serf=SerfConfig(reconnect_timeout_s=600, tombstone_timeout_s=900))
        bench.take(dead(name(1), 1, "m3"))
        bench.take(user(leave_intent(name(2), 5)))
        bench.take(dead(name(2), 1, "m2"))
        bench.run_for(590)
        assert bench.machine.stats()["members"] == 4
        assert reaped_names(bench.run_for(30)) == [name(1)]
        bench.run_for(270)
        assert bench.machine.stats()["members"] == 3
        assert reaped_names(bench.run_for(30)) == [name(2)]

    def test_the_longest_gone_go_early_when_there_are_too_many(self) -> None:
        bench = Bench(swim=SwimConfig(members_max=4))
        for number in range(1, 9):
            bench.take(alive(number))
            bench.take(dead(name(number), 1, "x"))
            bench.run_for(60)  # SWIM has forgotten the name, Serf would keep it for a day
        assert bench.machine.stats()["members"] == 4
        assert reaped_names(bench.effects) == [name(n) for n in range(1, 6)]


class TestReconnecting:
    def test_a_failed_member_is_tried_again_with_the_join_flag_and_no_intent(self) -> None:
        bench = Bench(members=1)
        bench.take(dead(name(1), 1, "x"))
        effects = bench.run_for(95)
        attempts = [e for e in of_type(OpenPushPull, effects) if e.state.join]
        assert {e.to for e in attempts} == {address(1)}
        before = bench.machine.stats()["intent_queue"]
        reply = PushPull(True, (node(1, 2),))
        for _look_then_tell in range(2):
            stream_id = attempts[0].stream_id
            bench.note(bench.machine.handle_push_pull_reply(stream_id, reply, now=bench.now))
        assert status(bench, 1) == MemberStatus.ALIVE
        assert bench.machine.stats()["intent_queue"] == before

    def test_our_state_is_told_only_after_the_peer_was_recognised(self) -> None:
        bench = Bench(members=1)
        bench.take(dead(name(1), 1, "x"))
        look = next(e for e in of_type(OpenPushPull, bench.run_for(60)) if e.state.join)
        assert look.state == PushPull(True, ())
        answer = PushPull(True, (node(1, 2),))
        (told,) = of_type(
            OpenPushPull,
            bench.machine.handle_push_pull_reply(look.stream_id, answer, now=bench.now),
        )
        assert ME in {n.name for n in told.state.nodes}
        (found,) = of_type(
            PeerFound, bench.machine.handle_push_pull_reply(look.stream_id, answer, now=bench.now)
        )
        assert found.peer == Peer(name(1), address(1))

    def test_a_pool_of_strangers_at_an_old_address_is_not_joined_and_dialled_no_more(self) -> None:
        bench = Bench(members=1)
        bench.take(dead(name(1), 1, "x"))
        look = next(e for e in of_type(OpenPushPull, bench.run_for(60)) if e.state.join)
        stranger = node(7)._replace(addr=address(1).packed)
        effects = bench.machine.handle_push_pull_reply(
            look.stream_id, PushPull(True, (stranger,)), now=bench.now
        )
        assert of_type(OpenPushPull, effects) == []
        bench.note(effects)
        bench.effects.clear()
        bench.run_for(3600)
        assert [e for e in of_type(OpenPushPull, bench.effects) if e.state.join] == []
        assert bench.machine.member(name(7)) is None

    def test_few_failed_among_many_are_tried_rarely(self) -> None:
        bench = Bench(members=100)
        bench.take(dead(name(1), 1, "x"))
        bench.run_for(600)
        attempts = [e for e in of_type(OpenPushPull, bench.run_for(3000)) if e.state.join]
        assert len(attempts) <= 5  # each half minute with probability 1/100: one is expected


class TestLeaving:
    def test_the_word_of_it_goes_before_thousands_of_claims_about_others(self) -> None:
        bench = Bench(members=3000)
        bench.note(bench.machine.leave(now=bench.now))
        sent_first = sent(bench.run_for(0.4))[:6]
        said = [m for packet in sent_first for m in of_type(UserMessage, packet.messages)]
        assert len(said) == 6
        assert {type(decode_serf_untrusted(m.payload)) for m in said} == {LeaveIntent}


class TestJoining:
    def test_a_successful_join_is_followed_by_our_join_intent(self) -> None:
        bench = Bench()
        stream_id, _ = bench.machine.join(address(1), now=bench.now)
        state = SerfState(LamportTime(30), {}, (), LamportTime(1), (), LamportTime(1))
        bench.note(
            bench.machine.handle_push_pull_reply(
                stream_id, PushPull(True, (node(1),), encode_serf(state)), now=bench.now
            )
        )
        assert set(handed_on(bench)) == {JoinIntent(LamportTime(30), ME)}
        assert state_of(bench).status_ltimes[ME] == 30

    def test_a_failed_join_is_not(self) -> None:
        bench = Bench(members=1)
        bench.run_for(5)
        stream_id, _ = bench.machine.join(address(1), now=bench.now)
        effects = bench.machine.handle_stream_failed(stream_id, "timeout", now=bench.now)
        assert of_type(PushPullFinished, effects)
        assert handed_on(bench) == []


class TestState:
    def test_it_holds_clocks_statuses_and_who_left(self) -> None:
        bench = Bench(members=2)
        bench.take(user(join_intent(name(2), 9)))
        bench.take(user(leave_intent(name(1), 11)))
        bench.take(dead(name(1), 1, "m1"))
        state = state_of(bench)
        assert state.ltime == 12
        assert state.status_ltimes == {ME: 0, name(1): 11, name(2): 9}
        assert state.left_members == (name(1),)

    def test_merging_moves_each_clock_to_the_peers(self) -> None:
        bench = Bench()
        give_state(bench, SerfState(LamportTime(7), {}, (), LamportTime(8), (), LamportTime(9)))
        stats = bench.machine.stats()
        assert (stats["member_time"], stats["event_time"], stats["query_time"]) == (7, 8, 9)

    def test_merging_treats_left_names_as_leave_intents_just_above_their_time(self) -> None:
        bench = Bench(members=3)
        bench.take(dead(name(1), 1, "m3"))
        ltimes = {name(1): LamportTime(4), name(2): LamportTime(5)}
        give_state(
            bench, SerfState(LamportTime(7), ltimes, (name(1),), LamportTime(1), (), LamportTime(1))
        )
        assert status(bench, 1) == MemberStatus.LEFT
        after = state_of(bench).status_ltimes
        assert (after[name(1)], after[name(2)]) == (5, 5)

    def test_merging_hands_nothing_on(self) -> None:
        bench = Bench(members=2)
        bench.run_for(5)
        ltimes = {MemberName("m1"): LamportTime(40)}
        give_state(
            bench, SerfState(LamportTime(41), ltimes, (), LamportTime(1), (), LamportTime(1))
        )
        assert handed_on(bench) == []

    def test_a_state_that_is_none_is_dropped(self) -> None:
        bench = Bench()
        for payload, reason in (
            (b"\x02\xc1", "bad-body"),
            (encode_serf(LeaveIntent(LamportTime(1), ME)), "serf-unexpected-type"),
        ):
            _, effects = bench.machine.handle_push_pull(
                PushPull(False, (), payload), source=STRANGER, now=bench.now
            )
            assert drop_reasons(effects) == [reason]
