"""Lifeguard's experiment in the simulator (Dadgar et al., arXiv 1707.00788, section V).

128 members; C of them are blocked from processing messages for periods D, at intervals I, for two
minutes. Every failure that is told of another member than those C is a false positive. Three
detectors: SWIM alone, Lifeguard, and our default.

With --crash one of the C really dies, and its host refuses connections: how soon is that known?

    python bench/lifeguard.py                     the part of the grid that docs/lifeguard.md shows
    python bench/lifeguard.py --grid full         all of the paper's 432 points; hours
    python bench/lifeguard.py --crash
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gossip.config import GossipConfig, SerfConfig, SwimConfig, lan
from svcmesh.simulate.recorder import Kind
from svcmesh.simulate.results import latency
from svcmesh.simulate.running import Run, run
from svcmesh.simulate.scenario import Action, Fault, Scenario

MEMBERS = 128
LASTS_S = 120.0
QUIET_S = 15.0
SERVICE_S = 50e-6
"""What a member works on each message: a process that is given 1 ms between two blocks gets
through 20 of them."""

C_ALL = (1, 4, 8, 12, 16, 20, 24, 28, 32)
D_ALL_MS = (128, 512, 2048, 8192, 16384, 32768)
I_ALL_MS = (1, 4, 16, 64, 256, 1024, 4096, 16384)

GRIDS = {
    "full": (C_ALL, D_ALL_MS, I_ALL_MS),
    "part": ((4, 16, 32), (512, 2048, 8192, 16384, 32768), (1, 64, 1024)),
    "tiny": ((16,), (8192, 32768), (1, 64)),
}


def swim(alpha: int) -> SwimConfig:
    return replace(lan(), lifeguard=False, **_plain(), suspicion_mult=alpha)


def lifeguard(alpha: int) -> SwimConfig:
    return replace(lan(), **_plain(), suspicion_mult=alpha)


def ours(alpha: int) -> SwimConfig:
    return replace(lan(), suspicion_mult=alpha)


def _plain() -> dict[str, bool]:
    """Without what we have beyond Lifeguard's paper, as far as it is built."""
    return {
        name: False
        for name in ("crash_evidence", "own_stalls", "fair_hearing")
        if name in SwimConfig.__slots__
    }


DETECTORS = {"SWIM": swim, "Lifeguard": lifeguard, "default": ours}


@dataclass
class Totals:
    false_positives: int = 0
    false_at_healthy: int = 0
    packets: float = 0.0
    firsts: list[float] = field(default_factory=list)
    fulls: list[float] = field(default_factory=list)
    handled: int = 0
    cpu_s: float = 0.0

    def add(self, done: Run) -> None:
        record = done.record
        self.false_positives += record.counts[Kind.FALSE_POSITIVE]
        self.false_at_healthy += record.false_at_healthy
        self.packets += sum(s.packets_per_member_s * s.members for s in record.samples[1:])
        crashes = [outage for outage in record.outages if outage.cause == Action.CRASH]
        for outage in crashes or record.outages:
            if outage.first_at is not None:
                self.firsts.append(outage.first_at - outage.began_at)
            if outage.all_at is not None:
                self.fulls.append(outage.all_at - outage.began_at)
        self.handled += done.handled


def scenario(
    config: SwimConfig, c: int, d_ms: int, i_ms: int, *, mode: str, crash: bool
) -> Scenario:
    block = Fault(
        do=Action(mode),
        at_s=QUIET_S,
        for_s=d_ms / 1000,
        every_s=(d_ms + i_ms) / 1000,
        until_s=QUIET_S + LASTS_S,
        members=tuple(f"n{number}" for number in range(1, c + 1)),
    )
    dies = Fault(do=Action.CRASH, at_s=QUIET_S + 1.0, members=("n1",))
    return Scenario(
        name=f"C={c} D={d_ms} I={i_ms}",
        members=MEMBERS,
        duration_s=QUIET_S + LASTS_S,
        service_s=SERVICE_S,
        gossip=GossipConfig(swim=config, serf=replace(SerfConfig(), coordinates=False)),
        faults=(block, dies) if crash else (block,),
    )


def points(grid: str) -> Iterator[tuple[int, int, int]]:
    cs, ds, intervals = GRIDS[grid]
    for c in cs:
        for d_ms in ds:
            for i_ms in intervals:
                yield c, d_ms, i_ms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--grid", choices=GRIDS, default="part")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each point")
    parser.add_argument("--alpha", type=int, default=4, help="suspicion_mult of all three")
    parser.add_argument("--detector", choices=DETECTORS, action="append")
    parser.add_argument(
        "--mode",
        choices=("block", "pause"),
        default="block",
        help="block: messages wait and timers go on, as in the paper; pause: no processor at all",
    )
    parser.add_argument("--crash", action="store_true")
    parser.add_argument("--each", action="store_true", help="a line for every point")
    parser.add_argument("--json", metavar="FILE", help="write the totals there")
    options = parser.parse_args()
    names = options.detector or list(DETECTORS)
    totals = {name: Totals() for name in names}
    for point in points(options.grid):
        line = []
        for name in names:
            before = totals[name].false_positives, totals[name].false_at_healthy
            began = time.process_time()
            for seed in range(1, options.seeds + 1):
                config = DETECTORS[name](options.alpha)
                totals[name].add(
                    run(scenario(config, *point, mode=options.mode, crash=options.crash), seed)
                )
            totals[name].cpu_s += time.process_time() - began
            line.append(
                f"{name} {totals[name].false_positives - before[0]} "
                f"{totals[name].false_at_healthy - before[1]}"
            )
        if options.each:
            c, d_ms, i_ms = point
            print(f"C={c} D={d_ms} I={i_ms}:", "; ".join(line), file=sys.stderr, flush=True)
    report(totals)
    if options.json:
        Path(options.json).write_text(json.dumps({n: t.__dict__ for n, t in totals.items()}))


def report(totals: dict[str, Totals]) -> None:
    first_name = next(iter(totals))
    base = totals[first_name]
    print(
        "| detector | false positives | at healthy members | datagrams | % of "
        f"{first_name} | first detection, s (median, 99 %, 99.9 %) | full dissemination, s |"
    )
    print("| --- | ---: | ---: | ---: | ---: | --- | --- |")
    for name, total in totals.items():
        first, full = latency(total.firsts), latency(total.fulls)
        print(
            f"| {name} | {total.false_positives} | {total.false_at_healthy} | {total.packets:.0f} "
            f"| {100 * total.packets / base.packets:.1f} "
            f"| {_three(first)} | {_three(full)} |"
        )
    cpu_s = sum(total.cpu_s for total in totals.values())
    handled = sum(total.handled for total in totals.values())
    print(f"\n{handled:,} events in {cpu_s:.0f} s of one core")


def _three(each: object) -> str:
    values = [getattr(each, name) for name in ("median", "p99", "p999")]
    return "none" if values[0] is None else ", ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
