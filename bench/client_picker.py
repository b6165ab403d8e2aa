"""How many calls a second one picker balances, by policy and number of instances; one thread."""

import argparse
import time

from svcmesh.client import Instance, LeastPending, Nearest, Picker, Policy, RandomChoice, RoundRobin


def calls_per_s(policy: Policy, count: int, duration_s: float) -> tuple[float, float]:
    picker = Picker(policy)
    picker.update(
        [
            Instance(service="web", id=f"w{n}", node=f"n{n}", address="10.0.0.1", port=n)
            for n in range(count)
        ]
    )
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < duration_s:
        for _ in range(100):
            with picker.use():
                calls += 1
    took_s = time.perf_counter() - start
    start = time.perf_counter()
    picker.update(picker.instances)
    return calls / took_s, (time.perf_counter() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    for count in (3, 100, 10_000):
        for policy in (RoundRobin(), RandomChoice(), LeastPending(), Nearest()):
            rate, update_ms = calls_per_s(policy, count, options.seconds)
            print(
                f"{type(policy).__name__:12} {count:6} instances: {rate:9,.0f} calls/s, "
                f"a new list takes {update_ms:.1f} ms"
            )


if __name__ == "__main__":
    main()
