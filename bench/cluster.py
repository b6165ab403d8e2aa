"""Run N agents of one program on 127.0.0.2 and up, and measure how the cluster behaves.

The program takes Consul's agent flags, so a real Consul can be measured in the same way:

    bench/cluster.py --bin .venv/bin/svcmesh --agents 10
    bench/cluster.py --bin consul --agents 10
"""

import argparse
import contextlib
import json
import os
import random
import shlex
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

Times = dict[str, float | None]


class Agent:
    """One agent with all ports at their defaults on its own address."""

    def __init__(self, number: int, options: argparse.Namespace, folder: Path) -> None:
        self.number, self.name, self.address = number, f"n{number}", f"127.0.0.{number + 2}"
        command = [
            *shlex.split(options.bin), "agent", "-node", self.name, "-bind", self.address,
            "-client", self.address, "-data-dir", str(folder / self.name),
        ]  # fmt: skip
        if number < options.servers:
            command += ["-server", f"-bootstrap-expect={options.servers}"]
        if number:
            command += ["-retry-join", "127.0.0.2", "-retry-interval", "1s"]
        with (folder / f"{self.name}.log").open("wb") as log:
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def http(self, path: str, method: str = "GET", body: object = None) -> Any:  # noqa: ANN401
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}:8500{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            content = answer.read()
        return json.loads(content) if content.strip() else None

    def answers_http(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.http("/v1/agent/self"))
        return False

    def members(self) -> dict[str, int]:
        with contextlib.suppress(OSError):
            return {m["Name"]: m["Status"] for m in self.http("/v1/agent/members")}
        return {}

    def answers(self, name: str) -> int:
        """Number of A records, -1 without an answer."""
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        header = struct.pack(">HHHHHH", random.randrange(65536), 0x0100, 1, 0, 0, 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            try:
                client.sendto(header + labels + b"\0\0\1\0\1", (self.address, 8600))
                return int.from_bytes(client.recv(4096)[6:8], "big")
            except OSError:
                return -1

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def cpu_s(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def until(
    holds: Callable[[Agent], bool], agents: list[Agent], since: float, limit_s: float,
    every_s: float = 0.005,
) -> Times:  # fmt: skip
    """Seconds from `since` until `holds` is true of each agent; None past the limit."""
    waiting, took = list(agents), Times()
    while waiting and time.monotonic() - since < limit_s:
        for agent in list(waiting):
            if holds(agent):
                took[agent.name] = time.monotonic() - since
                waiting.remove(agent)
        time.sleep(every_s)
    return took | dict.fromkeys((agent.name for agent in waiting), None)


def spread(runs: list[Times]) -> dict[str, object]:
    """First, median and last over all agents, and the median over runs of the last agent."""
    known = sorted(t for run in runs for t in run.values() if t is not None)
    missed = sum(t is None for run in runs for t in run.values())
    if not known:
        return {"missed": missed}
    last = [max(t for t in run.values() if t is not None) for run in runs if any(run.values())]
    return {
        "first_s": round(known[0], 4),
        "median_s": round(statistics.median(known), 4),
        "last_s": round(known[-1], 4),
        "median_of_last_agent_s": round(statistics.median(last), 4),
        "missed": missed,
    }


def loopback_bytes() -> int:
    return int(Path("/proc/net/dev").read_text().partition("lo:")[2].split()[0])


def measure(agents: list[Agent], options: argparse.Namespace) -> dict[str, object]:
    result: dict[str, object] = {}
    count, domain = options.agents, options.domain
    start = agents[0].started_at
    result["converged"] = spread(
        [until(lambda a: list(a.members().values()).count(1) == count, agents, start, 120, 0.1)]
    )
    time.sleep(5)
    visible, gone = [], []
    for run in range(options.registrations):
        agent = random.choice(agents)
        name = f"svc{run}"
        start = time.monotonic()
        agent.http("/v1/agent/service/register", "PUT", {"Name": name, "Port": 80})
        question = f"{name}.service.{domain}"
        visible.append(until(lambda a, q=question: a.answers(q) == 1, agents, start, 30))  # type: ignore[misc]
        start = time.monotonic()
        agent.http(f"/v1/agent/service/deregister/{name}", "PUT")
        gone.append(until(lambda a, q=question: a.answers(q) == 0, agents, start, 30))  # type: ignore[misc]
    result["registration_visible"], result["deregistration_gone"] = spread(visible), spread(gone)
    cpu, traffic = sum(agent.cpu_s() for agent in agents), loopback_bytes()
    time.sleep(options.idle)
    result["idle"] = {
        "rss_mb_median": round(statistics.median(agent.rss_mb() for agent in agents), 1),
        "rss_mb_largest": round(max(agent.rss_mb() for agent in agents), 1),
        "cpu_percent_per_agent": round(
            100 * (sum(agent.cpu_s() for agent in agents) - cpu) / options.idle / count, 3
        ),
        "loopback_kb_per_s_per_agent": round(
            (loopback_bytes() - traffic) / 1000 / options.idle / count, 2
        ),
    }
    failed, out_of_dns = [], []
    for run in range(options.kills):
        alive = [agent for agent in agents if agent.process.poll() is None]
        victim = random.choice(alive[options.servers :])
        rest = [agent for agent in alive if agent is not victim]
        question = f"victim{run}.service.{domain}"
        victim.http("/v1/agent/service/register", "PUT", {"Name": f"victim{run}", "Port": 80})
        until(lambda a, q=question: a.answers(q) == 1, rest, time.monotonic(), 30)  # type: ignore[misc]
        start = time.monotonic()
        victim.process.kill()
        victim.process.wait()
        dns: list[Times] = []
        thread = threading.Thread(
            target=lambda q=question, r=rest, s=start, d=dns: d.append(  # type: ignore[misc]
                until(lambda a: a.answers(q) == 0, r, s, 60, 0.05)
            )
        )
        thread.start()
        name = victim.name
        failed.append(
            until(lambda a, n=name: a.members().get(n) == 4, rest, start, 60, 0.05)  # type: ignore[misc]
        )
        thread.join()
        out_of_dns += dns
    result["killed_is_failed"], result["killed_out_of_dns"] = spread(failed), spread(out_of_dns)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--registrations", type=int, default=5)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds")
    parser.add_argument("--domain", default="consul")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    agents: list[Agent] = []
    try:
        first = Agent(0, options, folder)
        agents.append(first)
        http = until(lambda a: a.answers_http(), [first], first.started_at, 30)
        time.sleep(1)
        agents += [Agent(n, options, folder) for n in range(1, options.agents)]
        print(
            json.dumps(
                {
                    "bin": options.bin,
                    "agents": options.agents,
                    "http_answers_s": http["n0"],
                    **measure(agents, options),
                    "logs": str(folder),
                },
                indent=1,
            )
        )
    finally:
        for agent in agents:
            agent.process.kill()
            agent.process.wait()


if __name__ == "__main__":
    main()
