"""Crash evidence: refused connections shorten a suspicion, silence never does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.config import SwimConfig, lan
from gossip.serf.events import Effect, MemberFailed
from gossip.swim.effects import OpenTcpPing
from gossip.swim.refusals import Refusals, choose_witnesses
from gossip.swim.table import Entry
from gossip.types import Address, Incarnation, MemberName, MemberState
from gossip.wire.codec import decode_message_untrusted, encode_message
from gossip.wire.messages import Ack, Dead, Suspect
from tests.gossip.machines import (
    ME,
    NO_TAGS,
    VSN,
    Bench,
    address,
    alive,
    messages,
    name,
    of_type,
    sent,
    suspect,
)

LIFEGUARD_S = 24.0
"""What a member of a small pool has without confirmations: 6 times 4 seconds."""


def refused(accused: int, witness: MemberName, incarnation: int = 1) -> Suspect:
    return Suspect(Incarnation(incarnation), name(accused), witness, True)


def acquainted(members: int = 3, swim: SwimConfig | None = None) -> Bench:
    """A machine that has reached everybody by TCP, and whose first rumors are used up."""
    bench = Bench(members=members, swim=swim or lan())
    bench.run_for(6.0 * members)
    bench.peers_answer = False
    bench.effects.clear()
    return bench


def dials(effects: list[Effect], number: int) -> list[OpenTcpPing]:
    return [dial for dial in of_type(OpenTcpPing, effects) if dial.to == address(number)]


def refuse(bench: Bench, dial: OpenTcpPing) -> list[Effect]:
    failed = bench.machine.handle_stream_failed(dial.stream_id, "refused", now=bench.now)
    return [*bench.note(failed)]


def datagram_refused(bench: Bench, number: int) -> list[Effect]:
    return [*bench.note(bench.machine.handle_refused(address(number), now=bench.now))]


def accuse_by_own_refusal(bench: Bench, number: int = 1) -> list[Effect]:
    (dial,) = dials(datagram_refused(bench, number), number)
    return refuse(bench, dial)


def failed(effects: list[Effect]) -> list[MemberName]:
    return [event.member.name for event in of_type(MemberFailed, effects)]


class TestAccusing:
    def test_a_refused_datagram_makes_us_dial_and_a_refused_dial_accuse_at_once(self) -> None:
        bench = acquainted()
        accusing = accuse_by_own_refusal(bench)
        assert refused(1, ME) in messages(accusing)

    def test_both_others_are_told_directly_and_nobody_else(self) -> None:
        bench = acquainted(9)
        told = [packet.to for packet in sent(accuse_by_own_refusal(bench))]
        assert len(told) == 2
        assert address(1) not in told

    def test_a_dial_that_is_answered_accuses_nobody(self) -> None:
        bench = acquainted()
        (dial,) = dials(datagram_refused(bench, 1), 1)
        acked = bench.machine.handle_tcp_ack(dial.stream_id, Ack(dial.ping.seq_no), now=bench.now)
        assert messages(acked) == []

    @pytest.mark.parametrize("reason", ["timeout", "closed", "no route to host"])
    def test_a_dial_that_fails_otherwise_accuses_nobody(self, reason: str) -> None:
        bench = acquainted()
        (dial,) = dials(datagram_refused(bench, 1), 1)
        effects = bench.machine.handle_stream_failed(dial.stream_id, reason, now=bench.now)
        assert messages(effects) == []

    def test_a_member_never_reached_by_tcp_is_not_accused_for_refusing(self) -> None:
        bench = Bench(members=1)
        bench.peers_answer = False
        (dial,) = dials(datagram_refused(bench, 1), 1)
        assert refuse(bench, dial) == []

    def test_at_another_address_it_has_to_be_reached_anew(self) -> None:
        bench = acquainted(swim=replace(lan(), dead_node_reclaim_s=1))
        elsewhere = Address("10.9.9.9", 7946)
        bench.take(Dead(Incarnation(1), name(1), name(1)))
        bench.take(alive(1, 5, at=elsewhere))
        effects = bench.machine.handle_refused(elsewhere, now=bench.now)
        (dial,) = of_type(OpenTcpPing, effects)
        assert of_type(Suspect, messages(refuse(bench, dial))) == []

    def test_a_refusal_of_an_earlier_life_counts_for_nothing(self) -> None:
        bench = acquainted()
        (dial,) = dials(datagram_refused(bench, 1), 1)
        bench.take(alive(1, 2))
        assert refuse(bench, dial) == []

    def test_a_burst_of_refused_datagrams_is_one_dial(self) -> None:
        bench = acquainted()
        effects = [e for _ in range(50) for e in datagram_refused(bench, 1)]
        assert len(dials(effects, 1)) == 1

    def test_a_probe_whose_fallback_is_refused_accuses_with_evidence(self) -> None:
        bench = acquainted(1)
        bench.run_until_probe()
        (dial,) = dials(bench.run_for(0.6), 1)
        refuse(bench, dial)
        assert refused(1, ME) in messages(bench.run_for(1.0))

    def test_with_the_switch_off_refusals_are_nothing(self) -> None:
        bench = acquainted(swim=replace(lan(), crash_evidence=False))
        assert datagram_refused(bench, 1) == []
        bench.take(refused(1, name(2)))
        bench.take(refused(1, name(3)))
        assert failed(bench.run_for(3.9)) == []


class TestWitnessing:
    def test_of_many_members_two_dial_on_hearing_of_a_refusal(self) -> None:
        entries = [entry(number) for number in range(3, 40)]
        for accused in ("a", "b", "c"):
            chosen = choose_witnesses(MemberName(accused), Incarnation(1), entries)
            assert len({e.name for e in chosen}) == 2
            reordered = choose_witnesses(MemberName(accused), Incarnation(1), entries[::-1])
            assert reordered == chosen

    def test_every_member_is_a_witness_of_somebody(self) -> None:
        entries = [entry(number) for number in range(10)]
        chosen = {
            e.name
            for number in range(200)
            for e in choose_witnesses(MemberName(f"x{number}"), Incarnation(number), entries)
        }
        assert len(chosen) == 10

    def test_the_only_one_that_can_is_asked_and_reports_its_own_refusal(self) -> None:
        bench = acquainted(2)
        (dial,) = dials([*bench.take(refused(1, name(2)))], 1)
        refuse(bench, dial)
        assert refused(1, ME) in messages(bench.run_for(0.3))

    def test_an_accusation_without_evidence_makes_nobody_dial(self) -> None:
        bench = acquainted(2)
        assert dials([*bench.take(suspect(name(1), 1, "m2"))], 1) == []


class TestTheFloor:
    def bench_with_complete_evidence(self) -> Bench:
        bench = acquainted()
        accuse_by_own_refusal(bench)
        bench.run_for(0.2)
        bench.take(refused(1, name(2)))
        return bench

    def test_two_refusals_and_a_last_one_declare_after_the_floor(self) -> None:
        bench = self.bench_with_complete_evidence()
        before = bench.run_for(1.29)
        assert failed(before) == []
        (dial,) = dials(bench.run_for(0.02), 1)
        declaring = refuse(bench, dial)
        assert failed(declaring) == [name(1)]
        spread = messages(declaring) + messages(bench.run_for(0.5))
        assert Dead(Incarnation(1), name(1), ME, True) in spread

    def test_a_last_dial_that_is_answered_gives_the_full_suspicion_back(self) -> None:
        bench = self.bench_with_complete_evidence()
        *_, dial = dials(bench.run_for(1.31), 1)
        bench.note(
            bench.machine.handle_tcp_ack(dial.stream_id, Ack(dial.ping.seq_no), now=bench.now)
        )
        bench.take(refused(1, name(3)))
        # Four seconds in all: three members confirm, as they would without any evidence.
        assert failed(bench.run_for(2.0)) == []
        assert failed(bench.run_for(1.0)) == [name(1)]

    def test_a_last_dial_that_is_silent_gives_the_full_suspicion_back(self) -> None:
        bench = self.bench_with_complete_evidence()
        *_, dial = dials(bench.run_for(1.31), 1)
        bench.note(bench.machine.handle_stream_failed(dial.stream_id, "timeout", now=bench.now))
        assert failed(bench.run_for(2.0)) == []

    def test_somebody_who_refutes_meanwhile_is_not_dialled_again(self) -> None:
        bench = self.bench_with_complete_evidence()
        bench.take(alive(1, 2))
        assert failed(bench.run_for(3.0)) == []
        member = bench.machine.member(name(1))
        assert member is not None
        assert member.incarnation == 2

    def test_a_refutation_that_comes_during_the_last_dial_wins(self) -> None:
        bench = self.bench_with_complete_evidence()
        *_, dial = dials(bench.run_for(1.31), 1)
        bench.take(alive(1, 2))
        assert failed(refuse(bench, dial)) == []

    def test_our_own_refusal_alone_shortens_nothing(self) -> None:
        bench = acquainted()
        accuse_by_own_refusal(bench)
        assert failed(bench.run_for(LIFEGUARD_S - 2)) == []

    def test_others_refusals_without_our_own_count_as_confirmations_only(self) -> None:
        bench = acquainted(6)
        start = bench.now
        for witness in (2, 3, 4, 5, 6):
            bench.take(refused(1, name(witness)))
        assert failed(bench.run_for(3.9)) == []
        assert bench.now - start < LIFEGUARD_S

    def test_in_a_pool_of_two_nobody_can_be_asked_and_nothing_is_shortened(self) -> None:
        bench = acquainted(1)
        accuse_by_own_refusal(bench)
        assert failed(bench.run_for(3.5)) == []

    def test_the_floor_is_configurable(self) -> None:
        bench = acquainted(swim=replace(lan(), crash_floor_s=0.5))
        accuse_by_own_refusal(bench)
        bench.take(refused(1, name(2)))
        assert len(dials(bench.run_for(0.51), 1)) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["me", "a", "b", "c", "d", "e"]), st.floats(0, 5)), max_size=12
    )
)
def test_evidence_is_complete_exactly_with_our_own_refusal_and_another(
    heard: list[tuple[str, float]],
) -> None:
    heard.sort(key=lambda pair: pair[1])
    refusals = Refusals(MemberName("me"), floor_s=1.5)
    for witness, at in heard:
        refusals.note(MemberName(witness), now=at)
    who = {witness for witness, _ in heard}
    if "me" in who and len(who) >= 2:
        assert refusals.due_at == heard[0][1] + 1.5
    else:
        assert refusals.due_at is None


def entry(number: int) -> Entry:
    where = address(number)
    return Entry(
        name(number), where.packed, where.port, NO_TAGS, VSN, Incarnation(1), MemberState.ALIVE, 0.0
    )


def test_the_reference_gets_the_keys_it_knows_in_their_order() -> None:
    plain = encode_message(suspect(name(1), 7, "m2"))
    ours = encode_message(refused(1, name(2), 7))
    assert b"Refused" not in plain
    assert ours.startswith(plain[:1])
    assert plain[2:] in ours
    assert decode_message_untrusted(ours) == refused(1, name(2), 7)
