"""Push/pull (gossip protocol, 6.1, 8.7, 8.8)."""

from collections.abc import Sequence

import pytest

from gossip.serf.events import Member, MemberJoined, MemberStatus
from gossip.swim.effects import OpenPushPull, PushPullFinished
from gossip.swim.exchange import push_pull_scale
from gossip.types import MemberName, MemberState
from gossip.wire.messages import Alive, ErrorReply, PushPull
from gossip.wire.serf_values import encode_tags
from tests.gossip.machines import (
    ME,
    MY_ADDRESS,
    NO_TAGS,
    STRANGER,
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

LEFT = 3


def no_guests(members: Sequence[Member]) -> str | None:
    return "no guests" if any(m.name == name(9) for m in members) else None


@pytest.mark.parametrize(
    ("node_count", "scale"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (129, 4)]
)
def test_larger_pools_exchange_less_often(node_count: int, scale: int) -> None:
    assert push_pull_scale(node_count) == scale


def test_a_join_sends_our_whole_state_with_the_join_flag() -> None:
    bench = Bench(members=1)
    stream_id, effects = bench.machine.join(address(7), now=bench.now)
    (request,) = of_type(OpenPushPull, effects)
    assert (request.stream_id, request.to) == (stream_id, address(7))
    assert request.deadline_at == bench.now + 10.0
    assert request.state.join
    assert {n.name for n in request.state.nodes} == {ME, name(1)}
    assert request.state.user_state[0] == 2


def test_the_reply_is_merged_and_the_join_finished() -> None:
    bench = Bench()
    stream_id, _ = bench.machine.join(address(7), now=bench.now)
    effects = bench.machine.handle_push_pull_reply(
        stream_id, PushPull(True, (node(7), node(8))), now=bench.now
    )
    assert [e.member.name for e in of_type(MemberJoined, effects)] == [name(7), name(8)]
    assert of_type(PushPullFinished, effects) == [PushPullFinished(stream_id, address(7), None)]


def test_the_answer_to_a_push_pull_is_our_state_from_before_merging_it() -> None:
    bench = Bench(members=1)
    bench.effects.clear()
    reply = bench.exchange(PushPull(True, (node(7),)))
    assert {n.name for n in reply.nodes} == {ME, name(1)}
    assert reply.join
    assert [e.member.name for e in of_type(MemberJoined, bench.effects)] == [name(7)]


def test_a_failed_exchange_is_told_with_its_reason() -> None:
    bench = Bench()
    stream_id, _ = bench.machine.join(address(7), now=bench.now)
    effects = bench.machine.handle_stream_failed(stream_id, "refused", now=bench.now)
    assert effects == [PushPullFinished(stream_id, address(7), "refused")]


def test_a_reply_to_a_stream_we_did_not_open_is_dropped() -> None:
    bench = Bench()
    effects = bench.machine.handle_push_pull_reply(99, PushPull(True, (node(7),)), now=bench.now)
    assert drop_reasons(effects) == ["unknown-stream"]
    assert bench.machine.member(name(7)) is None


def test_one_bad_version_refuses_the_whole_state() -> None:
    bench = Bench()
    stream_id, _ = bench.machine.join(address(7), now=bench.now)
    reply = PushPull(True, (node(7), node(8, vsn=b"")))
    effects = bench.machine.handle_push_pull_reply(stream_id, reply, now=bench.now)
    assert drop_reasons(effects) == ["merge-incompatible-versions"]
    (finished,) = of_type(PushPullFinished, effects)
    assert finished.error is not None
    assert len(bench.machine.members()) == 1


def test_a_refused_join_of_ours_ends_with_the_hooks_reason() -> None:
    bench = Bench(admit=no_guests)
    stream_id, _ = bench.machine.join(address(7), now=bench.now)
    reply = PushPull(True, (node(7), node(9)))
    effects = bench.machine.handle_push_pull_reply(stream_id, reply, now=bench.now)
    assert PushPullFinished(stream_id, address(7), "no guests") in effects
    assert drop_reasons(effects) == ["merge-not-admitted"]
    assert len(bench.machine.members()) == 1


def test_a_join_tells_nothing_about_us_before_the_pool_is_admitted() -> None:
    bench = Bench(admit=lambda _members: None)
    stream_id, effects = bench.machine.join(address(7), now=bench.now)
    (look,) = of_type(OpenPushPull, effects)
    assert look.state == PushPull(True, ())

    pool = PushPull(True, (node(7),))
    effects = bench.machine.handle_push_pull_reply(stream_id, pool, now=bench.now)
    (telling,) = of_type(OpenPushPull, effects)
    assert (telling.stream_id, telling.to) == (stream_id, address(7))
    assert [n.name for n in telling.state.nodes] == [ME]
    assert bench.machine.member(name(7)) is None

    effects = bench.machine.handle_push_pull_reply(stream_id, pool, now=bench.now)
    assert of_type(PushPullFinished, effects) == [PushPullFinished(stream_id, address(7), None)]
    assert bench.machine.member(name(7)) is not None


def test_a_refused_joiner_is_told_why_and_not_who_we_are() -> None:
    bench = Bench(admit=no_guests)
    reply, effects = bench.machine.handle_push_pull(
        PushPull(True, (node(9),)), source=STRANGER, now=bench.now
    )
    assert reply == ErrorReply("no guests")
    assert drop_reasons(effects) == ["merge-not-admitted"]
    assert bench.machine.member(name(9)) is None


def test_the_hook_sees_the_whole_remote_list_with_statuses() -> None:
    seen: list[list[tuple[str, MemberStatus]]] = []

    def admit(members: Sequence[Member]) -> str | None:
        seen.append([(m.name, m.status) for m in members])
        return None

    bench = Bench(admit=admit)
    bench.machine.handle_push_pull(
        PushPull(True, (node(1), node(2, 1, LEFT))), source=STRANGER, now=bench.now
    )
    assert seen[0] == [("m1", MemberStatus.ALIVE), ("m2", MemberStatus.LEFT)]


def test_a_periodic_exchange_goes_to_a_member_alive_without_the_join_flag() -> None:
    bench = Bench(members=3)
    requests = of_type(OpenPushPull, bench.run_for(300.0))
    assert 9 <= len(requests) <= 11
    assert {r.to for r in requests} <= {address(1), address(2), address(3)}
    assert not any(r.state.join for r in requests)


def test_a_peer_that_calls_us_dead_or_left_makes_us_refute() -> None:
    bench = Bench(incarnation=5)
    for state in (2, LEFT):
        before = bench.machine.incarnation
        about_us = node(1, before, state)._replace(name=ME)
        bench.machine.handle_push_pull(PushPull(False, (about_us,)), source=STRANGER, now=bench.now)
        assert bench.machine.incarnation == before + 1


def test_a_restarted_member_learns_of_its_past_from_the_join_and_rises_above_it() -> None:
    bench = Bench(incarnation=1, tags={"life": "second"})
    stream_id, _ = bench.machine.join(address(7), now=bench.now)
    past = node(1, 6)._replace(name=ME, addr=MY_ADDRESS.packed)
    reply = PushPull(True, (node(7), past))
    bench.machine.handle_push_pull_reply(stream_id, reply, now=bench.now)
    assert bench.machine.incarnation == 7
    claims = [m for m in of_type(Alive, messages(bench.run_for(1.0))) if m.node == ME]
    assert {m.incarnation for m in claims} == {7}


def test_our_state_says_at_once_what_a_claim_has_changed() -> None:
    bench = Bench(members=2)

    def said(about: MemberName) -> tuple[int, int, bytes]:
        (told,) = [n for n in bench.exchange(PushPull(False, ())).nodes if n.name == about]
        return told.incarnation, told.state, told.meta

    tags = encode_tags({"role": "db"})
    assert said(name(1)) == (1, MemberState.ALIVE, NO_TAGS)
    for claim, outcome in (
        (suspect(name(1), 1, "n2"), (1, MemberState.SUSPECT, NO_TAGS)),
        (suspect(name(1), 1, "n3"), (1, MemberState.SUSPECT, NO_TAGS)),
        (alive(1, 2), (2, MemberState.ALIVE, NO_TAGS)),
        (dead(name(1), 2, "n2"), (2, MemberState.DEAD, NO_TAGS)),
        (dead(name(1), 4, "n2"), (4, MemberState.DEAD, NO_TAGS)),
        (suspect(name(1), 5, "n2"), (5, MemberState.DEAD, NO_TAGS)),
        (alive(1, 6, tags={"role": "db"}), (6, MemberState.ALIVE, tags)),
        (dead(name(1), 6, name(1)), (6, MemberState.LEFT, tags)),
    ):
        bench.take(claim)
        assert said(name(1)) == outcome
    bench.take(suspect(ME, 1, "n2"))
    assert said(ME) == (2, MemberState.ALIVE, NO_TAGS)
    bench.machine.set_tags({"role": "db"}, now=bench.now)
    assert said(ME) == (3, MemberState.ALIVE, tags)
    assert said(name(2)) == (1, MemberState.ALIVE, NO_TAGS)
