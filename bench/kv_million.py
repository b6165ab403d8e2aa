"""A million keys of 100 bytes: memory, stalls of the loop during snapshots, time to restart.

    bench/kv_million.py --bin .venv/bin/svcmesh [--servers 3] [--keys 1000000]

Loads the keys by transactions, then compares how late the agent's loop ran what was due (its own
metric `runtime.loop_stall`) in a quiet time, while the store is saved to a file, and while it is
saved under a load of writes. At the end the server is killed with -9 and started again: how long
until it answers for a key. Every phase has its peak of resident memory. On a busy machine the quiet
time has stalls as well: what counts is by how much the others are longer.
"""

import argparse
import asyncio
import base64
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

VALUE = b"v" * 100
PER_TRANSACTION = 64
WRITERS = 8
INTERVAL_S = 10.0
"""Of the agent's metrics."""
QUIET_S = 22.0
"""At least two whole intervals."""


def address(number: int) -> str:
    return f"127.0.0.{number + 2}"


def url(path: str, number: int = 0) -> str:
    return f"http://{address(number)}:8500{path}"


def start(number: int, options: argparse.Namespace, folder: Path) -> subprocess.Popen[bytes]:
    command = [
        *shlex.split(options.bin), "agent", "-server", f"-bootstrap-expect={options.servers}",
        "-node", f"n{number}", "-bind", address(number), "-client", address(number),
        "-data-dir", str(folder / f"n{number}"), "-retry-join", address(0), "-retry-interval", "1s",
    ]  # fmt: skip
    with (folder / f"n{number}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def resident_mb(process: subprocess.Popen[bytes], name: str = "VmRSS") -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) // 1024


async def until_answered(session: aiohttp.ClientSession, path: str, *, within_s: float) -> float:
    """How long until a path answers with 200."""
    began_at = time.monotonic()
    while time.monotonic() < began_at + within_s:
        try:
            async with session.get(url(path)) as answer:
                await answer.read()
                if answer.status == 200:
                    return time.monotonic() - began_at
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.05)
    raise SystemExit(f"no answer to {path}")


class Stalls:
    """The longest stall of the agent's loop in each interval of its metrics that has ended."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._by_interval: dict[str, float] = {}

    async def look(self) -> None:
        async with self._session.get(url("/v1/agent/metrics")) as answer:
            found: Any = await answer.json()
        worst = max(
            (s["Max"] for s in found["Samples"] if s["Name"].endswith("runtime.loop_stall")),
            default=0.0,
        )
        self._by_interval[found["Timestamp"]] = worst

    async def during(self, work: Awaitable[object]) -> float:
        """The longest stall while something goes on, in milliseconds."""
        await asyncio.sleep(INTERVAL_S)
        await self.look()
        known = set(self._by_interval)
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.wait([task], timeout=INTERVAL_S / 4)
            await self.look()
        await task
        # What the interval says that was running when it ended.
        await asyncio.sleep(INTERVAL_S + 1)
        await self.look()
        return round(max(w for at, w in self._by_interval.items() if at not in known), 1)


async def load(session: aiohttp.ClientSession, numbers: range) -> None:
    """Write keys, many at a time."""
    value = base64.b64encode(VALUE).decode()
    starts = iter(range(numbers.start, numbers.stop, PER_TRANSACTION))

    async def write() -> None:
        for first in starts:
            operations = [
                {"KV": {"Verb": "set", "Key": f"load/{n % 1000:03}/{n:07}", "Value": value}}
                for n in range(first, min(first + PER_TRANSACTION, numbers.stop))
            ]
            async with session.put(url("/v1/txn"), json=operations) as answer:
                if answer.status != 200:
                    raise SystemExit(await answer.text())

    await asyncio.gather(*(write() for _ in range(WRITERS)))


async def save(session: aiohttp.ClientSession) -> int:
    """Save the store; the size of the file."""
    size = 0
    async with session.get(url("/v1/snapshot")) as answer:
        assert answer.status == 200, await answer.text()
        async for piece in answer.content.iter_chunked(1 << 18):
            size += len(piece)
    return size


async def save_under_load(session: aiohttp.ClientSession, keys: int) -> None:
    saving = asyncio.ensure_future(save(session))
    first = keys
    while not saving.done():
        await load(session, range(first, first + PER_TRANSACTION * WRITERS))
        await asyncio.sleep(0.1)
        first += PER_TRANSACTION * WRITERS
    await saving


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, object]:
    began_at = time.monotonic()
    result = await work()
    return round(time.monotonic() - began_at, 1), result


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    processes = [start(number, options, folder) for number in range(options.servers)]
    server = processes[0]
    timeout = aiohttp.ClientTimeout(total=300)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await until_answered(session, "/v1/session/list", within_s=60)
            found: dict[str, object] = {"empty_mb": resident_mb(server)}
            found["load_s"], _ = await timed(lambda: load(session, range(options.keys)))
            found["loaded_mb"] = resident_mb(server)
            found["peak_while_loading_mb"] = resident_mb(server, "VmHWM")
            stalls = Stalls(session)
            found["quiet_stall_ms"] = await stalls.during(asyncio.sleep(QUIET_S))
            found["saving_stall_ms"] = await stalls.during(save(session))
            found["saving_s"], found["file_bytes"] = await timed(lambda: save(session))
            found["saving_under_load_stall_ms"] = await stalls.during(
                save_under_load(session, options.keys)
            )
            found["peak_mb"] = resident_mb(server, "VmHWM")
            server.kill()
            server.wait()
            processes[0] = server = start(0, options, folder)
            path = "/v1/kv/load/000/0001000"
            found["restart_s"] = round(await until_answered(session, path, within_s=120), 1)
            found["restarted_mb"] = resident_mb(server)
            found["peak_while_restarting_mb"] = resident_mb(server, "VmHWM")
            return found
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep data and logs here")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kv-million-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(asyncio.run(measure(options, folder)), indent=1))


if __name__ == "__main__":
    main()
