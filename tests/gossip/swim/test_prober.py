"""Probe rounds: messages and instants (gossip protocol, 8.2)."""

from dataclasses import replace

import pytest

from gossip.config import SwimConfig, lan
from gossip.serf.events import Effect, MemberFailed
from gossip.serf.vivaldi import ORIGIN
from gossip.swim.effects import OpenTcpPing
from gossip.types import Address, SeqNo
from gossip.wire.messages import (
    Ack,
    IndirectPing,
    Nack,
    Ping,
)
from gossip.wire.serf_values import encode_coordinate
from tests.gossip.machines import (
    ME,
    MY_ADDRESS,
    STRANGER,
    VSN,
    Bench,
    Sent,
    address,
    alive,
    drop_reasons,
    messages,
    name,
    of_type,
    ping,
    sent,
    suspect,
)

NO_TCP = replace(lan(), tcp_pings=False)


def silent_bench(members: int, swim: SwimConfig = NO_TCP) -> tuple[Bench, Ping]:
    """A machine whose first probe goes unanswered; the ping, at the instant it was sent."""
    bench = Bench(members=members, swim=swim)
    bench.run_for(20)  # the rumors of the beginning are used up
    bench.peers_answer = False
    (direct,) = of_type(Ping, bench.run_until_probe().messages)
    return bench, direct


def health(bench: Bench) -> int:
    return bench.machine.stats()["health_score"]


def relays_asked(effects: list[Effect]) -> list[Sent]:
    return [p for p in sent(effects) if isinstance(p.messages[0], IndirectPing)]


class TestDirectPing:
    def test_it_names_its_target_and_where_to_answer(self) -> None:
        bench = Bench(members=1)
        packet = bench.run_until_probe()
        assert packet.to == address(1)
        assert packet.messages[0] == Ping(SeqNo(1), name(1), MY_ADDRESS.packed, MY_ADDRESS.port, ME)
        assert not packet.crc

    def test_sequence_numbers_count_up_from_one(self) -> None:
        bench = Bench(members=1)
        numbers = [p.seq_no for p in of_type(Ping, messages(bench.run_for(20)))]
        assert numbers == list(range(1, len(numbers) + 1))

    def test_nearly_every_interval_has_a_probe_in_a_pool_of_three(self) -> None:
        # A walk that meets the end of the ring and ourselves twice is given up (8.2).
        bench = Bench(members=2)
        assert 26 <= len(of_type(Ping, messages(bench.run_for(30)))) <= 30

    def test_an_ack_before_the_timeout_ends_the_round_quietly(self) -> None:
        bench, direct = silent_bench(3)
        bench.run_for(0.4)
        bench.take(Ack(direct.seq_no))
        assert relays_asked(bench.run_for(0.2)) == []

    def test_a_suspect_member_is_pinged_together_with_the_accusation_only(self) -> None:
        bench = Bench(members=1, swim=NO_TCP)
        bench.take(alive(2))
        bench.take(suspect(name(1), 1, "m2"))
        packets = [bench.run_until_probe() for _ in range(8)]
        to_suspect = [p for p in packets if p.to == address(1)]
        assert to_suspect
        for packet in to_suspect:
            ping_message, accusation = packet.messages
            assert isinstance(ping_message, Ping)
            assert accusation == suspect(name(1), 1, ME)
            assert packet.crc


class TestIndirectPings:
    def test_after_the_timeout_three_others_are_asked_with_the_same_number(self) -> None:
        bench, direct = silent_bench(6)
        assert relays_asked(bench.run_for(0.49)) == []
        asked = relays_asked(bench.run_for(0.02))
        assert len({p.to for p in asked}) == 3
        for packet in asked:
            (request,) = of_type(IndirectPing, packet.messages)
            assert (request.seq_no, request.node) == (direct.seq_no, direct.node)
            assert request.nack
            assert packet.to not in (MY_ADDRESS, address(int(direct.node[1:])))

    def test_a_relay_that_does_not_know_nacks_is_not_asked_for_one(self) -> None:
        bench = Bench(swim=NO_TCP)
        for number in (1, 2):
            bench.take(alive(number, vsn=bytes((1, 3)) + VSN[2:]))
        bench.peers_answer = False
        bench.run_until_probe()
        (request,) = of_type(IndirectPing, messages(bench.run_for(0.6)))
        assert not request.nack

    def test_a_relayed_ack_saves_the_member(self) -> None:
        bench, direct = silent_bench(4)
        bench.run_for(0.7)
        bench.take(Ack(direct.seq_no))
        assert suspect(direct.node, 1, ME) not in messages(bench.run_for(1.0))
        assert health(bench) == 0

    def test_without_any_ack_the_member_is_suspected_after_the_interval(self) -> None:
        bench, direct = silent_bench(4)
        accusation = suspect(direct.node, 1, ME)
        assert accusation not in messages(bench.run_for(0.99))
        bench.peers_answer = True
        assert accusation in messages(bench.run_for(0.3))


class TestNacks:
    def fail(self, nacks: int, *, members: int = 4) -> int:
        bench, direct = silent_bench(members)
        bench.run_for(0.9)
        for _ in range(nacks):
            bench.take(Nack(direct.seq_no))
        bench.run_for(0.1)
        return health(bench)

    @pytest.mark.parametrize(("nacks", "score"), [(0, 3), (1, 2), (2, 1), (3, 0)])
    def test_a_failed_probe_costs_one_point_for_each_missing_nack(
        self, nacks: int, score: int
    ) -> None:
        assert self.fail(nacks) == score

    def test_nacks_that_come_after_the_verdict_take_their_points_back(self) -> None:
        bench, direct = silent_bench(4)
        bench.run_for(1.05)
        assert health(bench) == 3
        for _ in range(5):
            bench.take(Nack(direct.seq_no))
        assert health(bench) == 0

    def test_without_relays_a_failed_probe_costs_one_point(self) -> None:
        assert self.fail(0, members=1) == 1

    def test_an_unhealthy_prober_waits_longer_before_it_accuses(self) -> None:
        bench, _ = silent_bench(4)
        bench.run_for(0.9)
        (second,) = of_type(Ping, messages(bench.run_for(0.1)))  # the first one has failed
        assert health(bench) == 3
        assert suspect(second.node, 1, ME) not in messages(bench.run_for(3.7))
        assert suspect(second.node, 1, ME) in messages(bench.run_for(0.7))


class TestTcpFallback:
    def test_it_runs_beside_the_indirect_pings_with_the_same_number(self) -> None:
        bench, direct = silent_bench(3, swim=lan())
        began = bench.now
        (fallback,) = of_type(OpenTcpPing, bench.run_for(0.6))
        assert fallback.ping == direct
        assert fallback.to == address(int(direct.node[1:]))
        assert fallback.deadline_at == pytest.approx(began + 1.0)

    def test_a_tcp_ack_saves_the_member_and_tells_that_udp_is_broken(self) -> None:
        bench, direct = silent_bench(3, swim=lan())
        (fallback,) = of_type(OpenTcpPing, bench.run_for(0.6))
        bench.machine.handle_tcp_ack(fallback.stream_id, Ack(direct.seq_no), now=bench.now)
        bench.peers_answer = True
        later = bench.run_for(1.0)
        assert "probe-answered-by-tcp-only" in drop_reasons(later)
        assert suspect(direct.node, 1, ME) not in messages(later)
        assert health(bench) == 0

    def test_an_ack_of_another_stream_or_number_saves_nobody(self) -> None:
        bench, direct = silent_bench(1, swim=lan())
        (fallback,) = of_type(OpenTcpPing, bench.run_for(0.6))
        other = SeqNo(direct.seq_no + 1)
        bench.machine.handle_tcp_ack(fallback.stream_id + 1, Ack(direct.seq_no), now=bench.now)
        bench.machine.handle_tcp_ack(fallback.stream_id, Ack(other), now=bench.now)
        bench.run_for(0.5)
        assert health(bench) == 1

    def test_a_refused_stream_changes_nothing_before_the_round_is_over(self) -> None:
        bench, _ = silent_bench(1, swim=lan())
        (fallback,) = of_type(OpenTcpPing, bench.run_for(0.6))
        effects = bench.machine.handle_stream_failed(fallback.stream_id, "refused", now=bench.now)
        assert effects == []

    def test_a_member_that_does_not_understand_it_is_not_asked(self) -> None:
        bench = Bench(swim=lan())
        bench.take(alive(1, vsn=bytes((1, 2)) + VSN[2:]))
        bench.peers_answer = False
        bench.run_until_probe()
        assert of_type(OpenTcpPing, bench.run_for(0.6)) == []

    def test_a_tcp_ping_for_us_or_for_anyone_is_answered_and_others_are_not(self) -> None:
        bench = Bench()
        for to, answer in (("me", Ack(SeqNo(7))), ("", Ack(SeqNo(7))), ("you", None)):
            assert bench.machine.handle_tcp_ping(ping(7, to), now=bench.now) == answer


class TestLateWakeUps:
    def test_a_prober_that_overslept_gives_the_others_their_full_time(self) -> None:
        bench, direct = silent_bench(4)
        bench.now += 5.0  # the process stood still
        bench.note(bench.machine.handle_timer(now=bench.now))
        assert suspect(direct.node, 1, ME) not in messages(bench.run_for(0.45))

    def test_ticks_missed_meanwhile_are_skipped(self) -> None:
        bench = Bench(members=3)
        bench.run_for(3)
        bench.now += 60.0
        assert len(of_type(Ping, messages(bench.run_for(2.5)))) <= 4


def test_rounding_never_makes_one_tick_due_for_ever() -> None:
    # Found by letting a day pass: (a + b) - a can be less than b.
    odd = replace(NO_TCP, probe_interval_s=0.1, probe_timeout_s=0.03, push_pull_interval_s=0.0)
    bench = Bench(members=2, swim=odd)
    start, steps = bench.now, 0
    while bench.now < start + 1000 and steps < 40_000:
        bench.step()
        steps += 1
    assert bench.now >= start + 1000


class TestAnswering:
    def test_a_ping_is_answered_to_its_source_fields(self) -> None:
        bench = Bench(members=1)
        (answer,) = sent(bench.take(ping(9)))
        assert answer.to == address(1)
        assert answer.messages[0] == Ack(SeqNo(9), encode_coordinate(ORIGIN))

    def test_rumors_ride_on_an_answer(self) -> None:
        bench = Bench(members=2)
        (answer,) = sent(bench.take(ping(9)))
        assert alive(2) in answer.messages

    def test_without_source_fields_the_answer_goes_where_the_packet_came_from(self) -> None:
        bench = Bench()
        (answer,) = sent(bench.take(Ping(SeqNo(9), ME)))
        assert answer.to == STRANGER

    def test_a_ping_for_another_name_is_dropped_and_an_unnamed_one_answered(self) -> None:
        bench = Bench(members=1)
        assert drop_reasons(bench.take(ping(9, "you"))) == ["ping-for-another-name"]
        assert sent(bench.take(ping(9, "")))

    def test_answers_to_strangers_are_rate_limited_and_to_members_not(self) -> None:
        bench = Bench(members=1)
        stranger = [bench.take(Ping(SeqNo(1), ME)) for _ in range(1000)]
        assert 200 < sum(bool(sent(effects)) for effects in stranger) < 500
        assert all(sent(bench.take(ping(n))) for n in range(1000))

    def test_an_indirect_ping_is_passed_on_under_an_own_number_and_its_ack_back(self) -> None:
        bench = Bench(members=2)
        (relayed,) = sent(bench.take(request_about(2)))
        assert relayed.to == address(2)
        (inner,) = of_type(Ping, relayed.messages)
        assert (inner.node, inner.source_node) == (name(2), ME)
        (back,) = sent(bench.take(Ack(inner.seq_no, b"a coordinate")))
        assert back.to == address(1)
        assert back.messages[0] == Ack(SeqNo(77), None)
        assert sent(bench.take(Ack(inner.seq_no))) == []

    def test_without_an_ack_a_nack_is_sent_before_the_requester_gives_up(self) -> None:
        bench = Bench(members=2)
        bench.peers_answer = False
        bench.take(request_about(2))
        assert Nack(SeqNo(77)) not in messages(bench.run_for(0.399))
        assert Nack(SeqNo(77)) in messages(bench.run_for(0.002))

    def test_an_ack_after_the_nack_is_still_passed_on_within_the_probe_timeout(self) -> None:
        bench = Bench(members=2)
        bench.peers_answer = False
        (inner,) = of_type(Ping, messages(bench.take(request_about(2))))
        bench.run_for(0.45)
        assert Ack(SeqNo(77)) in messages(bench.take(Ack(inner.seq_no)))
        (inner,) = of_type(Ping, messages(bench.take(request_about(2))))
        bench.run_for(0.51)
        assert bench.take(Ack(inner.seq_no)) == []

    def test_a_nack_nobody_wants_is_not_sent(self) -> None:
        bench = Bench(members=2)
        bench.peers_answer = False
        bench.take(replace(request_about(2), nack=False))
        assert of_type(Nack, messages(bench.run_for(0.6))) == []

    def test_pings_under_way_for_others_are_bounded(self) -> None:
        bench = Bench(members=2)
        reasons = [r for _ in range(1100) for r in drop_reasons(bench.take(request_about(2)))]
        assert reasons == ["indirect-pings-max"] * (1100 - 1024)

    def test_late_and_unknown_acks_and_nacks_are_ordinary(self) -> None:
        bench = Bench(members=1)
        assert bench.take(Ack(SeqNo(4711))) == []
        assert bench.take(Nack(SeqNo(4711))) == []


def request_about(target: int) -> IndirectPing:
    to: Address = address(target)
    asker = address(1)
    return IndirectPing(
        SeqNo(77), to.packed, to.port, name(target), True, asker.packed, asker.port, name(1)
    )


def test_a_member_that_never_answers_fails_and_its_death_is_gossiped() -> None:
    bench, _ = silent_bench(1, swim=NO_TCP)
    assert of_type(MemberFailed, bench.run_for(6.0))
