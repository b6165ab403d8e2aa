"""A flood of DNS queries and HTTP requests on one of ten agents: is anybody suspected?

    bench/flood.py --dns 50000 --http 5000 --seconds 120

Needs dnsperf and wrk. One agent is loaded with DNS A queries and reads of `/v1/health/service` at
these rates (or as many as the machine gives); afterwards every agent's log is read for suspicions
and failures, and every agent is asked who is not alive and what it remembers of accusations.
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from agents import Agent, Program, running, wait_for_each_other

CONNECTIONS = 16
TARGET = 1
"""The agent that is flooded; agent 0 is the server."""


def flood(target: Agent, options: argparse.Namespace, folder: Path) -> dict[str, object]:
    names = folder / "names"
    names.write_text("".join(f"svc{n}.service.consul A\n" for n in range(20)))
    # wrk has no rate: each connection pauses between requests.
    pause_ms = max(1, round(1000 * CONNECTIONS / options.http))
    script = folder / "pause.lua"
    script.write_text(f"function delay() return {pause_ms} end\n")
    seconds = str(options.seconds)
    dns = subprocess.Popen(
        ["dnsperf", "-s", target.address, "-p", "8600", "-d", str(names), "-c", "8", "-e",
         "-l", seconds, "-Q", str(options.dns)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    reads = subprocess.Popen(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-s", str(script),
         f"http://{target.address}:8500/v1/health/service/svc1?passing=1"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    dns_says, reads_say = dns.communicate()[0], reads.communicate()[0]

    def found(pattern: str, text: str) -> str | None:
        match = re.search(pattern, text)
        return match[1] if match else None

    return {
        "dns_per_s": found(r"Queries per second:\s+([\d.]+)", dns_says),
        "dns_lost": found(r"Queries lost:\s+(\S+ \S+)", dns_says),
        "http_per_s": found(r"Requests/sec:\s+([\d.]+)", reads_say),
        "http_p99": found(r"99%\s+(\S+)", reads_say),
        "http_errors": found(r"(Non-2xx.*|Socket errors.*)", reads_say),
    }


def blamed(agents: list[Agent]) -> dict[str, object]:
    not_alive = [
        f"{agent.name} says {name} is {status}"
        for agent in agents
        for name, status in agent.members().items()
        if status != 1
    ]
    accused = [
        f"{agent.name} of {other.name}: {what}"
        for agent in agents
        for other in agents
        if (what := accusations(agent, other.name))
    ]
    lines = [line for agent in agents for line in agent.suspicions()]
    return {"log": lines[:20], "not_alive": not_alive, "accusations": accused[:20]}


def accusations(asked: Agent, node: str) -> list[str]:
    """What an agent remembers of suspicions of a member."""
    story = asked.http(f"/v1/agent/why/{node}") or {}
    return [json.dumps(each) for each in story.get("Timeline") or () if "uspect" in str(each)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    Program.add_options(parser)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--dns", type=int, default=50_000, help="queries a second")
    parser.add_argument("--http", type=int, default=5000, help="requests a second")
    parser.add_argument("--seconds", type=int, default=120)
    options = parser.parse_args()
    program = Program(options.bin, options.servers, options.domain)
    with running(options.agents, program) as agents, tempfile.TemporaryDirectory() as folder:
        wait_for_each_other(agents)
        target = agents[TARGET]
        for n in range(20):
            for k in range(3):
                target.register(f"svc{n}", ID=f"svc{n}-{k}", Port=8000 + k)
        time.sleep(2)
        found = flood(target, options, Path(folder))
        print(json.dumps({**found, **blamed(agents)}, indent=1))


if __name__ == "__main__":
    main()
