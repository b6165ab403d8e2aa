"""Raft's storms by the thousand: every seed on three and on five servers, on all cores.

    python -m bench.raft_seeds --seeds 10000 [--first 0] [--workers 2] [--done FILE]

A storm is `tests/svcmesh/consensus/test_raft_simulation.py`'s: crashes that lose what was not
synced, partitions, lost and doubled messages, clocks that run apart, changes of members, snapshots;
then calm, and the checkers. A failed seed is printed with the command that replays it. With
`--done`, finished blocks of seeds are noted in a file, and not run again: a run that was broken off
goes on where it was. Exit code 1 when any seed failed.
"""

import argparse
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.svcmesh.consensus.test_raft_simulation import storm

SIZES = (3, 5)
BLOCK = 20
"""Seeds that a worker runs in a row."""


def run_block(first: int) -> tuple[int, list[tuple[int, int, str]]]:
    """The seeds of a block that failed: seed, servers, how."""
    failed = []
    for seed in range(first, first + BLOCK):
        for size in SIZES:
            try:
                storm(seed, size=size)
            # Whatever a storm raises is what this is looking for.
            except Exception:
                failed.append((seed, size, traceback.format_exc()))
    return first, failed


def replay(seed: int, size: int) -> str:
    """The command that runs one storm again."""
    module = "tests.svcmesh.consensus.test_raft_simulation"
    return f"python -c 'from {module} import storm; storm({seed}, size={size})'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10_000, help="in blocks of 20")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--done", type=Path, help="notes which blocks are done")
    options = parser.parse_args()
    done: set[int] = set()
    if options.done is not None and options.done.exists():
        done = {int(line) for line in options.done.read_text().split()}
    starts = range(options.first, options.first + options.seeds, BLOCK)
    left = [start for start in starts if start not in done]
    failures, finished, began_at = 0, len(starts) - len(left), time.monotonic()
    with ProcessPoolExecutor(options.workers) as pool:
        for future in as_completed([pool.submit(run_block, start) for start in left]):
            first, failed = future.result()
            finished += 1
            failures += len(failed)
            for seed, size, text in failed:
                print(f"\nseed {seed} with {size} servers failed: {replay(seed, size)}\n{text}")
            if options.done is not None and not failed:
                with options.done.open("a") as file:
                    file.write(f"{first}\n")
            rate = (finished - len(starts) + len(left)) / (time.monotonic() - began_at)
            left_s = (len(starts) - finished) / rate
            print(
                f"\r{finished * BLOCK} of {len(starts) * BLOCK} seeds, {failures} failures, "
                f"{left_s / 60:.0f} minutes left ",
                end="", file=sys.stderr, flush=True,
            )  # fmt: skip
    print(f"\n{len(starts) * BLOCK} seeds on {SIZES} servers: {failures} failures")
    raise SystemExit(failures > 0)


if __name__ == "__main__":
    main()
