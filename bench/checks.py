"""Do ten thousand HTTP checks on one agent keep their schedule, without stalling its loop?

    bench/checks.py --checks 10000 --interval-s 10 --seconds 30

A real check table and runner in one process, and in another a small HTTP server as what they probe.
Every probe's start is compared with when it was due; the loop's stalls are measured by a timer
that is due every 2 ms. `stolen` is how long the system ran others instead of us: on a shared
machine a stall of that size says nothing about the agent.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from svcmesh.checks.definition import CheckDefinition, HttpProbe
from svcmesh.checks.runner import CheckRunner
from svcmesh.checks.table import CheckConfig, CheckEffect, CheckTable, StartProbe

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
TICK_S = 0.002


class Target(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(ANSWER)
        self.transport.close()


def serve(port_to: Connection) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Target, "127.0.0.1", 0, backlog=4096)
        port_to.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class TimedTable(CheckTable):
    """Notes how late each probe starts."""

    late_s: list[float]

    def handle_timer(self, *, now: float) -> list[CheckEffect]:
        effects = super().handle_timer(now=now)
        for effect in effects:
            if isinstance(effect, StartProbe):
                self.late_s.append(now - self._checks[effect.check_id].run_due_at)
        return effects


def waited_s() -> float:
    """How long this process was runnable and did not run."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


async def measure(port: int, count: int, interval_s: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    changed: list[object] = []
    table = TimedTable(CheckConfig(), rng=Random(1))
    table.late_s = []
    runner = CheckRunner(table, on_fact=changed.append)
    for number in range(count):
        definition = CheckDefinition(
            id=f"c{number}",
            name="web",
            source=HttpProbe(f"http://127.0.0.1:{port}/health?{number}"),
            interval_s=interval_s,
            timeout_s=10.0,
        )
        runner.carry_out(table.put(definition, now=loop.time()))
        if number % 100 == 0:
            await asyncio.sleep(0)
    # Twice around: after that every check has its phase.
    await asyncio.sleep(2 * interval_s)
    # As the agent does once it runs.
    gc.collect()
    gc.freeze()
    table.late_s.clear()
    started, busy, waited = table.probes_started, time.process_time(), waited_s()
    stalls: list[tuple[float, float]] = []
    end = loop.time() + seconds
    while loop.time() < end:
        before, stolen = loop.time(), waited_s()
        await asyncio.sleep(TICK_S)
        stalls.append((loop.time() - before - TICK_S, waited_s() - stolen))
    probes = table.probes_started - started
    busy = time.process_time() - busy
    late = sorted(table.late_s)
    passing = sum(table[check_id].status == "passing" for check_id in table)
    await runner.close()
    print(f"{count} HTTP checks every {interval_s:g} s, for {seconds:g} s")
    due, cost_us = count * seconds / interval_s, busy / probes * 1e6
    print(f"  probes            {probes}, due {due:.0f}; {passing} passing")
    print(f"  processor         {busy / seconds:.1%} of a core, {cost_us:.0f} us a probe")
    print(f"  late, ms          p50 {at(late, 0.5)}, p99 {at(late, 0.99)}, max {at(late, 1)}")
    own = sorted(stall - stolen for stall, stolen in stalls)
    every = sorted(stall for stall, _ in stalls)
    print(f"  stalls, ms        p50 {at(every, 0.5)}, p99 {at(every, 0.99)}, max {at(every, 1)}")
    print(f"    of our own      p50 {at(own, 0.5)}, p99 {at(own, 0.99)}, max {at(own, 1)}")
    print(f"  stolen            {(waited_s() - waited) / seconds:.1%} of the time")


def at(values: list[float], share: float) -> str:
    return f"{1000 * values[min(len(values) - 1, int(len(values) * share))]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=10_000)
    parser.add_argument("--interval-s", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    target = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    target.start()
    try:
        asyncio.run(measure(here.recv(), options.checks, options.interval_s, options.seconds))
    finally:
        target.terminate()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
