"""Crashes in whole pools: noticed soon where hosts refuse, as ever where they are silent."""

from dataclasses import replace
from statistics import median

from gossip.config import GossipConfig, lan
from gossip.serf.events import MemberFailed, MemberStatus
from svcmesh.simulate.pool import SimulatedMember, SimulatedPool

EVIDENCE_OFF = GossipConfig(swim=replace(lan(), crash_evidence=False))


def settled_pool(
    seed: int, *, members: int = 20, config: GossipConfig | None = None
) -> SimulatedPool:
    """A pool in which everybody has been reached by TCP by everybody."""
    pool = SimulatedPool(seed=seed, config=config)
    pool.add_joined(members)
    pool.run_for(2.0 * members)
    return pool


def failed_after_s(pool: SimulatedPool, victim: SimulatedMember, since: float) -> list[float]:
    """When each other member told that the victim failed."""
    return [
        at - since
        for member in pool.running()
        for at, event in member.events_of(MemberFailed)
        if isinstance(event, MemberFailed) and event.member.name == victim.name and at > since
    ]


def crash_times(
    pool: SimulatedPool, victims: list[SimulatedMember], *, host_too: bool
) -> list[float]:
    took: list[float] = []
    for victim in victims:
        since = pool.clock.now
        victim.crash(host_too=host_too)
        assert pool.run_until(lambda v=victim: pool.all_see(v, MemberStatus.FAILED), limit_s=60)
        took += failed_after_s(pool, victim, since)
    return took


def test_a_crashed_process_is_failed_everywhere_within_three_seconds(seed: int) -> None:
    pool = settled_pool(seed)
    took = crash_times(pool, pool.members[5:13], host_too=False)
    assert median(took) < 2.6
    assert max(took) < 5.0
    assert min(took) >= 1.5


def test_a_host_that_is_silent_has_the_full_suspicion(seed: int) -> None:
    for config in (GossipConfig(), EVIDENCE_OFF):
        pool = settled_pool(seed, config=config)
        assert min(crash_times(pool, pool.members[5:8], host_too=True)) > 5.0


def test_a_stopped_process_is_declared_no_sooner_than_by_lifeguard(seed: int) -> None:
    took = {}
    for label, config in (("evidence", GossipConfig()), ("lifeguard", EVIDENCE_OFF)):
        pool = settled_pool(seed, config=config)
        since = pool.clock.now
        pool.members[7].pause()
        assert pool.run_until(
            lambda p=pool: p.all_see(p.members[7], MemberStatus.FAILED), limit_s=60
        )
        took[label] = min(failed_after_s(pool, pool.members[7], since))
    assert took["evidence"] >= 5.0
    assert took["lifeguard"] >= 5.0


def test_a_process_that_is_back_within_the_floor_is_never_failed(seed: int) -> None:
    pool = settled_pool(seed)
    for number, down_s in enumerate((0.1, 0.5, 1.0, 1.4), start=3):
        victim = pool.members[number]
        since = pool.clock.now
        victim.crash()
        pool.run_for(down_s)
        victim.start(incarnation=1000 + number)
        victim.join(pool.members[0])
        pool.run_for(30)
        assert failed_after_s(pool, victim, since) == []
        assert pool.all_see(victim, MemberStatus.ALIVE)


def test_one_in_four_crashing_at_once_are_all_found(seed: int) -> None:
    pool = settled_pool(seed)
    victims = pool.members[1:6]
    for victim in victims:
        victim.crash()
    since = pool.clock.now
    assert pool.run_until(pool.all_see_all_alive, limit_s=30)
    assert pool.clock.now - since < 6.0
