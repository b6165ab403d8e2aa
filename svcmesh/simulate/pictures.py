"""What runs of one scenario showed, as pictures: one SVG for each question."""

from collections.abc import Iterable, Sequence

from svcmesh.simulate.charts import Chart, Line, Point, Span
from svcmesh.simulate.running import Run
from svcmesh.simulate.scenario import Action, Scenario


def pictures(runs: Sequence[Run]) -> dict[str, str]:
    """File names and contents."""
    charts = {
        "convergence.svg": convergence(runs),
        "detection.svg": detection(runs),
        "false-positives.svg": false_positives(runs),
        "traffic.svg": traffic(runs),
    }
    if any(run.record.rumors for run in runs):
        charts["events.svg"] = events(runs)
    return {name: chart.to_svg() for name, chart in charts.items()}


def convergence(runs: Sequence[Run]) -> Chart:
    """How many of the views are right, over time."""
    lines = [
        Line(
            f"seed {run.seed}",
            [(s.at - run.started_at, s.right_share * 100) for s in run.record.samples],
        )
        for run in runs
    ]
    return Chart(
        f"{runs[0].scenario.name}: how much of what members see of each other is right",
        "seconds",
        "views that are right, %",
        lines[:6],
        _fault_spans(runs[0].scenario),
        y_max=100.0,
    )


def detection(runs: Sequence[Run]) -> Chart:
    """How soon members that went were told of: by one other, and by all."""
    outages = [outage for run in runs for outage in run.record.outages]
    firsts = [o.first_at - o.began_at for o in outages if o.first_at is not None]
    fulls = [o.all_at - o.began_at for o in outages if o.all_at is not None]
    return Chart(
        f"{runs[0].scenario.name}: how soon members that went are known to have gone",
        "seconds since a member went",
        "outages, %",
        [
            Line("known to the first other member", _cumulative(firsts, len(outages)), True),
            Line("known to all", _cumulative(fulls, len(outages)), True),
        ],
        y_max=100.0,
        note="no member went, or none was told of",
    )


def false_positives(runs: Sequence[Run]) -> Chart:
    """How many undisturbed members were declared failed, over time."""
    record_failures = [
        (failure.at - run.started_at, failure.viewer_is_healthy)
        for run in runs
        for failure in run.record.failures
    ]
    everywhere = _counted(at for at, _ in record_failures)
    healthy = _counted(at for at, is_healthy in record_failures if is_healthy)
    return Chart(
        f"{runs[0].scenario.name}: false positives (undisturbed members declared failed)",
        "seconds",
        "told so far, all runs together",
        [Line("at any member", everywhere, True), Line("at undisturbed members", healthy, True)]
        if record_failures
        else [],
        _fault_spans(runs[0].scenario),
        note="none",
    )


def traffic(runs: Sequence[Run]) -> Chart:
    """Datagrams that each member sends, over time."""
    return Chart(
        f"{runs[0].scenario.name}: datagrams that a member sends",
        "seconds",
        "datagrams a second",
        [
            Line(
                f"seed {run.seed}",
                [(s.at - run.started_at, s.packets_per_member_s) for s in run.record.samples[1:]],
            )
            for run in runs[:6]
        ],
        _fault_spans(runs[0].scenario),
    )


def events(runs: Sequence[Run]) -> Chart:
    """How user events spread."""
    lines = [
        Line(
            f"seed {run.seed}, {rumor.name}" if len(runs) > 1 else rumor.name,
            [
                (0.0, 0.0),
                *(
                    (after, (number + 1) / rumor.wanted.bit_count() * 100)
                    for number, after in enumerate(rumor.heard_at)
                ),
            ],
            True,
        )
        for run in runs
        for rumor in run.record.rumors.values()
    ]
    return Chart(
        f"{runs[0].scenario.name}: how user events spread",
        "seconds since an event was sent",
        "members that have it, %",
        lines[:5],
        y_max=100.0,
    )


def _cumulative(values: Sequence[float], count: int) -> list[Point]:
    if not values:
        return []
    ordered = sorted(values)
    return [(0.0, 0.0), *((v, (n + 1) / count * 100) for n, v in enumerate(ordered))]


def _counted(instants: Iterable[float]) -> list[Point]:
    return [(0.0, 0.0), *((at, n + 1.0) for n, at in enumerate(sorted(instants)))]


def _fault_spans(scenario: Scenario) -> list[Span]:
    """When something is the matter; what only adds members or events is left out."""
    spans = []
    for fault in scenario.faults:
        if fault.do in (Action.JOIN, Action.EVENT, Action.LEAVE):
            continue
        lasts_s = scenario.duration_s if fault.for_s is None else fault.for_s
        if fault.do in (Action.RESTART, Action.CRASH, Action.POWER_OFF) and fault.for_s is None:
            lasts_s = fault.within_s
        end = fault.at_s + lasts_s + fault.within_s
        if fault.every_s is not None:
            end = scenario.duration_s if fault.until_s is None else fault.until_s + lasts_s
        spans.append(Span("faults", fault.at_s, min(end, scenario.duration_s)))
    return spans
