"""A flood of DNS queries and HTTP requests on one of ten agents: is anybody suspected?

    bench/flood.py --dns 50000 --http 5000 --seconds 120

Needs dnsperf and wrk. One agent is loaded with DNS A queries and reads of `/v1/health/service` at
these rates (or as many as the machine gives); afterwards every agent's log is read for suspicions
and failures, and every agent is asked who is not alive and what it remembers of accusations.
"""

import argparse
import json
import re
import shlex
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

CONNECTIONS = 16
TARGET = 1
"""The agent that is flooded; agent 0 is the server."""


def address(number: int) -> str:
    return f"127.0.0.{number + 2}"


def http(number: int, path: str, body: object = None) -> Any:  # noqa: ANN401 -- whatever JSON says
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://{address(number)}:8500{path}", data, method="PUT" if data else "GET"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        content = answer.read()
    return json.loads(content) if content.strip() else None


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


def wait_for_members(options: argparse.Namespace) -> None:
    for _ in range(300):
        try:
            sizes = {len(http(n, "/v1/agent/members")) for n in range(options.agents)}
        except OSError:
            sizes = set()
        if sizes == {options.agents}:
            return
        time.sleep(0.2)
    raise SystemExit("the agents do not find each other")


def flood(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    names = folder / "names"
    names.write_text("".join(f"svc{n}.service.consul A\n" for n in range(20)))
    # wrk has no rate: each connection pauses between requests.
    pause_ms = max(1, round(1000 * CONNECTIONS / options.http))
    script = folder / "pause.lua"
    script.write_text(f"function delay() return {pause_ms} end\n")
    seconds = str(options.seconds)
    dns = subprocess.Popen(
        ["dnsperf", "-s", address(TARGET), "-p", "8600", "-d", str(names), "-c", "8", "-e",
         "-l", seconds, "-Q", str(options.dns)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    reads = subprocess.Popen(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-s", str(script),
         f"http://{address(TARGET)}:8500/v1/health/service/svc1?passing=1"],
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


def blamed(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    lines = [
        f"{log.name}: {line}"
        for log in sorted(folder.glob("n*.log"))
        for line in log.read_text(errors="replace").splitlines()
        if "suspect" in line or "member failed" in line
    ]
    not_alive = [
        f"n{n} says {member['Name']} is {member['Status']}"
        for n in range(options.agents)
        for member in http(n, "/v1/agent/members")
        if member["Status"] not in (1, "alive")
    ]
    accused = [
        f"n{n} of n{other}: {what}"
        for n in range(options.agents)
        for other in range(options.agents)
        if (what := accusations(n, f"n{other}"))
    ]
    return {"log": lines[:20], "not_alive": not_alive, "accusations": accused[:20]}


def accusations(asked: int, node: str) -> list[str]:
    """What an agent remembers of suspicions of a member."""
    story = http(asked, f"/v1/agent/why/{node}") or {}
    return [json.dumps(each) for each in story.get("Timeline") or () if "uspect" in str(each)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--bin", default=".venv/bin/svcmesh")
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--dns", type=int, default=50_000, help="queries a second")
    parser.add_argument("--http", type=int, default=5000, help="requests a second")
    parser.add_argument("--seconds", type=int, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flood-") as name:
        folder = Path(name)
        processes = start(options, folder)
        try:
            wait_for_members(options)
            for n in range(20):
                for k in range(3):
                    http(TARGET, "/v1/agent/service/register",
                         {"Name": f"svc{n}", "ID": f"svc{n}-{k}", "Port": 8000 + k})  # fmt: skip
            time.sleep(2)
            print(json.dumps({**flood(options, folder), **blamed(options, folder)}, indent=1))
        finally:
            for process in processes:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
