"""Three servers: reads and writes of single keys a second through the leader and a follower.

Needs wrk. Reported for each: requests a second, latencies, and what a request costs each server in
processor time, which says most on a busy machine. `--bin consul` measures Consul the same way.
"""

import argparse
import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from agents import Agent, Program, running, until, wait_for_each_other

SERVERS = 3
WRITES = """local i = 0
request = function()
  i = i + 1
  return wrk.format("PUT", "/v1/kv/bench/k" .. (i % 1000), nil, "hello")
end
"""
LOADS = {"get_16": 16, "put_1": 1, "put_16": 16, "put_64": 64}


def leads(agent: Agent) -> bool:
    return str(agent.http("/v1/status/leader")).startswith(agent.address + ":")


def accepts_writes(agent: Agent) -> bool:
    try:
        return agent.http("/v1/kv/bench/a", "PUT", "hello") is True
    except OSError:
        return False


def wrk(agent: Agent, connections: int, seconds: int, script: Path | None) -> dict[str, object]:
    """Load one server; what wrk says."""
    options = ["-s", str(script)] if script else []
    path = "/" if script else "/v1/kv/bench/a"
    said = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", *options,
         f"http://{agent.address}:8500{path}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = {
        "per_s": re.search(r"Requests/sec:\s+([\d.]+)", said),
        "p50": re.search(r"\s50%\s+([\d.]+\w+)\n", said),
        "p99": re.search(r"\s99%\s+([\d.]+\w+)\n", said),
        "wrong": re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", said),
    }
    shown: dict[str, object] = {name: match[1] for name, match in found.items() if match}
    return {**shown, "per_s": round(float(str(shown.get("per_s", 0))))}


def measure(agents: list[Agent], options: argparse.Namespace, script: Path) -> dict[str, object]:
    leader = next(agent for agent in agents if leads(agent))
    follower, other = (agent for agent in agents if agent is not leader)
    results: dict[str, object] = {}
    for place, agent in (("leader", leader), ("follower", follower)):
        for name, connections in LOADS.items():
            before = [each.cpu_s() for each in (leader, follower, other)]
            result = wrk(
                agent, connections, options.seconds, script if name.startswith("put") else None
            )
            spent = [each.cpu_s() for each in (leader, follower, other)]
            count = max(1, int(str(result["per_s"])) * options.seconds)
            result["cpu_us"] = {
                role: round((after - earlier) * 1e6 / count)
                for role, after, earlier in zip(
                    ("leader", "follower", "other"), spent, before, strict=True
                )
            }
            results[f"{place}.{name}"] = result
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", default=Program.command)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    with (
        tempfile.NamedTemporaryFile("w", suffix=".lua") as script,
        running(SERVERS, Program(options.bin, SERVERS)) as agents,
    ):
        script.write(WRITES)
        script.flush()
        wait_for_each_other(agents)
        until(accepts_writes, agents, time.monotonic(), 60)
        results = measure(agents, options, Path(script.name))
    print(json.dumps({"bin": options.bin, "results": results}, indent=1))


if __name__ == "__main__":
    main()
