"""Runs a scenario with one seed and says what came of it."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from svcmesh.simulate.checkers.convergence import Convergence
from svcmesh.simulate.checkers.detection import Detection
from svcmesh.simulate.checkers.false_death import FalseDeath
from svcmesh.simulate.checkers.resurrection import Resurrection
from svcmesh.simulate.checkers.spreading import Spreading
from svcmesh.simulate.pool import SimulatedPool
from svcmesh.simulate.recorder import Recorder
from svcmesh.simulate.scenario import Scenario, Start
from svcmesh.simulate.timeline import Timeline
from svcmesh.simulate.views import Views

OnProgress = Callable[[float, int], None]
"""Told the part that is done, 0 to 1, and how many events were handled."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run that is over."""

    scenario: Scenario
    seed: int
    started_at: float
    """When the pool stood; instants of the record count from the simulation's start."""
    quiet_at: float
    """When the last fault that ends had ended."""
    record: Recorder
    handled: int
    violations: tuple[str, ...]
    """What was expected and did not come, one sentence each."""


def run(scenario: Scenario, seed: int, on_progress: OnProgress | None = None) -> Run:
    """Run a scenario to its end.

    Raises:
        ConfigError: A fault names a member that the scenario does not have.
    """
    with _few_collections():
        return _run(scenario, seed, on_progress or (lambda _part, _handled: None))


def _run(scenario: Scenario, seed: int, on_progress: OnProgress) -> Run:
    pool = SimulatedPool(seed=seed, config=scenario.gossip, link=scenario.link)
    pool.keeps_events = False
    pool.service_s = scenario.service_s
    views = Views()
    record = Recorder(pool, views=views)
    resurrection = Resurrection(pool, views=views)
    _start(scenario, pool, views)
    gc.freeze()
    started_at = pool.clock.now
    timeline = Timeline(scenario, pool, views=views, recorder=record)
    timeline.schedule()
    record.sample()
    end = started_at + scenario.duration_s
    while pool.clock.now < end:
        pool.run_for(min(scenario.sample_s, end - pool.clock.now))
        record.sample()
        on_progress((pool.clock.now - started_at) / scenario.duration_s, pool.handled)
    expect = scenario.expect
    violations = [
        *Convergence(expect.converged_within_s).check(record, quiet_at=timeline.quiet_at),
        *Detection(expect.detected_within_s).check(record),
        *Spreading(expect.event_within_s).check(record),
    ]
    if expect.no_false_failure:
        violations += FalseDeath().check(record)
    if expect.no_resurrection:
        violations += resurrection.violations
    return Run(
        scenario=scenario,
        seed=seed,
        started_at=started_at,
        quiet_at=timeline.quiet_at,
        record=record,
        handled=pool.handled,
        violations=tuple(violations),
    )


def _start(scenario: Scenario, pool: SimulatedPool, views: Views) -> None:
    if scenario.start == Start.JOINED:
        members = pool.add_stopped(scenario.members)
        everybody = (1 << scenario.members) - 1
        for member in members:
            views.note_started(views.add(member), sees=everybody)
        pool.start_known(members)
        return
    first, *others = members = pool.add_stopped(scenario.members)
    rng = Random(f"{pool.seed} start")
    for member in members:
        views.add(member)

    def join(number: int) -> None:
        views.note_started(number)
        members[number].start()
        if number:
            members[number].join(first)

    join(0)
    for number in range(1, len(others) + 1):
        pool.clock.post(rng.random() * scenario.joining_s, join, number)
    pool.run_for(scenario.joining_s)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Keep the garbage collector from going through millions of living objects again and again."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
