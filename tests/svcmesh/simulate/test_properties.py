"""The pool's properties at sizes that take seconds; `make simulations` runs the large ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from svcmesh.simulate.results import summarize
from svcmesh.simulate.running import run
from svcmesh.simulate.scenario import Fault, Scenario
from svcmesh.simulate.scenario_files import builtin_names, load

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


def large(name: str) -> Scenario:
    """One of the scenarios that `make simulations` runs."""
    return load(str(ROOT / "bench" / "simulations" / f"{name}.toml"))


def must_hold(scenario: Scenario, seed: int) -> None:
    violations = run(scenario, seed).violations
    assert violations == (), f"replay: run({scenario.name!r}, seed={seed})"


def test_a_long_split_heals_to_one_view_within_90_seconds(seed: int) -> None:
    split = large("split")
    (fault,) = split.faults
    must_hold(
        replace(split, members=100, duration_s=720.0, faults=(replace(fault, for_s=600.0),)), seed
    )


def test_all_restarted_within_a_probe_interval_see_all_within_a_minute(seed: int) -> None:
    must_hold(replace(large("restart"), members=150), seed)


def test_who_has_gone_does_not_return_in_hours_of_loss_and_churn(seed: int) -> None:
    churn = large("churn")
    faults = tuple(_until(fault, 1500.0) for fault in churn.faults)
    must_hold(replace(churn, members=40, duration_s=2400.0, faults=faults), seed)


def _until(fault: Fault, until_s: float) -> Fault:
    return replace(fault, until_s=until_s)


def test_an_event_reaches_a_pool_of_300_as_the_epidemic_model_says(seed: int) -> None:
    must_hold(replace(large("event-1000"), members=300, duration_s=30.0), seed)


def test_traffic_of_a_member_does_not_grow_with_the_pool(seed: int) -> None:
    def packets(members: int) -> float:
        scenario = replace(large("event-100"), members=members, duration_s=40.0, faults=())
        return summarize([run(scenario, seed)]).packets_per_member_s

    assert packets(300) == pytest.approx(packets(100), rel=0.05)


@pytest.mark.parametrize("name", builtin_names())
def test_every_builtin_scenario_keeps_what_it_expects(name: str, seed: int) -> None:
    must_hold(load(name), seed)


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "simulate").glob("*.toml")), ids=str)
def test_every_example_runs(path: Path, seed: int) -> None:
    run(load(str(path)), seed)
