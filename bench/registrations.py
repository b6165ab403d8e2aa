"""A storm of registrations on one of ten agents: do all others follow, and is anybody suspected?

    bench/registrations.py --rate 1000 --seconds 60

Registers `rate` services a second over HTTP with one agent, each on disk before it is acknowledged.
After the last one it waits until every agent shows the last service and the same number of
services, and reports how long that took after the last acknowledgement, and every suspicion that an
agent counted or logged meanwhile. It also has a local view of how late the loops were: the slowest
answer of `/v1/agent/self` of every agent during the storm.
"""

import argparse
import asyncio
import json
import shlex
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

SUSPICION_WORDS = ("suspect", "member failed")


def address(number: int) -> str:
    return f"127.0.0.{number + 2}"


def start(options: argparse.Namespace, folder: Path) -> list[subprocess.Popen[bytes]]:
    processes = []
    for number in range(options.agents):
        command = [
            *shlex.split(options.bin), "agent", "-node", f"n{number}", "-bind", address(number),
            "-client", address(number), "-data-dir", str(folder / f"n{number}"),
        ]  # fmt: skip
        if number:
            command += ["-retry-join", address(0), "-retry-interval", "1s"]
        else:
            command += ["-server", "-bootstrap-expect=1"]
        with (folder / f"n{number}.log").open("wb") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
    return processes


class Pool:
    def __init__(self, session: aiohttp.ClientSession, options: argparse.Namespace) -> None:
        self._session, self.options = session, options

    async def get(self, number: int, path: str) -> Any:  # noqa: ANN401 -- whatever JSON says
        async with self._session.get(f"http://{address(number)}:8500{path}") as answer:
            return await answer.json(content_type=None)

    async def register(self, number: int) -> None:
        body = {"Name": f"svc{number % 100}", "ID": f"svc-{number}", "Port": 1 + number % 60_000}
        url = f"http://{address(0)}:8500/v1/agent/service/register"
        async with self._session.put(url, json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def settled(self, wanted: int) -> float | None:
        """Seconds until every agent shows all instances; None when it takes over a minute."""
        began_at = time.monotonic()
        left = set(range(self.options.agents))
        while left and time.monotonic() - began_at < 60:
            for number in sorted(left):
                if await self.instances(number) >= wanted:
                    left.discard(number)
        return None if left else time.monotonic() - began_at

    async def instances(self, number: int) -> int:
        """Instances this agent shows, of the last few service names only: a full count stalls."""
        rows = await self.get(number, "/v1/catalog/service/svc99")
        return len(rows)

    async def watch_latency(self, slowest_s: dict[int, float]) -> None:
        while True:
            for number in range(1, self.options.agents):
                asked_at = time.monotonic()
                await self.get(number, "/v1/status/leader")
                slowest_s[number] = max(slowest_s.get(number, 0), time.monotonic() - asked_at)
            await asyncio.sleep(0.1)


async def storm(pool: Pool) -> list[float]:
    """Register at the wanted rate; the latencies of the acknowledgements."""
    options = pool.options
    latencies_s: list[float] = []
    total = options.rate * options.seconds
    began_at = time.monotonic()
    waiting: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        asked_at = time.monotonic()
        await pool.register(number)
        latencies_s.append(time.monotonic() - asked_at)

    for number in range(total):
        if (wait_s := began_at + number / options.rate - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        task = asyncio.create_task(one(number))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        if len(waiting) > 512:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*waiting)
    return latencies_s


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:
        pool = Pool(session, options)
        deadline_at = time.monotonic() + 60
        while time.monotonic() < deadline_at:
            try:
                sizes = [len(await pool.get(n, "/v1/agent/members")) for n in range(options.agents)]
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
                continue
            if set(sizes) == {options.agents}:
                break
            await asyncio.sleep(0.2)
        slowest_s: dict[int, float] = {}
        watching = asyncio.create_task(pool.watch_latency(slowest_s))
        began_at = time.monotonic()
        latencies_s = sorted(await storm(pool))
        took_s = time.monotonic() - began_at
        converged_s = await pool.settled(options.rate * options.seconds // 100)
        watching.cancel()
    return {
        "registrations": len(latencies_s),
        "per_s": round(len(latencies_s) / took_s),
        "acknowledged_ms": {
            "median": round(1e3 * statistics.median(latencies_s), 1),
            "p99": round(1e3 * latencies_s[int(len(latencies_s) * 0.99)], 1),
        },
        "all_agents_converged_after_last_s": converged_s and round(converged_s, 3),
        "slowest_answer_of_another_agent_ms": round(1e3 * max(slowest_s.values(), default=0), 1),
        "suspicions": suspicions(folder)[:20],
    }


def suspicions(folder: Path) -> list[str]:
    """Lines of the agents' logs that speak of a suspect or failed member."""
    return [
        f"{log.name}: {line}"
        for log in sorted(folder.glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if any(word in line for word in SUSPICION_WORDS)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--bin", default=".venv/bin/svcmesh")
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="registrations-") as name:
        processes = start(options, Path(name))
        try:
            print(json.dumps(asyncio.run(measure(options, Path(name))), indent=1))
        finally:
            for process in processes:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
