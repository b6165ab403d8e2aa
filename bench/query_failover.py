"""Two data centers with a slow link between them: how soon does a prepared query fail over?

Each has a server and a client agent in a network namespace of its own; `slow_link.py` joins them
(needs root). The instances of the first turn critical; its client is asked by HTTP and by
DNS, again and again, until it answers with the other's. Then they come back.

    bench/query_failover.py --bin .venv/bin/svcmesh --delay 60 --runs 5

Reported: seconds until either side was answered with, and what an answer by way of the link takes.
"""

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NETWORK = "10.78"
STARTING_S_MAX = 60.0

ASKER = """
import json, socket, struct, sys, time, urllib.request
host, wanted, limit_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
name = b"".join(bytes((len(l),)) + l for l in b"web.query.consul".split(b".")) + b"\\0"
packet = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.connect((host, 8600))
address = bytes(map(int, wanted.split(".")))
url = f"http://{host}:8500/v1/query/web/execute"
start = time.monotonic()
found, slowest = {}, 0.0
while len(found) < 2 and time.monotonic() - start < limit_s:
    asked = time.monotonic()
    sock.send(packet)
    if address in sock.recv(4096):
        found.setdefault("dns_s", time.monotonic() - start)
    slowest = max(slowest, time.monotonic() - asked)
    nodes = json.load(urllib.request.urlopen(url, timeout=5))["Nodes"]
    if [n["Node"]["Address"] for n in nodes] == [wanted]:
        found.setdefault("http_s", time.monotonic() - start)
    time.sleep(0.002)
print(json.dumps({**found, "slowest_dns_ms": slowest * 1000}))
"""


def run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True)


@contextlib.contextmanager
def two_islands(prefix: str, delay_ms: float) -> Iterator[list[str]]:
    """Two namespaces with two addresses each, and a wire of half the round trip between them."""
    wire = f"{prefix}-w"
    names, ends = [f"{prefix}-1", f"{prefix}-2"], ["left", "right"]
    link: subprocess.Popen[bytes] | None = None
    try:
        for name in (*names, wire):
            run(f"ip netns add {name}")
            run(f"ip -n {name} link set lo up")
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            run(f"ip link add eth0 netns {name} type veth peer {end} netns {wire}")
            for host in (1, 2):
                run(f"ip -n {name} address add {NETWORK}.{number}.{host}/16 dev eth0")
            run(f"ip -n {name} link set eth0 up")
            run(f"ip -n {wire} link set {end} up promisc on")
        script = Path(__file__).with_name("slow_link.py")
        command = f"ip netns exec {wire} {sys.executable} {script} --delay {delay_ms / 2}"
        link = subprocess.Popen([*shlex.split(command), *ends])
        yield names
    finally:
        if link is not None:
            link.kill()
            link.wait()
        for name in (*names, wire):
            subprocess.run(["ip", "netns", "delete", name], check=False)


class Agent:
    """One agent: a data center's server is its first, the client its second."""

    def __init__(self, dc: int, host: int, island: str, command: str, folder: Path) -> None:
        self.island, self.address = island, f"{NETWORK}.{dc}.{host}"
        words = [
            *shlex.split(command), "agent", "-node", f"n{dc}{host}", "-datacenter", f"dc{dc}",
            "-bind", self.address, "-client", self.address,
            "-data-dir", str(folder / f"n{dc}{host}"),
        ]  # fmt: skip
        if host == 1:
            words += ["-server", "-bootstrap-expect=1", "-retry-join-wan", f"{NETWORK}.1.1"]
        else:
            words += ["-retry-join", f"{NETWORK}.{dc}.1"]
        with (folder / f"n{dc}{host}.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", island, *words], stdout=log, stderr=subprocess.STDOUT
            )

    def http(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  # JSON
        words = ["curl", "-s", "-m", "5", "-X", method, f"http://{self.address}:8500{path}"]
        words += [] if body is None else ["-d", json.dumps(body)]
        answer = self.inside(*words)
        try:
            return json.loads(answer)
        except ValueError:
            return None

    def inside(self, *words: str) -> str:
        command = ["ip", "netns", "exec", self.island, *words]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout

    def until_answered_with(self, wanted: str, limit_s: float) -> dict[str, float]:
        found: dict[str, float] = json.loads(
            self.inside("python3", "-c", ASKER, self.address, wanted, str(limit_s))
        )
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--delay", type=float, default=60.0, help="of a round trip, milliseconds")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--prefix", default=f"qf{os.getpid()}", help="of the namespaces")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="query-failover-"))
    agents: list[Agent] = []
    runs: list[dict[str, float]] = []
    try:
        with two_islands(options.prefix, options.delay) as islands:
            for dc, island in enumerate(islands, 1):
                agents += [Agent(dc, host, island, options.bin, folder) for host in (1, 2)]
            here, client, there, _ = agents
            deadline = time.monotonic() + STARTING_S_MAX
            while client.http("GET", "/v1/catalog/datacenters") != ["dc1", "dc2"]:
                assert time.monotonic() < deadline, f"not joined; logs in {folder}"
                time.sleep(0.5)
            check = {"CheckID": "web", "TTL": "1h", "Status": "passing"}
            here.http("PUT", "/v1/agent/service/register", {"Name": "web", "Check": check})
            there.http("PUT", "/v1/agent/service/register", {"Name": "web"})
            failover = {"Service": "web", "Failover": {"NearestN": 1}}
            client.http("POST", "/v1/query", {"Name": "web", "Service": failover})
            for _ in range(options.runs):
                client.until_answered_with(here.address, 30)
                here.http("PUT", "/v1/agent/check/fail/web")
                over = client.until_answered_with(there.address, 30)
                time.sleep(2)
                here.http("PUT", "/v1/agent/check/pass/web")
                back = client.until_answered_with(here.address, 30)
                runs.append(
                    {f"over_{k}": v for k, v in over.items()}
                    | {f"back_{k}": v for k, v in back.items()}
                )
    finally:
        for agent in agents:
            agent.end()
    shown = [{key: round(value, 3) for key, value in row.items()} for row in runs]
    medians = {key: round(statistics.median(row[key] for row in runs), 3) for key in runs[0]}
    print(json.dumps({"delay_ms": options.delay, "median": medians, "runs": shown}, indent=1))


if __name__ == "__main__":
    main()
