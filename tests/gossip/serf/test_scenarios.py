"""Whole pools in virtual time: what members see of each other when things go wrong."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import pytest

from gossip.config import GossipConfig, SerfConfig, SwimConfig, lan, local, wan
from gossip.errors import StateError
from gossip.serf.events import (
    LeaveFinished,
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberStatus,
    MemberUpdated,
)
from gossip.swim.effects import NameConflict, PushPullFinished
from gossip.types import Address
from svcmesh.simulate import Link, SimulatedMember, SimulatedPool
from tests.gossip.machines import drop_reasons

ALIVE, FAILED, LEFT = MemberStatus.ALIVE, MemberStatus.FAILED, MemberStatus.LEFT
LOSSY = Link(latency_s_min=0.001, latency_s_max=0.02, loss=0.2, duplicate=0.1)


def health(member: SimulatedMember) -> int:
    return member.machine.stats()["health_score"]


def failures_told(pool: SimulatedPool) -> list[str]:
    return [
        f"{each.name} about {event.member.name}"
        for each in pool.members
        for _, event in each.events
        if isinstance(event, MemberFailed)
    ]


class TestConvergence:
    @pytest.mark.parametrize(("count", "limit_s"), [(2, 1), (10, 3), (64, 6), (128, 8)])
    def test_members_that_join_one_by_one_soon_all_see_all(
        self, seed: int, count: int, limit_s: float
    ) -> None:
        pool = SimulatedPool(seed=seed)
        pool.add_joined(count)
        assert pool.clock.now < limit_s
        pool.run_for(20)
        assert pool.all_see_all_alive()
        assert failures_told(pool) == []

    @pytest.mark.parametrize("profile", [lan(), wan(), local()])
    def test_every_profile_stays_calm(self, seed: int, profile: SwimConfig) -> None:
        pool = SimulatedPool(seed=seed, config=GossipConfig(swim=profile))
        pool.add_joined(12)
        pool.run_for(120)
        assert failures_told(pool) == []

    def test_a_lossy_network_converges_and_blames_nobody_for_long(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed, link=LOSSY)
        pool.add_joined(16)
        pool.run_for(120)
        assert pool.run_until(pool.all_see_all_alive, limit_s=60)

    def test_nobody_sends_when_nothing_happens_but_probes_and_acks(self, seed: int) -> None:
        pool = SimulatedPool(
            seed=seed, config=GossipConfig(swim=replace(lan(), push_pull_interval_s=0.0))
        )
        pool.add_joined(10)
        pool.run_for(30)
        before = pool.network.sent
        pool.run_for(60)
        assert pool.network.sent - before == pytest.approx(10 * 60 * 2, rel=0.1)

    def test_one_seed_gives_one_history(self, seed: int) -> None:
        def history() -> list[str]:
            pool = SimulatedPool(seed=seed, link=LOSSY)
            members = pool.add_joined(8)
            members[3].crash()
            pool.run_for(30)
            return [f"{m.name} {at} {event}" for m in members for at, event in m.events]

        assert history() == history()

    @pytest.mark.parametrize("profile", [local(), lan()])
    def test_all_of_a_small_pool_hear_of_a_joiner_by_rumor_alone(
        self, seed: int, profile: SwimConfig
    ) -> None:
        config = GossipConfig(swim=replace(profile, push_pull_interval_s=0.0))
        for run in range(60):
            pool = SimulatedPool(seed=seed + run, config=config)
            first, *_ = pool.add_joined(3)
            pool.run_for(run * 0.05)
            pool.add().join(first)
            assert pool.run_until(pool.all_see_all_alive, limit_s=5), f"seed {seed + run}"


class TestFailing:
    def test_a_killed_member_is_failed_everywhere(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(10)
        members[4].crash()
        assert pool.run_until(lambda: pool.all_see(members[4], FAILED), limit_s=30)
        assert [m.machine.stats()["failed"] for m in pool.running()] == [1] * 9

    def test_half_of_ten_silent_members_are_failed_everywhere_within_eight_seconds(
        self, seed: int
    ) -> None:
        durations = []
        for run in range(9):
            pool = SimulatedPool(seed=seed + run)
            members = pool.add_joined(10)
            pool.run_for(5 + run * 0.37)
            members[4].crash(host_too=True)
            start, limit = pool.clock.now, pool.clock.now + 30
            while not pool.all_see(members[4], FAILED) and pool.clock.now < limit:
                pool.run_for(0.1)
            durations.append(pool.clock.now - start)
        # At best a probe (1 s) and the confirmed suspicion (4 s from its first accuser).
        assert min(durations) > 4.5
        assert median(durations) < 8.0

    def test_a_restart_with_a_higher_incarnation_is_seen_alive_at_once(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(6)
        members[2].crash()
        assert pool.run_until(lambda: pool.all_see(members[2], FAILED), limit_s=30)
        members[2].start(incarnation=1000)
        members[2].join(members[0])
        assert pool.run_until(pool.all_see_all_alive, limit_s=3)
        pool.run_for(30)
        assert pool.all_see_all_alive()
        assert members[2].machine.incarnation == 1000

    def test_a_quick_restart_is_not_noticed_as_a_failure(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(6)
        members[2].crash()
        pool.run_for(0.3)
        members[2].start(incarnation=1000)
        members[2].join(members[0])
        pool.run_for(30)
        assert pool.all_see_all_alive()
        assert failures_told(pool) == []

    def test_a_restart_that_forgot_its_incarnation_rises_by_refuting(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(6)
        members[2].crash()
        assert pool.run_until(lambda: pool.all_see(members[2], FAILED), limit_s=30)
        members[2].start(incarnation=1)
        members[2].join(members[0])
        assert pool.run_until(pool.all_see_all_alive, limit_s=15)
        assert members[2].machine.incarnation > 1

    def test_a_false_suspicion_is_refuted(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(6)
        members[2].pause()
        # Long enough for some of the others to probe it in vain, too short for a verdict.
        pool.run_for(4.0)
        members[2].resume()
        pool.run_for(30)
        assert pool.all_see_all_alive()
        assert failures_told(pool) == []
        assert members[2].machine.incarnation > 1

    def test_a_failed_member_that_only_slept_comes_back_by_itself(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(6)
        members[2].pause()
        assert pool.run_until(
            lambda: all(m.status_of(members[2]) == FAILED for m in members if m is not members[2]),
            limit_s=40,
        )
        members[2].resume()
        assert pool.run_until(pool.all_see_all_alive, limit_s=20)


class TestBrokenLinks:
    def test_indirect_pings_save_a_member_whose_link_to_one_other_is_cut(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        a, b, *_ = pool.add_joined(6)
        pool.network.block(a.address, b.address)
        pool.network.block(b.address, a.address)
        pool.run_for(60)
        assert pool.all_see_all_alive()
        assert failures_told(pool) == []

    def test_tcp_saves_a_member_that_no_datagram_reaches(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(5)
        deaf = members[0]
        for other in members[1:]:
            pool.network.block(other.address, deaf.address, streams_too=False)
        pool.run_for(60)
        assert all(other.status_of(deaf) == ALIVE for other in members[1:])
        others_dropped = drop_reasons(e for m in members[1:] for _, e in m.events)
        assert set(others_dropped) == {"probe-answered-by-tcp-only"}

    def test_without_tcp_such_a_member_is_suspected(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed, config=GossipConfig(swim=replace(lan(), tcp_pings=False)))
        members = pool.add_joined(5)
        for other in members[1:]:
            pool.network.block(other.address, members[0].address, streams_too=False)
        assert pool.run_until(
            lambda: any(m.status_of(members[0]) == FAILED for m in members[1:]), limit_s=30
        )

    def test_lifeguard_keeps_a_slow_member_from_failing_the_healthy(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(8)
        slow, scores = members[0], []
        for _ in range(10):
            slow.pause()
            pool.run_for(1.8)
            slow.resume()
            scores.append(health(slow))
            pool.run_for(0.2)
        told = [who for who in failures_told(pool) if not who.endswith(f"about {slow.name}")]
        assert told == []
        assert max(scores) > 0
        pool.run_for(60)
        assert pool.all_see_all_alive()
        assert health(slow) == 0


class TestPartitions:
    def test_a_short_partition_heals_by_itself(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(10)
        here, there = members[:6], members[6:]
        pool.network.partition([m.address for m in here], [m.address for m in there])
        assert pool.run_until(
            lambda: (
                all(h.status_of(t) == FAILED for h in here for t in there)
                and all(t.status_of(h) == FAILED for h in here for t in there)
            ),
            limit_s=40,
        )
        pool.network.heal()  # within the 30 s in which the dead still get rumors
        assert pool.run_until(pool.all_see_all_alive, limit_s=60)

    def test_a_long_partition_heals_by_reconnecting(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(6)
        here, there = members[:3], members[3:]
        pool.network.partition([m.address for m in here], [m.address for m in there])
        pool.run_for(200)
        pool.network.heal()
        assert pool.run_until(pool.all_see_all_alive, limit_s=120)

    def test_halves_that_have_forgotten_each_other_become_one_pool_again(self, seed: int) -> None:
        config = GossipConfig(serf=SerfConfig(reconnect_timeout_s=120, reap_interval_s=5))
        pool = SimulatedPool(seed=seed, config=config)
        members = pool.add_joined(20)
        here, there = members[:10], members[10:]
        pool.network.partition([m.address for m in here], [m.address for m in there])
        pool.run_for(600)
        assert all(len(m.machine.members()) == 10 for m in members)
        pool.network.heal()
        healed_from = pool.clock.now
        assert pool.run_until(pool.all_see_all_alive, limit_s=30)
        pool.run_for(60)
        assert pool.all_see_all_alive()
        # Nobody was taken for dead on the way back.
        for member in members:
            failed = member.events_of(MemberFailed)
            assert [at for at, _ in failed if at > healed_from] == []

    def test_one_that_was_cut_off_for_a_week_comes_back_by_itself(self, seed: int) -> None:
        quiet = replace(lan(), probe_interval_s=60, push_pull_interval_s=0)
        config = GossipConfig(swim=quiet, serf=SerfConfig(reap_interval_s=600))
        pool = SimulatedPool(seed=seed, config=config)
        members = pool.add_joined(3)
        pool.network.partition([members[0].address], [m.address for m in members[1:]])
        pool.run_for(7 * 24 * 3600)
        pool.network.heal()
        assert pool.run_until(pool.all_see_all_alive, limit_s=1200)

    def test_a_restarted_member_finds_its_pool_by_the_peers_it_knew(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(6)
        members[2].crash()
        members[3].crash()
        members[2].restart()
        pool.run_for(3)
        members[3].restart()
        assert pool.run_until(pool.all_see_all_alive, limit_s=15)

    def test_a_pool_restarted_as_a_whole_is_whole_again(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(50)
        for member in members:
            member.crash()
            member.restart()
            pool.run_for(0.02)
        assert pool.run_until(pool.all_see_all_alive, limit_s=30)

    def test_gaps_that_gossip_leaves_in_a_mass_restart_are_dialled_shut(self, seed: int) -> None:
        # Each rumor is sent a few times only and full states are not exchanged.
        sparse = replace(lan(), retransmit_mult=1, push_pull_interval_s=0)
        pool = SimulatedPool(seed=seed, config=GossipConfig(swim=sparse))
        members = pool.add_stopped(60)
        pool.start_known(members)
        pool.run_for(2)
        for member in members:
            member.crash()
        for member in members:
            member.restart()
            pool.run_for(1 / 60)
        assert pool.run_until(pool.all_see_all_alive, limit_s=60, step_s=1)

    def test_members_that_start_apart_do_not_know_each_other(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        a, b = pool.add(), pool.add()
        pool.run_for(60)
        assert a.statuses() == {"n1": ALIVE}
        assert b.statuses() == {"n2": ALIVE}


class TestLeaving:
    def test_a_graceful_leave_shows_left_everywhere_and_never_failed(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(10)
        members[3].leave()
        assert pool.run_until(lambda: bool(members[3].events_of(LeaveFinished)), limit_s=12)
        members[3].crash()
        assert pool.all_see(members[3], LEFT)
        pool.run_for(60)
        assert failures_told(pool) == []

    def test_it_lasts_until_the_word_is_handed_on_and_a_second_longer(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(4)
        pool.run_for(20)
        start = pool.clock.now
        members[3].leave()
        pool.run_for(15)
        ((left_at, _),) = members[3].events_of(MemberLeft)
        ((finished_at, _),) = members[3].events_of(LeaveFinished)
        # Four transmissions of each word, three in a round of 0.2 s.
        assert left_at - start < 0.7
        assert 1.0 <= finished_at - left_at < 1.7

    def test_alone_it_lasts_the_propagate_delay_only(self, seed: int) -> None:
        pool = SimulatedPool(
            seed=seed, config=GossipConfig(serf=SerfConfig(leave_propagate_delay_s=3.0))
        )
        member = pool.add()
        member.leave()
        pool.run_for(10)
        ((finished_at, _),) = member.events_of(LeaveFinished)
        assert finished_at == pytest.approx(3.0)

    def test_with_nobody_listening_it_ends_after_both_timeouts(self, seed: int) -> None:
        # A gossip interval beyond the timeouts: neither word is ever handed on often enough.
        slow = replace(lan(), gossip_interval_s=60.0)
        pool = SimulatedPool(seed=seed, config=GossipConfig(swim=slow))
        members = pool.add_joined(2)
        pool.run_for(300)
        start = pool.clock.now
        members[1].machine.set_tags({"occupy": "the round"}, now=start)
        pool.network.partition([members[0].address], [members[1].address])
        members[1].leave()
        pool.run_for(30)
        ((finished_at, _),) = members[1].events_of(LeaveFinished)
        assert finished_at - start <= 11.0

    def test_a_leaver_refuses_to_join_or_change_and_leaves_once(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(3)
        members[0].leave()
        members[0].leave()
        with pytest.raises(StateError):
            members[0].join(members[1])
        with pytest.raises(StateError):
            members[0].set_tags({"a": "b"})
        pool.run_for(15)
        assert len(members[0].events_of(LeaveFinished)) == 1

    def test_a_left_members_name_can_be_taken_over_from_another_address(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(5)
        members[4].leave()
        pool.run_for(5)
        members[4].crash()
        heir = pool.add("n5", address=Address("10.77.0.1", 7946))
        heir.join(members[0])
        assert pool.run_until(pool.all_see_all_alive, limit_s=5)
        for member in members[:4]:
            seen = member.machine.member(heir.name)
            assert seen is not None
            assert seen.address == heir.address

    def test_a_member_that_left_can_come_back(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(5)
        members[4].leave()
        pool.run_for(5)
        members[4].crash()
        members[4].start(incarnation=500)
        members[4].join(members[1])
        assert pool.run_until(pool.all_see_all_alive, limit_s=5)
        pool.run_for(60)
        assert pool.all_see_all_alive()


class TestNamesAndTags:
    def test_the_first_holder_of_a_name_keeps_it(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(4)
        impostor = pool.add("n2", address=Address("10.66.0.1", 7946))
        impostor.join(members[0])
        pool.run_for(20)
        for member in (members[0], members[2], members[3]):
            seen = member.machine.member(members[1].name)
            assert seen is not None
            assert seen.address == members[1].address
            assert seen.status == ALIVE
        assert members[0].events_of(NameConflict)

    def test_changed_tags_reach_everybody(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        members = pool.add_joined(8)
        before = members[5].machine.incarnation
        members[5].set_tags({"role": "web"})
        assert members[5].machine.incarnation == before + 1

        def all_know() -> bool:
            seen = [m.machine.member(members[5].name) for m in members]
            return all(each is not None and each.tags == {"role": "web"} for each in seen)

        assert pool.run_until(all_know, limit_s=3)
        assert all(len(m.events_of(MemberUpdated)) == 1 for m in members)

    def test_equal_tags_change_nothing(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        member = pool.add(tags={"a": "b"})
        member.set_tags({"a": "b"})
        assert member.machine.incarnation == 1
        assert member.events_of(MemberUpdated) == []

    def test_a_joiner_that_the_pool_refuses_appears_nowhere(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)

        def one_dc(members: object) -> str | None:
            assert isinstance(members, list | tuple)
            return "wrong dc" if any(m.tags.get("dc") == "other" for m in members) else None

        first = pool.add(tags={"dc": "here"}, admit=one_dc)
        second = pool.add(tags={"dc": "here"}, admit=one_dc)
        second.join(first)
        pool.run_for(2)
        stranger = pool.add(tags={"dc": "other"})
        stranger.join(first)
        pool.run_for(20)
        assert first.statuses() == second.statuses() == {"n1": ALIVE, "n2": ALIVE}

    def test_a_pool_that_a_joiner_refuses_never_hears_of_it(self, seed: int) -> None:
        def no_consul(members: Sequence[Member]) -> str | None:
            return (
                "a Consul server" if any(m.tags.get("role") == "consul" for m in members) else None
            )

        pool = SimulatedPool(seed=seed)
        consul = pool.add(tags={"role": "consul"})
        ours = pool.add(admit=no_consul)
        stream_id = ours.join(consul)
        pool.run_for(1)
        consul.join(ours)
        pool.run_for(20)
        assert consul.statuses() == {consul.name: ALIVE}
        assert ours.statuses() == {ours.name: ALIVE}
        ((_, refused),) = ours.events_of(PushPullFinished)
        assert refused == PushPullFinished(stream_id, consul.address, "a Consul server")
        ((_, told),) = consul.events_of(PushPullFinished)
        assert isinstance(told, PushPullFinished)
        assert told.error == "remote error: a Consul server"

    def test_a_join_of_nobody_is_told_with_its_reason(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed)
        member = pool.add()
        to = Address("10.1.2.3", 7946)
        stream_id = member.join(to)
        pool.run_for(1)
        ((_, finished),) = member.events_of(PushPullFinished)
        assert finished == PushPullFinished(stream_id, to, "refused")

    def test_each_member_is_told_of_once(self, seed: int) -> None:
        pool = SimulatedPool(seed=seed, link=Link(duplicate=0.5))
        members = pool.add_joined(12)
        pool.run_for(10)
        assert [len(m.events_of(MemberJoined)) for m in members] == [12] * 12
