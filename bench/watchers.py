"""Thousands of blocking queries parked on one agent: who wakes, how soon, and what they cost idle.

    bench/watchers.py --watchers 5000

Starts one agent, parks the queries on `/v1/health/service/svcN` over 100 names, waits, and then
changes one service: every watcher of that name must get an answer, none of the others. Reports the
delays from just before the registration was sent to the answer's last byte, and the agent's CPU
time and memory while the watchers were parked.
"""

import argparse
import asyncio
import json
import os
import resource
import shlex
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp

ADDRESS = "127.0.0.2"
NAMES = 100


class Watcher:
    """One connection with one blocking query on it, spoken by hand: it is cheap."""

    def __init__(self, number: int) -> None:
        self.name = f"svc{number % NAMES}"
        self.answered_at: float | None = None

    async def park(self, index: str) -> None:
        self._reader, self._writer = await asyncio.open_connection(ADDRESS, 8500)
        path = f"/v1/health/service/{self.name}?index={index}&wait=5m"
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
        await self._writer.drain()
        self._waiting = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await self._reader.readexactly(length)
        self.answered_at = time.monotonic()

    def leave(self) -> None:
        self._waiting.cancel()
        self._writer.close()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


async def register(session: aiohttp.ClientSession, name: str, port: int) -> None:
    url = f"http://{ADDRESS}:8500/v1/agent/service/register"
    async with session.put(url, json={"Name": name, "Port": port}) as answer:
        assert answer.status == 200


async def measure(options: argparse.Namespace, pid: int) -> dict[str, object]:
    async with aiohttp.ClientSession() as session:
        await until_up(session)
        for number in range(NAMES):
            await register(session, f"svc{number}", 80)
        async with session.get(f"http://{ADDRESS}:8500/v1/catalog/services") as answer:
            index = answer.headers["X-Consul-Index"]
        before_mb = rss_mb(pid)
        watchers = [Watcher(number) for number in range(options.watchers)]
        for start in range(0, len(watchers), 100):
            await asyncio.gather(*(w.park(index) for w in watchers[start : start + 100]))
        await asyncio.sleep(1)
        cpu_before_s = cpu_s(pid)
        await asyncio.sleep(options.idle)
        idle_percent = 100 * (cpu_s(pid) - cpu_before_s) / options.idle
        rounds = []
        for number in range(options.rounds):
            name = f"svc{number}"
            changed_at = time.monotonic()
            await register(session, name, 81)
            await asyncio.sleep(1)
            woken = [w for w in watchers if w.answered_at and w.answered_at >= changed_at]
            asked = [w for w in watchers if w.name == name]
            delays_s = [w.answered_at - changed_at for w in woken if w.answered_at]
            rounds.append(
                {
                    "asked_for_it": len(asked),
                    "woken_of_them": len([w for w in woken if w.name == name]),
                    "woken_of_others": len([w for w in woken if w.name != name]),
                    "median_ms": round(1e3 * statistics.median(delays_s), 1) if woken else None,
                    "last_ms": round(1e3 * max(delays_s), 1) if woken else None,
                }
            )
        for watcher in watchers:
            watcher.leave()
        return {
            "watchers": options.watchers,
            "idle_cpu_percent": round(idle_percent, 2),
            "kB_per_watcher": round(1024 * (rss_mb(pid) - before_mb) / options.watchers, 1),
            "changes": rounds,
        }


async def until_up(session: aiohttp.ClientSession) -> None:
    for _ in range(200):
        try:
            async with session.get(f"http://{ADDRESS}:8500/v1/status/leader"):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
    raise SystemExit("the agent does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--bin", default=".venv/bin/svcmesh")
    parser.add_argument("--watchers", type=int, default=5000)
    parser.add_argument("--idle", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="watchers-") as folder:
        command = [
            *shlex.split(options.bin), "agent", "-node", "n1", "-bind", ADDRESS, "-client", ADDRESS,
            "-data-dir", f"{folder}/data", "-server", "-bootstrap-expect=1",
        ]  # fmt: skip
        log = Path(folder) / "log"
        with log.open("wb") as file:
            agent = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            print(json.dumps(asyncio.run(measure(options, agent.pid)), indent=1))
        finally:
            agent.kill()
            agent.wait()


if __name__ == "__main__":
    main()
