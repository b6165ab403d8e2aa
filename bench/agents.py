"""Agents of one program on 127.0.0.2 and up, for the measurements beside this.

The program takes Consul's agent flags, so a real Consul can be measured in the same way.
"""

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
import time
import urllib.request
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Times = dict[str, float | None]

SUSPICION_WORDS = ("suspect", "member failed")


@dataclass(frozen=True)
class Program:
    """What is run, and how many of the agents are servers."""

    command: str = ".venv/bin/svcmesh"
    servers: int = 1
    domain: str = "consul"

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument("--bin", default=Program.command)
        parser.add_argument("--servers", type=int, default=Program.servers)
        parser.add_argument("--domain", default=Program.domain)


class Agent:
    """One agent with all ports at their defaults on its own address."""

    def __init__(self, number: int, program: Program, folder: Path) -> None:
        self.number, self.name, self.address = number, f"n{number}", f"127.0.0.{number + 2}"
        self._program, self._folder = program, folder
        command = [
            *shlex.split(program.command), "agent", "-node", self.name, "-bind", self.address,
            "-client", self.address, "-data-dir", str(folder / self.name),
        ]  # fmt: skip
        if number < program.servers:
            command += ["-server", f"-bootstrap-expect={program.servers}"]
        if number:
            command += ["-retry-join", "127.0.0.2", "-retry-interval", "1s"]
        self.log = folder / f"{self.name}.log"
        with self.log.open("wb") as log:
            self.started_at = time.monotonic()
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def again(self) -> "Agent":
        """The same agent, started once more."""
        return Agent(self.number, self._program, self._folder)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def http(self, path: str, method: str = "GET", body: object = None) -> Any:  # noqa: ANN401 -- whatever JSON says
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}:8500{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content.strip() else None

    def register(self, name: str, **more: object) -> None:
        self.http("/v1/agent/service/register", "PUT", {"Name": name, "Port": 80, **more})

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

    def longest_stall_ms(self) -> float:
        """How long the event loop stood still at the most in the last ten seconds."""
        metrics = self.http("/v1/agent/metrics")
        stalls = [s for s in metrics["Samples"] if s["Name"].endswith("runtime.loop_stall")]
        return round(max((s["Max"] for s in stalls), default=0.0), 1)

    def suspicions(self) -> list[str]:
        """Lines of the log that speak of a suspect or failed member."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [f"{self.name}: {line}" for line in lines if any(w in line for w in SUSPICION_WORDS)]


@contextlib.contextmanager
def running(count: int, program: Program) -> Iterator[list[Agent]]:
    """So many agents, which need not have found each other yet.

    Those in the list at the end are killed: an agent that is started once more takes the place of
    the old one there.
    """
    agents: list[Agent] = []
    with tempfile.TemporaryDirectory(prefix="agents-") as name:
        try:
            for number in range(count):
                agents.append(Agent(number, program, Path(name)))
                if number + 1 == program.servers:
                    until(Agent.answers_http, agents, agents[0].started_at, 30)
            yield agents
        finally:
            for agent in agents:
                agent.kill()


def wait_for_each_other(agents: list[Agent], limit_s: float = 120.0) -> Times:
    """Until every agent lists all as alive; the seconds since the first was started."""
    count = len(agents)

    def holds(agent: Agent) -> bool:
        return list(agent.members().values()).count(1) == count

    took = until(holds, agents, agents[0].started_at, limit_s, 0.1)
    if None in took.values():
        raise SystemExit(f"the agents do not find each other: {took}")
    return took


def until(
    holds: Callable[[Agent], bool],
    agents: list[Agent],
    since: float,
    limit_s: float,
    every_s: float = 0.005,
) -> Times:
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
