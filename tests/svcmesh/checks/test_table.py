from itertools import groupby
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import TcpProbe
from svcmesh.checks.table import BATCH, FIRST_RUNS_PER_S, CheckConfig, ProbeResult, shorten
from tests.svcmesh.checks.tables import (
    CRITICAL,
    PASSING,
    WARNING,
    Bench,
    check,
    results,
    ttl_check,
)

# -- when probes run ----------------------------------------------------------------------------


def test_a_new_check_runs_within_a_second_however_long_its_interval() -> None:
    bench = Bench()
    bench.put(check(interval_s=3600.0))
    bench.run(1.0)
    assert len(bench.starts) == 1
    assert bench.statuses == ["critical", "passing"]


def test_a_check_runs_at_a_fixed_rate_whatever_its_probes_take() -> None:
    bench = Bench()
    bench.put(check(interval_s=10.0))
    bench.run(15.0)
    first = bench.starts[-1][0]

    def late(check_id: str, now: float) -> ProbeResult:
        bench.now += 0.3
        return ProbeResult(PASSING, "ok")

    bench.outcome = late
    bench.run(100.0)
    gaps = [at - first for at, _ in bench.starts[2:]]
    assert gaps == pytest.approx([10.0 * n for n in range(1, len(gaps) + 1)])


def test_two_runs_of_a_check_never_overlap() -> None:
    bench = Bench(outcome=lambda check_id, now: None)
    bench.put(check(interval_s=1.0))
    bench.run(30.0)
    assert len(bench.starts) == 1
    bench.finish(1, ProbeResult(CRITICAL, "slow"))
    bench.run(1.0)
    assert len(bench.starts) == 2


def test_a_check_that_was_held_up_does_not_make_up_for_missed_runs() -> None:
    bench = Bench()
    bench.put(check(interval_s=10.0))
    bench.run(20.0)
    before = len(bench.starts)
    # The process stood still for ten minutes.
    bench.now += 600.0
    bench.run(10.0)
    assert len(bench.starts) - before <= 3


def test_first_runs_of_a_flood_are_spread_and_then_each_keeps_a_phase_of_its_own() -> None:
    bench = Bench()
    bench.put(*[check(f"c{n}", interval_s=10.0) for n in range(5000)])
    begin = bench.now
    bench.run(60.0)
    seconds = [int(at - begin) for at, _ in bench.starts]
    by_second = [seconds.count(second) for second in range(60)]
    assert max(by_second) <= 1.5 * FIRST_RUNS_PER_S
    # Settled: 500 a second are due, evenly to a quarter.
    assert all(375 <= count <= 625 for count in by_second[25:])
    assert bench.batch_max <= 3 * BATCH


def test_no_more_probes_run_at_once_than_allowed() -> None:
    bench = Bench(CheckConfig(probes_max=3), lambda check_id, now: None)
    bench.put(*[check(f"c{n}") for n in range(10)])
    bench.run(5.0)
    assert len(bench.hanging) == 3
    bench.finish(next(iter(bench.hanging)), ProbeResult(PASSING, "ok"))
    bench.run(0.1)
    assert len(bench.starts) == 4


def test_dead_targets_do_not_delay_the_others() -> None:
    def outcome(check_id: str, now: float) -> ProbeResult | None:
        return None if check_id.startswith("dead") else ProbeResult(PASSING, "ok")

    bench = Bench(CheckConfig(probes_max=10), outcome)
    bench.put(*[check(f"dead{n}") for n in range(100)])

    def time_out(seconds: int) -> None:
        for _ in range(seconds):
            bench.run(1.0)
            hanging, bench.hanging = bench.hanging, {}
            for run, check_id in hanging.items():
                bench.take(
                    bench.table.handle_result(
                        check_id, run, ProbeResult(CRITICAL, "timeout"), now=bench.now + 1
                    )
                )

    time_out(30)
    bench.put(check("alive", interval_s=2.0))
    time_out(30)
    assert len(bench.starts_of("alive")) >= 13


# -- thresholds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thresholds", "probes", "published"),
    [
        # Without thresholds each result counts.
        ({}, [PASSING, CRITICAL, WARNING], ["passing", "critical", "warning"]),
        ({"success_before_passing": 3}, [PASSING] * 2 + [CRITICAL] + [PASSING] * 3, ["passing"]),
        ({"success_before_passing": 2}, [WARNING, PASSING, WARNING], ["passing", "warning"]),
        (
            {"failures_before_critical": 3},
            [PASSING, CRITICAL, CRITICAL, PASSING, CRITICAL, CRITICAL, CRITICAL],
            ["passing", "critical"],
        ),
        (
            {"failures_before_warning": 2, "failures_before_critical": 4},
            [PASSING, CRITICAL, CRITICAL, CRITICAL, CRITICAL],
            ["passing", "warning", "critical"],
        ),
        ({"failures_before_critical": 1}, [PASSING, CRITICAL], ["passing", "critical"]),
    ],
)
def test_thresholds_are_results_in_a_row(
    thresholds: dict[str, int], probes: list[HealthStatus], published: list[str]
) -> None:
    bench = Bench(outcome=results(*probes))
    bench.put(check(interval_s=1.0, **thresholds))
    while len(bench.starts) < len(probes):
        bench.run(0.1)
    # New output is published too; the first state is that of the definition.
    assert [status for status, _ in groupby(bench.statuses)][1:] == published


# -- time to live -------------------------------------------------------------------------------


def test_a_ttl_check_turns_critical_when_nobody_reports() -> None:
    bench = Bench()
    bench.put(ttl_check(10.0))
    bench.report(PASSING, "fine")
    bench.run(9.9)
    assert bench.table["c"].status == "passing"
    bench.run(0.2)
    state = bench.table["c"]
    # Consul's words.
    output = "TTL expired (last output before timeout follows): fine"
    assert (state.status, state.output) == ("critical", output)


def test_each_report_renews_a_ttl_check() -> None:
    bench = Bench()
    bench.put(ttl_check(10.0))
    for _ in range(20):
        bench.report(PASSING, "")
        bench.run(9.0)
    assert bench.table["c"].status == "passing"
    assert bench.statuses == ["critical", "passing"]


def test_registering_a_ttl_check_again_keeps_its_state_and_renews_it() -> None:
    bench = Bench()
    bench.put(ttl_check(10.0))
    bench.report(PASSING, "fine")
    bench.run(9.0)
    bench.put(ttl_check(10.0))
    bench.run(9.0)
    assert (bench.table["c"].status, bench.table["c"].output) == ("passing", "fine")


def test_only_ttl_checks_can_be_reported_on() -> None:
    bench = Bench()
    bench.put(check("tcp"))
    for check_id in ("tcp", "nothing"):
        with pytest.raises(KeyError):
            bench.report(PASSING, "", check_id)


# -- what is published --------------------------------------------------------------------------


def test_new_output_alone_is_published_once_in_the_update_interval() -> None:
    bench = Bench(CheckConfig(update_interval_s=300.0))
    count = 0

    def outcome(check_id: str, now: float) -> ProbeResult:
        nonlocal count
        count += 1
        return ProbeResult(PASSING, f"answer {count}")

    bench.outcome = outcome
    bench.put(check(interval_s=1.0))
    bench.run(2.0)
    before = len(bench.published)
    bench.run(3000.0)
    assert 3000 / 450 - 1 <= len(bench.published) - before <= 3000 / 150 + 1
    assert bench.table["c"].output == f"answer {count}"


def test_a_new_status_is_published_at_once_and_takes_the_output_along() -> None:
    bench = Bench(CheckConfig(update_interval_s=300.0), results(PASSING, PASSING, CRITICAL))
    bench.put(check(interval_s=1.0))
    bench.run(10.0)
    assert bench.statuses == ["critical", "passing", "critical"]


def test_output_can_be_discarded() -> None:
    bench = Bench(CheckConfig(discards_output=True))
    bench.put(check())
    bench.run(2.0)
    assert (bench.table["c"].status, bench.table["c"].output) == ("passing", "")


def test_a_long_report_is_cut_and_says_so() -> None:
    bench = Bench(CheckConfig(output_bytes_max=10, update_interval_s=0.0))
    bench.put(ttl_check())
    bench.report(PASSING, "0123456789ab")
    assert bench.table["c"].output == "0123456789 ... (captured 10 of 12 bytes)"  # Consul's


@given(st.text(), st.integers(1, 20))
def test_a_cut_text_is_valid_and_within_its_bytes(text: str, bytes_max: int) -> None:
    cut = shorten(text, bytes_max)
    kept = cut.rpartition(" ... (captured ")[0] if cut != text else cut
    assert len(kept.encode()) <= max(bytes_max, 0)
    assert text.startswith(kept)


# -- replacing and removing ---------------------------------------------------------------------


def test_registering_the_same_probe_again_does_not_starve_it() -> None:
    bench = Bench()
    bench.put(check(interval_s=10.0))
    for _ in range(60):
        bench.run(1.0)
        bench.put(check(interval_s=10.0, notes="again"))
    assert 6 <= len(bench.starts) <= 8


def test_a_result_of_a_replaced_probe_says_nothing_about_the_new_one() -> None:
    bench = Bench(outcome=lambda check_id, now: None)
    bench.put(check())
    bench.run(1.0)
    (run,) = bench.hanging
    bench.put(check(source=TcpProbe("127.0.0.1:2")))
    assert not bench.hanging
    bench.take(bench.table.handle_result("c", run, ProbeResult(PASSING, "old"), now=bench.now))
    assert bench.table["c"].status == "critical"
    bench.run(2.0)
    assert len(bench.starts) == 2


def test_a_removed_check_is_run_no_more() -> None:
    bench = Bench(outcome=lambda check_id, now: None)
    bench.put(check())
    bench.run(1.0)
    bench.take(bench.table.remove("c"))
    bench.take(bench.table.remove("c"))
    bench.run(100.0)
    assert (len(bench.starts), bench.hanging, len(bench.table)) == (1, {}, 0)
    assert bench.table.next_deadline_at == inf
    assert bench.table.counters["probes_running"] == 0


# -- services that stay critical ----------------------------------------------------------------


def test_a_service_is_given_up_when_its_check_was_critical_for_so_long() -> None:
    bench = Bench()
    bench.put(ttl_check(30.0, service_id="web", deregister_after_s=60.0))
    begin = bench.now
    bench.run(50.0)
    bench.report(PASSING)
    bench.run(30.0 + 59.0)
    assert bench.expired == []
    bench.run(2.0)
    assert bench.expired == [(pytest.approx(begin + 50 + 30 + 60), "web")]


def test_a_check_of_the_node_gives_up_nothing() -> None:
    bench = Bench()
    bench.put(ttl_check(30.0, deregister_after_s=60.0))
    bench.run(1000.0)
    assert bench.expired == []


def test_critical_since_before_the_definition_said_so_counts() -> None:
    bench = Bench()
    bench.put(ttl_check(3000.0, service_id="web"))
    bench.run(100.0)
    bench.put(ttl_check(3000.0, service_id="web", deregister_after_s=60.0))
    bench.run(0.1)
    assert [service_id for _, service_id in bench.expired] == ["web"]
