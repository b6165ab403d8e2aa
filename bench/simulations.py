"""The large simulations: do the pools do what they must, and what does each take?

Runs every scenario of `bench/simulations` (or those that are named), one after the other in a
process of its own, and says what came of it, its time and its memory. All together take about an
hour of one core; `event-5000` wants 8 GB.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ONE = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[2])
from svcmesh.simulate.results import summarize
from svcmesh.simulate.running import run
from svcmesh.simulate.scenario_files import load
scenario = load(sys.argv[1])
began = time.process_time()
summary = summarize([run(scenario, seed) for seed in scenario.seeds])
print(json.dumps({
    "cpu_s": time.process_time() - began,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "handled": summary.handled,
    "converged_after_s": summary.converged_after_s,
    "event_median_s": summary.events.median,
    "event_most_s": summary.events.most,
    "first_detection_s": summary.first_detection.median,
    "false_positives": summary.false_positives,
    "packets_per_member_s": summary.packets_per_member_s,
    "bytes_per_member_s": summary.bytes_per_member_s,
    "violations": summary.violations,
}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    names = sorted(path.stem for path in (HERE / "simulations").glob("*.toml"))
    parser.add_argument("scenario", nargs="*", choices=[*names, []])
    failed = False
    for name in parser.parse_args().scenario or names:
        path = HERE / "simulations" / f"{name}.toml"
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", ONE, str(path), str(HERE.parent)],
            stdout=subprocess.PIPE,
            check=True,
        )
        result = json.loads(done.stdout)
        wall_s = time.monotonic() - began
        print(f"\n{name}: {wall_s:.0f} s ({result['cpu_s']:.0f} s of one core), "
              f"{result['peak_mb']:.0f} MB, {result['handled']:,} events")  # fmt: skip
        for key in list(result)[3:-1]:
            if result[key] is not None:
                print(f"  {key:22} {result[key]}")
        for violation in result["violations"]:
            failed = True
            print(f"  VIOLATED: {violation}")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
