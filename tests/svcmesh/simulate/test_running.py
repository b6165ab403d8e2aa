"""Whole runs: what is recorded, what is a violation, and that a seed decides everything."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from gossip.config import GossipConfig, SerfConfig, lan
from svcmesh.errors import ConfigError
from svcmesh.simulate.network import Link
from svcmesh.simulate.recorder import Kind
from svcmesh.simulate.results import as_json, summarize
from svcmesh.simulate.running import Run, run
from svcmesh.simulate.scenario import Action, Expectations, Fault, Scenario, Start

QUIET = Scenario(name="quiet", members=8, duration_s=20)
REPLAYED = """
import json
from dataclasses import replace
from svcmesh.simulate.results import as_json
from svcmesh.simulate.running import run
from svcmesh.simulate.scenario_files import load
scenario = replace(load("lossy"), duration_s=150.0, members=20)
print(json.dumps(as_json([run(scenario, 7)])))
"""


def played(scenario: Scenario, *faults: Fault, seed: int = 1, **expect: object) -> Run:
    expectations = Expectations(**expect)  # type: ignore[arg-type]  # tests name its fields
    return run(replace(scenario, faults=faults, expect=expectations), seed)


def test_one_seed_gives_one_result_in_every_process() -> None:
    def result(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", REPLAYED], env=environment, capture_output=True, check=True
        )
        return done.stdout.decode()

    first, second = result("1"), result("2")
    assert json.loads(first)["runs"][0]["handled"] > 1000
    assert first == second


def test_another_seed_gives_another_result() -> None:
    scenario = replace(QUIET, link=Link(loss=0.1))
    assert as_json([run(scenario, 1)])["runs"] != as_json([run(scenario, 2)])["runs"]


def test_a_pool_that_stands_is_right_from_the_first_sample_to_the_last() -> None:
    done = played(QUIET, converged_within_s=0.0, no_false_failure=True)
    assert [sample.right_share for sample in done.record.samples] == [1.0] * 21
    assert done.violations == ()


def test_members_that_join_converge() -> None:
    done = played(replace(QUIET, start=Start.JOINING), converged_within_s=5.0)
    assert done.violations == ()
    assert done.record.samples[-1].members == 8


@pytest.mark.parametrize("action", [Action.CRASH, Action.POWER_OFF])
def test_a_member_that_goes_is_a_detection_with_its_latency(action: Action) -> None:
    done = played(replace(QUIET, duration_s=40), Fault(do=action, at_s=2.0))
    record = done.record
    assert record.counts == {"detection": 7, "unresponsive": 0, "false-positive": 0}
    (outage,) = record.outages
    assert outage.cause == action
    assert outage.first_at is not None
    assert outage.all_at is not None
    assert outage.began_at == 2.0 < outage.first_at <= outage.all_at
    assert summarize([done]).full_dissemination.median == outage.all_at - 2.0


def test_a_detection_that_comes_late_is_a_violation() -> None:
    done = played(replace(QUIET, duration_s=40), Fault(do=Action.POWER_OFF), detected_within_s=1.0)
    assert len(done.violations) == 1
    assert "not all know" in done.violations[0]


def test_a_paused_member_is_unresponsive_and_not_a_false_positive() -> None:
    done = played(
        replace(QUIET, duration_s=60),
        Fault(do=Action.PAUSE, at_s=2.0, for_s=30.0),
        no_false_failure=True,
    )
    assert done.record.counts[Kind.UNRESPONSIVE] == 7
    assert done.violations == ()


def test_a_blocked_member_accuses_healthy_ones_under_plain_swim() -> None:
    plain = GossipConfig(swim=replace(lan(), lifeguard=False), serf=SerfConfig(coordinates=False))
    block = Fault(do=Action.BLOCK, at_s=2.0, for_s=20.0)
    done = played(replace(QUIET, duration_s=40, gossip=plain), block, no_false_failure=True)
    assert done.record.counts[Kind.FALSE_POSITIVE] > 0
    assert done.record.failures
    assert not done.record.failures[0].viewer_is_healthy
    assert "runs undisturbed" in done.violations[0]


def test_a_split_is_seen_heals_and_blames_nobody_falsely() -> None:
    done = played(
        replace(QUIET, duration_s=200),
        Fault(do=Action.PARTITION, at_s=2.0, for_s=60.0, members=0.5),
        converged_within_s=90.0,
        no_false_failure=True,
    )
    assert min(sample.right_share for sample in done.record.samples) == 0.5
    assert done.violations == ()
    assert done.quiet_at == 62.0


def test_views_that_stay_wrong_are_a_violation() -> None:
    done = played(QUIET, Fault(do=Action.PARTITION, at_s=2.0, members=0.5), converged_within_s=15.0)
    assert "of the views are wrong" in done.violations[0]


def test_a_run_too_short_for_what_it_expects_says_so() -> None:
    done = played(QUIET, converged_within_s=1000.0)
    assert done.violations == ("the run ends before 1000 s of quiet are over",)


def test_all_restarted_at_once_find_each_other_again() -> None:
    done = played(
        replace(QUIET, duration_s=70),
        Fault(do=Action.RESTART, at_s=2.0, within_s=1.0, members=1.0),
        converged_within_s=30.0,
    )
    assert done.violations == ()


def test_members_come_leave_and_crash_and_come_back() -> None:
    done = played(
        replace(QUIET, duration_s=120),
        Fault(do=Action.JOIN, at_s=1.0, members=2, for_s=30.0),
        Fault(do=Action.LEAVE, at_s=5.0, for_s=20.0),
        Fault(do=Action.CRASH, at_s=40.0, for_s=30.0),
        converged_within_s=30.0,
        no_resurrection=True,
    )
    assert done.violations == ()
    assert max(sample.members for sample in done.record.samples) == 10
    assert done.record.samples[-1].members == 8


@pytest.mark.parametrize("action", [Action.DEAF, Action.MUTE, Action.LINK, Action.SLOW])
def test_a_broken_member_is_whole_again_afterwards(action: Action) -> None:
    fault = Fault(
        do=action,
        at_s=2.0,
        for_s=40.0,
        link=Link(loss=1.0) if action == Action.LINK else None,
        service_s=2.0 if action == Action.SLOW else 0.0,
    )
    udp_only = GossipConfig(swim=replace(lan(), tcp_pings=False))
    done = played(replace(QUIET, duration_s=150, gossip=udp_only), fault, converged_within_s=60.0)
    assert done.record.counts[Kind.UNRESPONSIVE] > 0
    assert done.violations == ()


def test_an_event_is_followed_to_the_last_member() -> None:
    done = played(QUIET, Fault(do=Action.EVENT, at_s=2.0), event_within_s=2.0)
    (rumor,) = done.record.rumors.values()
    assert len(rumor.heard_at) == 8
    assert rumor.heard_at[0] == 0.0
    assert done.violations == ()
    late = played(QUIET, Fault(do=Action.EVENT, at_s=2.0), event_within_s=1e-6)
    assert "reached" in late.violations[0]


def test_a_fault_for_a_member_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no member 'n99'"):
        played(QUIET, Fault(do=Action.CRASH, members=("n99",)))


def test_repeated_faults_strike_the_same_members_unless_told_otherwise() -> None:
    scenario = replace(QUIET, duration_s=60)
    pause = Fault(do=Action.PAUSE, at_s=1.0, for_s=1.0, every_s=5.0, until_s=50.0)
    same = {outage.subject for outage in played(scenario, pause).record.outages}
    others = played(scenario, replace(pause, choose_again=True)).record.outages
    assert len(same) == 1
    assert len({outage.subject for outage in others}) > 1
    assert len(others) == 10


def test_a_blocked_member_that_dies_stays_dead_when_its_block_would_end() -> None:
    done = played(
        replace(QUIET, duration_s=60),
        Fault(do=Action.BLOCK, at_s=2.0, for_s=3.0, members=("n1",)),
        Fault(do=Action.CRASH, at_s=3.0, members=("n1",)),
    )
    crash = done.record.outages[-1]
    assert crash.cause == Action.CRASH
    assert crash.ended_at is None
    assert crash.all_at is not None


def test_an_event_that_overtakes_a_first_exchange_is_told_all_the_same() -> None:
    # Exchanges all the time: in a pool that stands none of them is a join, which ignores the past.
    busy = GossipConfig(
        swim=replace(lan(), push_pull_interval_s=0.05, gossip_interval_s=2.0, gossip_nodes=1),
        serf=SerfConfig(coordinates=False),
    )
    scenario = replace(QUIET, members=40, duration_s=15, gossip=busy)
    event = Fault(do=Action.EVENT, at_s=0.0)
    for seed in range(5):
        done = run(replace(scenario, faults=(event,)), seed)
        (rumor,) = done.record.rumors.values()
        assert len(rumor.heard_at) == 40
