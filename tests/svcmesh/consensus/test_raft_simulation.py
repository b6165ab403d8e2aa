"""Raft through crashes, partitions, lost and doubled messages, clocks that run apart; by seed."""

from random import Random

import pytest

from svcmesh.consensus.raft import Membership, RaftConfig, ServerId
from tests.svcmesh.consensus.raft_checkers import SafetyChecker, check_linearizable
from tests.svcmesh.consensus.raft_cluster import SimCluster

SEEDS_QUICK = range(12)
SEEDS = range(300)
STORM_S = 12.0
CALM_S = 6.0
WORK_S = 2.0
"""After the calm, by which everything must have found together: in this time things get done."""


class Nemesis:
    """Does one thing after the other to a cluster, and undoes it all at the end."""

    def __init__(self, cluster: SimCluster, seed: int) -> None:
        self._cluster, self._rng = cluster, Random(seed)
        self._founders = [server.id for server in cluster.running]

    def act(self) -> None:
        cluster, rng = self._cluster, self._rng
        servers = list(cluster.servers.values())
        victim = rng.choice(servers)
        match rng.randrange(9):
            case 0 | 1:
                if victim.is_running:
                    victim.crash()
            case 2:
                for server in servers:
                    if not server.is_running:
                        server.start()
            case 3:
                side = rng.sample(servers, rng.randint(1, len(servers) // 2))
                cluster.split({server.id for server in side})
            case 4:
                # One way only, and not everywhere.
                cluster.cut = {
                    (a, b) for a in cluster.servers for b in cluster.servers if rng.random() < 0.3
                }
            case 5:
                cluster.heal()
            case 6:
                victim.is_paused = victim.is_running
                cluster.clock.call_later(rng.uniform(0.1, 2.0), lambda: _resume(victim))
            case 7:
                self._change_members()
            case _:
                if cluster.leaders:
                    cluster.leader().transfer(victim.id)

    def rest(self) -> None:
        """Everything that can run runs, and everybody hears everybody."""
        cluster = self._cluster
        cluster.heal()
        cluster.loss = cluster.duplication = 0.0
        for server in cluster.servers.values():
            server.is_paused = False
            if not server.is_running:
                server.start()

    def _change_members(self) -> None:
        if not self._cluster.leaders:
            return
        leader = self._cluster.leader()
        voters = set(leader.machine.members.voters)
        learners = set(leader.machine.members.learners)
        server = self._rng.choice(list(self._cluster.servers))
        if server in voters and len(voters) > 2:
            voters.discard(server)
        elif server in learners:
            voters.add(server)
        else:
            learners.add(server)
        leader.change_members(Membership.of(voters, learners - voters))


def _resume(server: object) -> None:
    server.is_paused = False  # type: ignore[attr-defined] # a server; crashed ones are fine


def storm(seed: int, *, size: int, spares: int = 1) -> None:
    """One history: a storm, then calm in which everything must work again."""
    rng = Random(seed)
    checker = SafetyChecker()
    cluster = SimCluster(
        seed,
        size,
        observer=checker,
        loss=rng.choice((0.0, 0.02, 0.1)),
        duplication=rng.choice((0.0, 0.1)),
        latency_s=rng.choice(((0.001, 0.01), (0.001, 0.1), (0.02, 0.04))),
        save_s_max=rng.choice((0.001, 0.02, 0.1)),
        clock_drift=0.1,
        spares=spares,
    )
    nemesis = Nemesis(cluster, seed)
    for number in range(4):
        cluster.start_client(number, by_lease=number == 3)
    ends_at = cluster.clock.now + STORM_S
    while cluster.clock.now < ends_at:
        cluster.run(rng.uniform(0.1, 1.2))
        nemesis.act()
        checker.check_logs(cluster)
    nemesis.rest()
    cluster.run(CALM_S)
    done_before = sum(o.returned_at is not None for o in cluster.history)
    cluster.run(WORK_S)
    checker.check_logs(cluster)
    check_linearizable(cluster.history)
    done = sum(o.returned_at is not None for o in cluster.history)
    assert done > done_before, "nothing gets done in calm weather"


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("seed", SEEDS_QUICK)
def test_a_storm_breaks_no_promise(seed: int, size: int) -> None:
    storm(seed, size=size)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("start", range(0, len(SEEDS), 25))
def test_many_storms_break_no_promise(start: int, size: int) -> None:
    for seed in SEEDS[start : start + 25]:
        try:
            storm(1000 + seed, size=size)
        except AssertionError as error:
            raise AssertionError(f"seed {1000 + seed}, size {size}: {error}") from error


def test_a_leader_is_found_and_followed() -> None:
    cluster = SimCluster(1, 3, observer=SafetyChecker())
    took_s = cluster.run_until(lambda: len(cluster.leaders) == 1, within_s=5.0)
    assert took_s < 4 * cluster.config.election_timeout_s
    cluster.run(1.0)
    leader = cluster.leader()
    assert {server.machine.leader for server in cluster.running} == {leader.id}


def test_a_server_that_returns_from_a_minority_deposes_nobody() -> None:
    cluster = SimCluster(2, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.run(1.0)
    leader, term = cluster.leader().id, cluster.leader().machine.term
    alone = next(s for s in cluster.running if s.id != leader)
    cluster.split({alone.id})
    cluster.run(30.0)
    assert alone.machine.term == term
    cluster.heal()
    cluster.run(5.0)
    assert [(s.id, s.machine.term) for s in cluster.leaders] == [(leader, term)]


def test_a_leader_without_a_majority_steps_down() -> None:
    cluster = SimCluster(3, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    old = cluster.leader()
    cluster.split({old.id})
    cluster.run_until(lambda: old not in cluster.leaders, within_s=3.0)
    cluster.run_until(lambda: bool(cluster.leaders), within_s=3.0)


@pytest.mark.parametrize("by_lease", [True, False])
def test_a_follower_reads_what_was_just_acknowledged_without_waiting_for_a_heartbeat(
    by_lease: bool,
) -> None:
    cluster = SimCluster(9, 3, observer=SafetyChecker(), config=RaftConfig(heartbeat_s=0.25))
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.run(1.0)
    leader = cluster.leader()
    follower = next(s for s in cluster.running if s is not leader)
    for value in range(1, 20):
        acknowledged: list[object] = []
        leader.propose(("put", "k", value), acknowledged.append)
        cluster.run_until(lambda: bool(acknowledged), within_s=1.0)  # noqa: B023
        seen: list[int] = []
        follower.read(lambda _: seen.append(follower.state["k"]), by_lease=by_lease)  # noqa: B023
        took_s = cluster.run_until(lambda: bool(seen), within_s=1.0)  # noqa: B023
        assert seen == [value]
        assert took_s < 0.15


def test_a_followers_read_fails_with_the_leadership_that_it_relied_on() -> None:
    cluster = SimCluster(10, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.run(1.0)
    leader = cluster.leader()
    follower = next(s for s in cluster.running if s is not leader)
    leader.crash()
    answers: list[bool] = []
    follower.read(answers.append, by_lease=False)
    cluster.run(3.0)
    assert answers == [False]


def test_a_followers_read_survives_lost_messages() -> None:
    cluster = SimCluster(11, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.run(1.0)
    leader = cluster.leader()
    follower = next(s for s in cluster.running if s is not leader)
    answers: list[bool] = []
    cluster.cut = {(follower.id, leader.id)}
    follower.read(answers.append, by_lease=False)
    cluster.run(0.3)
    cluster.heal()
    cluster.run(0.5)
    assert answers == [True]


def test_a_far_behind_server_catches_up_by_snapshot() -> None:
    cluster = SimCluster(4, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    behind = next(s for s in cluster.running if s not in cluster.leaders)
    behind.crash()
    cluster.start_client(0)
    cluster.run_until(
        lambda: cluster.leader().machine.log.first_index > behind.disk.snapshot.index + 100,
        within_s=60.0,
    )
    behind.start()
    cluster.run_until(
        lambda: behind.applied >= cluster.leader().machine.log.commit - 2, within_s=5.0
    )
    assert behind.disk.snapshot.index > 0


def test_leadership_is_handed_over_without_an_election_timeout() -> None:
    cluster = SimCluster(5, 3, observer=SafetyChecker())
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.run(1.0)
    old = cluster.leader()
    heir = next(s for s in cluster.running if s is not old)
    old.transfer(heir.id)
    took_s = cluster.run_until(lambda: cluster.leaders == [heir], within_s=2.0)
    assert took_s < cluster.config.election_timeout_s / 2


def test_a_server_is_added_as_a_learner_then_votes_and_the_leader_can_be_removed() -> None:
    cluster = SimCluster(6, 3, observer=SafetyChecker(), spares=1)
    cluster.run_until(lambda: bool(cluster.leaders), within_s=5.0)
    cluster.start_client(0)
    cluster.run(2.0)
    leader, new = cluster.leader(), ServerId("s3")
    voters = set(leader.machine.members.voters)
    cluster.servers[new].start()
    leader.change_members(Membership.of(voters, {new}))
    cluster.run_until(lambda: cluster.servers[new].applied >= leader.applied > 0, within_s=5.0)
    cluster.run(0.5)
    leader.change_members(Membership.of(voters | {new}))
    cluster.run(0.5)
    leader.change_members(Membership.of((voters | {new}) - {leader.id}))
    cluster.run_until(lambda: leader not in cluster.leaders and bool(cluster.leaders), within_s=5.0)
    assert leader.id not in cluster.leader().machine.members.voters
    check_linearizable(cluster.history)
