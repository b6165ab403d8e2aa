"""The memory of accusations: every step of a member's standing, its author and its reason."""

from dataclasses import replace

from gossip.config import lan
from gossip.swim.history import MEMBERS_MAX, STEPS_MAX, History, Reason, Step
from gossip.types import Incarnation, MemberName
from gossip.wire.messages import PushPull, Suspect
from tests.gossip.machines import (
    ME,
    Bench,
    alive,
    dead,
    leave_intent,
    name,
    node,
    suspect,
    user,
)

Told = tuple[Step, str, Reason | None]
NO_TCP = replace(lan(), tcp_pings=False)


def story(bench: Bench, of: MemberName) -> list[Told]:
    return [(told.step, told.by, told.reason) for told in bench.machine.accusations(of)]


def test_a_member_nobody_doubted_has_no_history() -> None:
    assert story(Bench(members=3), name(1)) == []


def test_a_suspicion_its_confirmations_and_its_refutation_are_kept_in_order() -> None:
    bench = Bench(members=5)
    bench.take(suspect(name(1), 1, "m2"))
    bench.take(Suspect(Incarnation(1), name(1), name(3), True))
    bench.take(suspect(name(1), 1, "m2"))
    bench.take(alive(1, 2))
    assert story(bench, name(1)) == [
        (Step.SUSPECTED, "m2", Reason.TIMEOUT),
        (Step.CONFIRMED, "m3", Reason.REFUSED),
        (Step.REFUTED, "m1", None),
    ]


def test_a_silent_member_is_failed_by_us_for_its_silence() -> None:
    bench = Bench(members=1, swim=NO_TCP)
    bench.peers_answer = False
    bench.run_for(20)
    assert story(bench, name(1)) == [
        (Step.SUSPECTED, ME, Reason.TIMEOUT),
        (Step.FAILED, ME, Reason.TIMEOUT),
    ]


def test_whoever_declares_a_member_dead_is_named_and_its_return_is_kept() -> None:
    bench = Bench(members=3)
    bench.take(dead(name(1), 1, "m2"))
    bench.take(alive(1, 2))
    assert story(bench, name(1)) == [
        (Step.FAILED, "m2", Reason.TIMEOUT),
        (Step.RETURNED, "m1", None),
    ]


def test_a_member_that_leaves_does_so_by_itself_and_on_purpose() -> None:
    bench = Bench(members=3)
    bench.take(user(leave_intent(name(1), 5)))
    bench.take(dead(name(1), 1, "m1"))
    assert story(bench, name(1)) == [
        (Step.LEAVING, "m1", Reason.LEAVE),
        (Step.LEFT, "m1", Reason.LEAVE),
    ]


def test_what_a_state_exchange_says_is_hearsay() -> None:
    bench = Bench(members=3)
    bench.exchange(PushPull(False, (node(1, 1, state=2),)))
    assert story(bench, name(1)) == [(Step.SUSPECTED, ME, Reason.HEARSAY)]


def test_accusations_of_ourselves_are_kept_with_our_refutation() -> None:
    bench = Bench(members=3)
    bench.take(suspect(ME, 1, "m2"))
    assert story(bench, ME) == [
        (Step.SUSPECTED, "m2", Reason.TIMEOUT),
        (Step.REFUTED, ME, None),
    ]


def test_the_history_is_bounded_in_steps_and_in_members() -> None:
    history = History()
    for number in range(3 * STEPS_MAX):
        history.note(name(1), Step.SUSPECTED, by=name(2), incarnation=Incarnation(number), now=0.0)
    assert [told.incarnation for told in history.of(name(1))] == [
        *range(2 * STEPS_MAX, 3 * STEPS_MAX)
    ]
    for number in range(2, MEMBERS_MAX + 2):
        history.note(name(number), Step.FAILED, by=ME, incarnation=Incarnation(1), now=1.0)
    assert history.of(name(1)) == ()
    assert history.of(name(2))
