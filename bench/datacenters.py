"""Two data centers on a slow link: what is asked across, a cut, and servers that are killed.

    bench/datacenters.py                      # all of it, about five minutes; needs root
    bench/datacenters.py --tls --parts reads

Parts, with what is expected of them:

- `dns`: `NAME.service.dc2` asked of a client in dc1, each name for the first time: within 1.2 round
  trips. A prepared query whose instances turn critical in dc1 answers those of dc2 within 1 s.
- `cut`: the link is cut for `--cut` seconds: dc1's own DNS is no slower than 1.5 times its usual
  99th percentile, and names of dc2 that are new here are answered within 30 s of its return.
- `reads`: `--reads` reads of catalog and keys of dc2 while one server after another is killed with
  -9 and started again: no errors. Meanwhile writes, each of which makes a key: one that returned
  success is there once, one that failed never, one whose outcome is unknown at most once.

Exit code 1 when anything was not as expected.
"""

import argparse
import base64
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from two_dcs import Agent, TwoDataCenters, until

FRESH_NAMES = 40
DNS_EVERY_S = 0.005
READERS, WRITERS = 16, 4
DEAD_S = 3.0
UNKNOWN_WORDS = ("may have happened", "may still happen", "unknown")

Result = dict[str, Any]


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def spread(values: list[float]) -> Result:
    return {
        "median": round(statistics.median(values), 3),
        "p90": round(quantile(values, 0.9), 3),
        "largest": round(max(values), 3),
    }


def connecting_s(address: str) -> float:
    """What a connection takes: a round trip of two kernels."""
    began_at = time.perf_counter()
    with socket.create_connection((address, 8500), timeout=5.0):
        return time.perf_counter() - began_at


def register(agent: Agent, name: str, address: str) -> None:
    body = {"Name": name, "ID": name, "Port": 80, "Address": address}
    agent.http("/v1/agent/service/register", "PUT", body)


def measure_dns(dcs: TwoDataCenters) -> Result:
    here, there = dcs.dcs
    asked, other = here.clients[0], there.clients[0]
    names = [f"fresh{number}" for number in range(FRESH_NAMES)]
    for name in names:
        register(other, name, "10.9.2.2")
    time.sleep(1.0)
    took, link = [], []
    for name in names:
        answer = asked.dig(f"{name}.service.dc2.svcmesh")
        assert answer.addresses == ("10.9.2.2",), answer
        took.append(answer.took_s / dcs.rtt_s)
        link.append(connecting_s(other.address) / dcs.rtt_s)
        time.sleep(0.1)
    kept = asked.dig(f"{names[-1]}.service.dc2.svcmesh").took_s
    limit = 1.2
    return {
        "uncached_in_round_trips": spread(took),
        "link_alone_in_round_trips": spread(link),
        "kept_ms": round(kept * 1000, 2),
        "failover_s": round(measure_failover(dcs), 3),
        # What the link itself is late, on a busy machine, is not ours.
        "is_good": all(
            quantile(took, share) <= limit * max(1.0, quantile(link, share)) for share in (0.5, 0.9)
        ),
    }


def measure_failover(dcs: TwoDataCenters) -> float:
    here, there = dcs.dcs
    asked = here.clients[0]
    register(here.clients[1], "pay", "10.9.1.1")
    register(there.clients[0], "pay", "10.9.2.2")
    query = {"Name": "pay", "Service": {"Service": "pay", "Failover": {"NearestN": 1}}}
    asked.http("/v1/query", "POST", query)
    name = "pay.query.svcmesh"
    until(lambda: asked.dig(name).addresses == ("10.9.1.1",), 10.0, "the query answers dc1")
    here.clients[1].http("/v1/agent/service/maintenance/pay?enable=true", "PUT")
    return until(
        lambda: asked.dig(name).addresses == ("10.9.2.2",), 10.0, "it fails over", every_s=0.005
    )


def dns_times(asked: Agent, name: str, seconds: float) -> tuple[list[float], int]:
    """How long each query took at a steady rate, and how many had no good answer."""
    took, failed, ends_at = [], 0, time.monotonic() + seconds
    while time.monotonic() < ends_at:
        try:
            answer = asked.dig(name, timeout_s=2.0)
            took.append(answer.took_s)
            failed += answer.rcode != 0
        except OSError:
            failed += 1
        time.sleep(DNS_EVERY_S)
    return took, failed


def measure_cut(dcs: TwoDataCenters, seconds: float) -> Result:
    here, there = dcs.dcs
    asked = here.clients[0]
    register(here.clients[1], "local", "10.9.1.1")
    register(there.clients[1], "remote", "10.9.2.2")
    register(there.clients[1], "later", "10.9.2.3")
    time.sleep(1.0)
    assert asked.dig("remote.service.dc2.svcmesh").addresses
    counted: Counter[str] = Counter()
    stopped = threading.Event()

    def ask_across() -> None:
        """What goes on besides: names of the other data center, those that are known and others."""
        while not stopped.wait(0.05):
            for name in ("remote", f"unknown{random.randrange(1000)}"):
                try:
                    answer = asked.dig(f"{name}.service.dc2.svcmesh", timeout_s=4.0)
                    counted[f"{name[:7]} rcode {answer.rcode}"] += 1
                except OSError:
                    counted[f"{name[:7]} silent"] += 1

    across = threading.Thread(target=ask_across)
    across.start()
    usual, _ = dns_times(asked, "local.service.svcmesh", min(seconds, 30.0))
    dcs.cut()
    counted.clear()
    during, failed = dns_times(asked, "local.service.svcmesh", seconds)
    stopped.set()
    across.join()
    dcs.mend()
    healed_s = until(
        lambda: asked.dig("later.service.dc2.svcmesh", 1.0).addresses == ("10.9.2.3",),
        120.0, "a new name of dc2 is answered", every_s=0.1,
    )  # fmt: skip
    ratio = quantile(during, 0.99) / quantile(usual, 0.99)
    return {
        "cut_s": seconds,
        "own_dns_p99_ms": {
            "before": round(quantile(usual, 0.99) * 1000, 3),
            "during": round(quantile(during, 0.99) * 1000, 3),
            "ratio": round(ratio, 2),
        },
        "own_dns_failed": failed,
        "other_dns_during": dict(sorted(counted.items())),
        "healed_s": round(healed_s, 2),
        "is_good": ratio <= 1.5 and failed == 0 and healed_s <= 30,
    }


class Load:
    """Reads and writes of dc2 by way of the clients of dc1."""

    def __init__(self, dcs: TwoDataCenters, reads: int) -> None:
        here, there = dcs.dcs
        self._clients, self._there = here.clients, there
        self._left = reads
        self._lock = threading.Lock()
        self.errors: list[str] = []
        self.took: list[float] = []
        self.succeeded: list[str] = []
        self.refused: list[str] = []
        self.unknown: list[str] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        with ThreadPoolExecutor(READERS + WRITERS) as workers:
            readers = [workers.submit(self._read, number) for number in range(READERS)]
            writers = [workers.submit(self._write, number) for number in range(WRITERS)]
            for reader in readers:
                reader.result()
            self.is_over.set()
            for writer in writers:
                writer.result()

    def _read(self, number: int) -> None:
        client = self._clients[number % len(self._clients)]
        paths = ("/v1/health/service/steady?passing&dc=dc2", "/v1/kv/steady?dc=dc2")
        while True:
            with self._lock:
                if self._left <= 0:
                    return
                self._left -= 1
                path = paths[self._left % 2]
            began_at = time.perf_counter()
            try:
                found = client.http(path, timeout_s=30.0)
                if not found:
                    self.errors.append(f"{path}: empty")
            except OSError as error:
                self.errors.append(f"{path}: {words_of(error)}")
            self.took.append(time.perf_counter() - began_at)

    def _write(self, number: int) -> None:
        client = self._clients[number % len(self._clients)]
        while not self.is_over.is_set():
            written = str(uuid4())
            path = "/v1/kv/log/?sequence&dc=dc2"
            try:
                client.http(path, "PUT", written.encode(), timeout_s=30.0)
                self.succeeded.append(written)
            except OSError as error:
                text = words_of(error)
                is_unknown = any(word in text for word in UNKNOWN_WORDS)
                (self.unknown if is_unknown else self.refused).append(written)
            time.sleep(0.02)


def words_of(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return error.read().decode("utf-8", "replace")
    return str(error)


def measure_reads(dcs: TwoDataCenters, reads: int) -> Result:
    here, there = dcs.dcs
    register(there.clients[0], "steady", "10.9.2.2")
    here.clients[0].http("/v1/kv/steady?dc=dc2", "PUT", b"1")
    load = Load(dcs, reads)
    kills: list[str] = []

    def kill_servers() -> None:
        servers = [*there.servers, *here.servers]
        random.shuffle(servers)
        while not load.is_over.is_set():
            for victim in servers:
                if load.is_over.wait(1.0):
                    return
                victim.kill()
                kills.append(victim.name)
                load.is_over.wait(DEAD_S)
                victim.start()
                until(lambda s=victim: bool(s.http("/v1/status/leader")), 60.0, "it is back")  # type: ignore[misc]  # a default has no type
                # Its data center is whole again before the next one dies.
                until(lambda: _are_well(dcs), 60.0, "all servers are alive")

    killer = threading.Thread(target=kill_servers)
    killer.start()
    load.run()
    killer.join()
    until(lambda: bool(there.servers[0].http("/v1/status/leader")), 30.0, "dc2 has a leader")
    entries = there.clients[0].http("/v1/kv/log/?recurse") or []
    times = Counter(_value(entry) for entry in entries)
    lost = [one for one in load.succeeded if times[one] != 1]
    ghosts = [one for one in load.refused if times[one] != 0]
    doubled = [one for one, count in times.items() if count > 1]
    return {
        "reads": len(load.took),
        "errors": len(load.errors),
        "first_errors": load.errors[:3],
        "read_ms": {
            "median": round(statistics.median(load.took) * 1000, 1),
            "p99": round(quantile(load.took, 0.99) * 1000, 1),
            "largest": round(max(load.took) * 1000, 1),
        },
        "killed": kills,
        "writes": {
            "succeeded": len(load.succeeded),
            "said not to have happened": len(load.refused),
            "said to be unknown": len(load.unknown),
            "of those there": sum(times[one] for one in load.unknown),
            "succeeded but not there once": len(lost),
            "refused but there": len(ghosts),
            "there twice": len(doubled),
        },
        "is_good": not (load.errors or lost or ghosts or doubled) and len(kills) > 0,
    }


def _are_well(dcs: TwoDataCenters) -> bool:
    return all(
        member["Status"] == 1
        for dc in dcs.dcs
        for member in dc.clients[0].http("/v1/agent/members")
    )


def _value(entry: dict[str, Any]) -> str:
    return base64.b64decode(entry["Value"] or "").decode()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bin", default=".venv/bin/svcmesh")
    parser.add_argument("--rtt", type=float, default=60.0, help="milliseconds of a round trip")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--parts", default="dns,cut,reads")
    parser.add_argument("--cut", type=float, default=120.0, help="seconds")
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--prefix", default="dcs", help="of the names of network namespaces")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(options.inside or tempfile.mkdtemp(prefix="datacenters-"))
    program = str(Path(options.bin).absolute())
    dcs = TwoDataCenters(
        program, folder, prefix=options.prefix, rtt_ms=options.rtt, tls=options.tls
    )
    if not options.inside:
        with dcs.networks():
            # Measured from inside dc1: its agents are asked without a detour.
            again = [sys.executable, *sys.argv, "--inside", str(folder)]
            code = subprocess.call(["ip", "netns", "exec", dcs.dcs[0].namespace, *again])
        sys.exit(code)
    parts: dict[str, Callable[[], Result]] = {
        "dns": lambda: measure_dns(dcs),
        "reads": lambda: measure_reads(dcs, options.reads),
        "cut": lambda: measure_cut(dcs, options.cut),
    }
    results: Result = {"tls": options.tls, "rtt_ms": options.rtt, "logs": str(folder)}
    try:
        dcs.start()
        for part in options.parts.split(","):
            results[part] = parts[part]()
            print(json.dumps({part: results[part]}, indent=1), flush=True)
    finally:
        dcs.stop()
    is_good = all(results[part]["is_good"] for part in options.parts.split(","))
    print(f"as expected: {is_good}; logs in {folder}")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
