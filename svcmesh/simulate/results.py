"""Runs as numbers: a summary for people, and everything as JSON for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from svcmesh.simulate.checkers.convergence import converged_at
from svcmesh.simulate.checkers.spreading import reached_after_s
from svcmesh.simulate.recorder import Kind
from svcmesh.simulate.running import Run


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution in seconds; None where there is nothing to measure."""

    count: int
    median: float | None
    p99: float | None
    p999: float | None
    most: float | None


def latency(values_s: Sequence[float]) -> Latency:
    """Summarize durations."""
    ordered = sorted(values_s)
    return Latency(
        len(ordered),
        quantile(ordered, 0.5),
        quantile(ordered, 0.99),
        quantile(ordered, 0.999),
        ordered[-1] if ordered else None,
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the ascending values are, interpolated."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, or several of one scenario together."""

    detections: int
    """Failures told of members that had gone."""
    unresponsive: int
    false_positives: int
    false_at_healthy: int
    first_detection: Latency
    """From a member's going to the first other member that tells of it."""
    full_dissemination: Latency
    """To the last one."""
    converged_after_s: tuple[float | None, ...]
    """After the last fault of each run; None if it did not."""
    events: Latency
    """Until each user event had reached 99.99 % of the members."""
    packets_per_member_s: float
    bytes_per_member_s: float
    handled: int
    violations: tuple[str, ...]


def summarize(runs: Sequence[Run]) -> Summary:
    """Put runs of one scenario together."""
    records = [run.record for run in runs]
    outages = [outage for record in records for outage in record.outages]
    firsts = [o.first_at - o.began_at for o in outages if o.first_at is not None]
    fulls = [o.all_at - o.began_at for o in outages if o.all_at is not None]
    rumors = [reached_after_s(rumor) for record in records for rumor in record.rumors.values()]
    samples = [sample for record in records for sample in record.samples[1:]]
    member_samples = max(1, sum(sample.members for sample in samples))

    def count(kind: Kind) -> int:
        return sum(record.counts[kind] for record in records)

    def converged_after_s(run: Run) -> float | None:
        at = converged_at(run.record.samples, since=run.quiet_at)
        return None if at is None else at - run.quiet_at

    return Summary(
        detections=count(Kind.DETECTION),
        unresponsive=count(Kind.UNRESPONSIVE),
        false_positives=count(Kind.FALSE_POSITIVE),
        false_at_healthy=sum(record.false_at_healthy for record in records),
        first_detection=latency(firsts),
        full_dissemination=latency(fulls),
        converged_after_s=tuple(converged_after_s(run) for run in runs),
        events=latency([after for after in rumors if after is not None]),
        packets_per_member_s=sum(s.packets_per_member_s * s.members for s in samples)
        / member_samples,
        bytes_per_member_s=sum(s.bytes_per_member_s * s.members for s in samples) / member_samples,
        handled=sum(run.handled for run in runs),
        violations=tuple(f"seed {run.seed}: {text}" for run in runs for text in run.violations),
    )


def as_json(runs: Sequence[Run]) -> dict[str, object]:
    """Everything that runs of one scenario showed. Equal runs give equal values."""
    scenario = runs[0].scenario
    return {
        "scenario": asdict(scenario),
        "summary": asdict(summarize(runs)),
        "runs": [_run_as_json(run) for run in runs],
    }


def _run_as_json(run: Run) -> dict[str, object]:
    record, zero = run.record, run.started_at

    def since_start(at: float | None) -> float | None:
        return None if at is None else round(at - zero, 6)

    return {
        "seed": run.seed,
        "quiet_at_s": since_start(run.quiet_at),
        "handled": run.handled,
        "violations": list(run.violations),
        "samples": [
            {
                "at_s": since_start(sample.at),
                "members": sample.members,
                "right_share": sample.right_share,
                "false_dead_pairs": sample.false_dead,
                "packets_per_member_s": round(sample.packets_per_member_s, 3),
                "bytes_per_member_s": round(sample.bytes_per_member_s, 1),
            }
            for sample in record.samples
        ],
        "outages": [
            {
                "member": outage.subject,
                "cause": outage.cause,
                "began_at_s": since_start(outage.began_at),
                "first_told_at_s": since_start(outage.first_at),
                "told_by_all_at_s": since_start(outage.all_at),
                "ended_at_s": since_start(outage.ended_at),
            }
            for outage in record.outages
        ],
        "false_positives": [
            {
                "at_s": since_start(failure.at),
                "teller": failure.viewer,
                "member": failure.subject,
                "teller_is_healthy": failure.viewer_is_healthy,
            }
            for failure in record.failures
        ],
        "events": [
            {
                "name": rumor.name,
                "sent_at_s": since_start(rumor.began_at),
                "members": rumor.wanted.bit_count(),
                "heard_after_s": [round(after, 6) for after in rumor.heard_at],
            }
            for rumor in record.rumors.values()
        ],
    }
