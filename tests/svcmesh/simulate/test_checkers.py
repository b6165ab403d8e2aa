"""Each checker finds what it is for: a checker that cannot fail proves nothing."""

from svcmesh.simulate.checkers.convergence import Convergence, converged_at
from svcmesh.simulate.checkers.false_death import FalseDeath
from svcmesh.simulate.checkers.resurrection import SETTLED_S, Resurrection
from svcmesh.simulate.checkers.spreading import Spreading, reached_after_s
from svcmesh.simulate.pool import SimulatedPool
from svcmesh.simulate.recorder import Failure, Kind, Recorder, Rumor, Sample
from svcmesh.simulate.results import latency
from svcmesh.simulate.views import Views


def record_of(*shares: float, false_dead: int = 0) -> Recorder:
    """A record with one sample a second."""
    record = Recorder(SimulatedPool(seed=1), views=Views())
    record.samples = [
        Sample(float(at), 4, share, false_dead, 0.0, 0.0) for at, share in enumerate(shares)
    ]
    return record


def test_convergence_wants_every_late_sample_right() -> None:
    assert Convergence(2.0).check(record_of(1, 0.5, 1, 1), quiet_at=0.0) == []
    wrong = Convergence(2.0).check(record_of(1, 1, 1, 0.75), quiet_at=0.0)
    assert wrong == ["2 s after the last fault, at 3.0 s, 25.000% of the views are wrong"]


def test_it_is_converged_from_the_sample_on_after_which_all_are_right() -> None:
    samples = record_of(1, 0.5, 1, 0.9, 1, 1).samples
    assert converged_at(samples, since=0.0) == 4.0
    assert converged_at(samples, since=4.5) == 5.0
    assert converged_at(record_of(1, 0.5).samples, since=0.0) is None


def test_false_deaths_are_told_one_by_one_and_then_summed_up() -> None:
    record = record_of(1.0, false_dead=3)
    record.failures = [Failure(1.0, "a", "b", Kind.FALSE_POSITIVE, True)] * 5
    record.counts[Kind.FALSE_POSITIVE] = 5
    told = FalseDeath().check(record)
    assert told[0] == "a told at 1.0 s that b failed, which runs undisturbed"
    assert told[3] == "and 2 more"
    assert told[4] == "at the end 3 live members are seen dead"
    assert FalseDeath().check(record_of(1.0)) == []


def test_an_event_counts_when_its_share_has_it() -> None:
    rumor = Rumor("e", 0.0, 0b1111, heard_at=[0.0, 0.1, 0.2, 0.9])
    assert reached_after_s(rumor) == 0.9
    assert reached_after_s(rumor, share=0.5) == 0.1
    rumor.heard_at.pop()
    assert reached_after_s(rumor) is None
    record = record_of(1.0)
    record.rumors["e"] = rumor
    assert Spreading(1.0).check(record) == ["e reached 99.99% of the members never"]


def test_who_went_long_ago_and_is_seen_alive_is_resurrected() -> None:
    pool = SimulatedPool(seed=1)
    views = Views()
    gone, *others = members = pool.add_stopped(3)
    for member in members:
        views.note_started(views.add(member))
    checker = Resurrection(pool, views=views)
    views.note_ended(0, at=0.0)
    pool.run_for(SETTLED_S + 1.0)
    # A member that starts under the same name at another member's word, as a ghost would.
    for member in others:
        member.start()
    pool.start_known([gone])
    gone.join(others[0])
    pool.run_for(5)
    assert any("saw n1 alive" in violation for violation in checker.violations)


def test_quantiles_are_those_of_the_sorted_values() -> None:
    summary = latency([float(value) for value in range(100, -1, -1)])
    assert (summary.count, summary.median, summary.p99, summary.most) == (101, 50.0, 99.0, 100.0)
    assert latency([]).median is None
