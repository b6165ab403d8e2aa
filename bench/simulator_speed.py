"""How many events (a packet or a timer handled) a second of one core the simulator handles.

    bench/simulator_speed.py --members 100 1000 --seconds 600
    bench/simulator_speed.py --against ../other-checkout

Pools in which nothing happens, in slices of virtual time, each in a process of its own. Time is CPU
time of that process. A busy machine makes that longer too, by up to a half: its caches are shared.
So `--against` runs the same with the code of another checkout, slice by slice in turn, and says how
much quicker this one is at the median of all pairs of slices.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CHILD = """
import sys, time
tree, members, seconds, slices = sys.argv[1], *map(int, sys.argv[2:])
sys.path.insert(0, tree)
from svcmesh.simulate.running import run
from svcmesh.simulate.scenario import Scenario

def tell(_part, handled):
    print(time.process_time(), handled, flush=True)
    sys.stdin.readline()

print(time.process_time(), 0, flush=True)
scenario = Scenario(
    name="idle", members=members, duration_s=seconds, sample_s=seconds / slices
)
run(scenario, 1, tell)
"""


class Pool:
    """A simulation that stands still between its slices."""

    def __init__(self, tree: Path, members: int, seconds: int, slices: int) -> None:
        numbers = map(str, (members, seconds, slices))
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tree), *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.took_s: list[float] = []
        self.handled: list[int] = []
        self._began_s, _ = self._read()
        # The first slice begins with the members being made.
        self._at_s, self._handled = self._first = self._read()

    def run_slice(self) -> float:
        """Run the next one; the CPU time that each of its events took."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        at_s, handled = self._read()
        took_s, count = at_s - self._at_s, handled - self._handled
        self._at_s, self._handled = at_s, handled
        self.took_s.append(took_s)
        self.handled.append(count)
        return took_s / count

    def close(self) -> None:
        """Let it end."""
        self._process.communicate("\n")

    def report(self) -> str:
        """Its rate, and what the start and the first slice took."""
        rate = sum(self.handled) / sum(self.took_s)
        rates = sorted(n / s for n, s in zip(self.handled, self.took_s, strict=True))
        best = rates[len(rates) * 9 // 10]
        made_s = self._first[0] - self._began_s - self._first[1] / rate
        with_start = self._handled / (self._at_s - self._began_s)
        return (
            f"{rate:,.0f} events a second of CPU time, {best:,.0f} in the quickest tenth of the "
            f"slices, {with_start:,.0f} with the start ({made_s:.1f} s)"
        )

    def _read(self) -> tuple[float, int]:
        assert self._process.stdout is not None
        at_s, handled = self._process.stdout.readline().split()
        return float(at_s), int(handled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seconds", type=int, default=400, help="virtual")
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--against", type=Path, help="another checkout")
    options = parser.parse_args()
    trees = [HERE, *([options.against.resolve()] if options.against else [])]
    for members in options.members:
        pools = [Pool(tree, members, options.seconds, options.slices) for tree in trees]
        pairs = [[pool.run_slice() for pool in pools] for _ in range(options.slices - 1)]
        for tree, pool in zip(trees, pools, strict=True):
            pool.close()
            print(f"{members:5} members, {tree.name}: {pool.report()}", flush=True)
        if options.against:
            faster = statistics.median(theirs / ours for ours, theirs in pairs)
            print(f"{members:5} members: this one is {faster:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
