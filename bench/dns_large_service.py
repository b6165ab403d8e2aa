"""Does a service with very many instances cost more to answer than one with three?

Starts an agent, registers both services, and asks for them in turn with dnsperf: queries a second,
CPU time of the agent for each, and the longest that an HTTP request took meanwhile. On a machine
that does other things too, the ratio of CPU time is the one to look at. Needs dnsperf.
"""

import argparse
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ADDRESS = "127.0.30.20"


def put(connection: http.client.HTTPConnection, path: str, body: object) -> None:
    connection.request("PUT", path, json.dumps(body))
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status


def register(count: int) -> None:
    connection = http.client.HTTPConnection(ADDRESS, 8500, timeout=30)
    for service, instances in (("small", 3), ("large", count)):
        for number in range(instances):
            node = {
                "Node": f"{service}{number >> 3}",
                "Address": f"10.1.{number >> 11}.{number >> 3 & 255}",
            }
            port = {"ID": f"{service}-{number}", "Service": service, "Port": 1024 + number,
                    "Address": f"10.2.{number >> 8}.{number & 255}"}  # fmt: skip
            put(connection, "/v1/catalog/register", {**node, "Service": port})
    connection.close()


def wait_until_up() -> None:
    for _ in range(300):
        try:
            socket.create_connection((ADDRESS, 8500)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the agent does not listen")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Prober:
    """Asks for a small HTTP answer again and again, and keeps the longest wait."""

    def __init__(self) -> None:
        self.longest_s, self._ends = 0.0, False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(ADDRESS, 8500, timeout=30)
        while not self._ends:
            began_at = time.monotonic()
            connection.request("GET", "/v1/status/leader")
            connection.getresponse().read()
            self.longest_s = max(self.longest_s, time.monotonic() - began_at)
            time.sleep(0.02)

    def end(self) -> float:
        self._ends = True
        self._thread.join()
        return self.longest_s


def load(pid: int, service: str, type_: str, seconds: int, extra: list[str]) -> tuple[float, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
        names.write(f"{service}.service.consul {type_}\n")
        names.flush()
        command = ["dnsperf", "-s", ADDRESS, "-p", "8600", "-d", names.name, "-c", "8",
                   "-l", str(seconds), "-Q", "900000", *extra]  # fmt: skip
        before = cpu_s(pid)
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    completed = int(re.search(r"Queries completed:\s+(\d+)", output)[1])
    rate = float(re.search(r"Queries per second:\s+([\d.]+)", output)[1])
    return rate, (cpu_s(pid) - before) / completed * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    program = str(Path(sys.executable).with_name("svcmesh"))
    agent = subprocess.Popen(
        [program, "agent", "-dev", "-bind", ADDRESS, "-client", ADDRESS, "-node", "bench"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until_up()
        began_at = time.monotonic()
        register(options.instances)
        print(f"{options.instances} instances registered in {time.monotonic() - began_at:.1f} s")
        for title, type_, extra in (("A", "A", []), ("SRV", "SRV", []), ("A, EDNS", "A", ["-e"])):
            found: dict[str, list[tuple[float, float]]] = {"small": [], "large": []}
            prober = Prober()
            for _ in range(options.rounds):
                for service, results in found.items():
                    results.append(load(agent.pid, service, type_, options.seconds, extra))
            longest_s = prober.end()
            small, large = (
                [statistics.median(column) for column in zip(*found[service], strict=True)]
                for service in ("small", "large")
            )
            print(
                f"{title:13} 3 instances: {small[0]:7.0f}/s {small[1]:6.1f} us CPU   "
                f"{options.instances}: {large[0]:7.0f}/s {large[1]:6.1f} us CPU   "
                f"ratio {large[0] / small[0]:.2f}, of CPU {small[1] / large[1]:.2f}   "
                f"longest HTTP request {longest_s * 1e3:.0f} ms"
            )
    finally:
        agent.kill()
        agent.wait()


main()
