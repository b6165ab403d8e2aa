"""Kill, stop and cut off servers of the consistent store under load; was any promise broken?

Three servers of a program with Consul's agent flags; clients that write, compare, read and lock:

    bench/raft_chaos.py --bin .venv/bin/svcmesh --seconds 600

Every `--every` seconds one server, mostly the leader, is killed with -9 and started again, stopped
and continued, or cut off from the others while clients still reach it. For cuts each server gets a
network namespace of its own, which needs root; `--faults kill,stop` runs on loopback.

Checked: the history of each key is linearizable, `consistent` and default reads included (that of a
key which is not goes into `--folder`); no acknowledged write is missing at the end; nobody had the
lock beside another, and its index rose; all servers end with the same state. Reported: how soon
after each fault of a leader a write that was asked for after it was acknowledged. That says
something only where a killed server is back before the next fault, not on a machine that is far too
busy. Exit code 1 when anything was broken.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

from raft_clients import CLIENT_LOCK, RAW_LOCK, Client, Hold, Record

from svcmesh.simulate.linearizability import inexplicable_keys

SERVERS = 3
LOCKERS = 3
"""For each of two locks: one by plain requests, one by the client library."""
HUB, LINK, NETWORK = "chaos-hub", "chaos", "10.79.0"
NOBODY = "02:00:00:00:00:79"
STARTING_S_MAX = 60.0
FAULT_S = 2.5


def run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True)


def island(number: int) -> str:
    return f"chaos-{number}"


@contextlib.contextmanager
def islands() -> Iterator[None]:
    """A namespace for each server and one for the clients, on one network."""
    names = [HUB, *(island(number) for number in range(1, SERVERS + 1))]
    try:
        for name in names:
            run(f"ip netns add {name}")
            run(f"ip -n {name} link set lo up")
        run(f"ip -n {HUB} link add bridge type bridge")
        run(f"ip -n {HUB} address add {NETWORK}.254/24 dev bridge")
        run(f"ip -n {HUB} link set bridge up")
        for number in range(1, SERVERS + 1):
            name, port = island(number), f"port{number}"
            run(f"ip link add {LINK} netns {name} type veth peer {port} netns {HUB}")
            run(f"ip -n {name} address add {NETWORK}.{number}/24 dev {LINK}")
            run(f"ip -n {name} link set {LINK} up")
            run(f"ip -n {HUB} link set {port} master bridge up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


class Server:
    """One server, and what can happen to it."""

    def __init__(self, number: int, options: argparse.Namespace, folder: Path) -> None:
        self.number, self._options, self._folder = number, options, folder
        network = NETWORK if options.is_inside else "127.0.0"
        self.address = f"{network}.{number}"
        flags = ["agent", "-server", f"-bootstrap-expect={SERVERS}", "-node", f"s{number}"]
        flags += ["-bind", self.address, "-client", self.address]
        flags += ["-data-dir", str(folder / f"s{number}"), "-retry-interval", "1s"]
        for other in range(1, SERVERS + 1):
            flags += ["-retry-join", f"{network}.{other}"]
        prefix = ["ip", "netns", "exec", island(number)] if options.is_inside else []
        self._command = [*prefix, *shlex.split(options.bin), *flags]
        self.start()

    def start(self) -> None:
        with (self._folder / f"s{self.number}.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)

    def ask(self, path: str, timeout_s: float = 1.0) -> object:
        """The JSON at a path; None without an answer."""
        with contextlib.suppress(OSError, ValueError):
            url = f"http://{self.address}:8500{path}"
            with urllib.request.urlopen(url, timeout=timeout_s) as answer:
                return json.loads(answer.read())
        return None

    def begin(self, fault: str) -> None:
        match fault:
            case "kill":
                self.process.kill()
                self.process.wait()
            case "stop":
                os.kill(self.process.pid, signal.SIGSTOP)
            case _:
                self._cut(is_cut=True)

    def end(self, fault: str) -> None:
        match fault:
            case "kill":
                self.start()
            case "stop":
                os.kill(self.process.pid, signal.SIGCONT)
            case _:
                self._cut(is_cut=False)

    def _cut(self, *, is_cut: bool) -> None:
        """Send what is for other servers, and theirs for us, to nobody's hardware address."""
        for other in range(1, SERVERS + 1):
            if other == self.number:
                continue
            for here, there in ((self.number, other), (other, self.number)):
                verb = "replace" if is_cut else "delete"
                to = f"lladdr {NOBODY} nud permanent" if is_cut else ""
                run(f"ip -n {island(here)} neighbour {verb} {NETWORK}.{there} dev {LINK} {to}")


def leader_of(servers: list[Server]) -> Server | None:
    """Whom most servers take for the leader."""
    named = Counter(str(server.ask("/v1/status/leader") or "") for server in servers)
    named.pop("", None)
    if not named:
        return None
    address = named.most_common(1)[0][0].rpartition(":")[0]
    return next((server for server in servers if server.address == address), None)


async def wait_for_group(servers: list[Server]) -> None:
    """Until all servers vote and agree on the leader."""
    ends_at = time.monotonic() + STARTING_S_MAX
    while time.monotonic() < ends_at:
        await asyncio.sleep(0.2)
        views = [await asyncio.to_thread(s.ask, "/v1/operator/raft/configuration") for s in servers]
        voters = [
            sum(bool(one["Voter"]) for one in view["Servers"]) if isinstance(view, dict) else 0
            for view in views
        ]
        if voters == [SERVERS] * SERVERS:
            return
    raise SystemExit("the servers did not form a group")


async def break_things(
    servers: list[Server], ends_at: float, options: argparse.Namespace
) -> list[tuple[float, str, bool]]:
    """One fault after another; when, which, and whether it was the leader's."""
    rng, done = Random(options.seed), list[tuple[float, str, bool]]()
    kinds = options.faults.split(",")
    next_at = time.monotonic() + options.every / 2
    while next_at + FAULT_S < ends_at and len(done) < options.faults_max:
        await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        next_at += options.every
        leader = await asyncio.to_thread(leader_of, servers)
        victim = leader if leader and rng.random() < options.leader_share else rng.choice(servers)
        fault = kinds[len(done) % len(kinds)]
        await asyncio.to_thread(victim.begin, fault)
        done.append((time.monotonic(), fault, victim is leader))
        await asyncio.sleep(FAULT_S)
        await asyncio.to_thread(victim.end, fault)
    return done


async def final_state(servers: list[Server]) -> list[object]:
    """What each server has by itself, once they agree or have had their time to."""
    states: list[object] = []
    ends_at = time.monotonic() + 20.0
    while time.monotonic() < ends_at:
        states = [await asyncio.to_thread(s.ask, "/v1/kv/?recurse&stale", 10.0) for s in servers]
        if states[0] is not None and all(state == states[0] for state in states):
            break
        await asyncio.sleep(0.5)
    return states


def gaps_s(record: Record, faults: list[tuple[float, str, bool]]) -> dict[str, list[float]]:
    """By kind of fault of a leader: until a write that was asked for afterwards had succeeded."""
    found: dict[str, list[float]] = {}
    for at, fault, is_leader in faults:
        after = [returned for asked, returned in record.written_at if asked > at]
        if is_leader and after:
            found.setdefault(fault, []).append(round(min(after) - at, 2))
    return found


def lock_problems(record: Record) -> list[str]:
    """Times at which two had a lock, and where its index did not rise."""
    found = [f"the lock was lost before its time: {each}" for each in record.stolen]
    for lock in (RAW_LOCK, CLIENT_LOCK):
        holds = sorted((h for h in record.holds if h.lock == lock), key=lambda h: h.begins_at)
        last: Hold | None = None
        for one, other in pairwise(holds):
            last = one if last is None or one.ends_at > last.ends_at else last
            if other.begins_at < last.ends_at:
                found.append(f"{lock}: {last} and {other} at once")
            # Who never learned that it was let go has it still, at the same index.
            may_stay = lock == RAW_LOCK and other.client == one.client
            if other.fence < one.fence + (not may_stay):
                found.append(f"{lock}: the index went from {one} to {other}")
    return found


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    servers = [Server(number, options, folder) for number in range(1, SERVERS + 1)]
    record, clients = Record(), list[Client]()
    try:
        await wait_for_group(servers)
        addresses = [server.address for server in servers]
        clients = [Client(n, addresses, record, options.seed) for n in range(options.clients)]
        probes = [
            Client(options.clients + n, [address], record, options.seed)
            for n, address in enumerate(addresses)
        ]
        ends_at = time.monotonic() + options.seconds
        work = [probe.run_probe(ends_at) for probe in probes]
        work += [client.run_lock(ends_at) for client in clients[:LOCKERS]]
        work += [client.run_client_lock(ends_at) for client in clients[LOCKERS : 2 * LOCKERS]]
        work += [client.run(ends_at, options.pause) for client in clients[2 * LOCKERS :]]
        clients += probes
        faults, *_ = await asyncio.gather(break_things(servers, ends_at, options), *work)
        states = await final_state(servers)
        for key in sorted({operation.key for operation in record.operations}):
            await clients[0].get(key, "consistent")
    finally:
        for client in clients:
            await client.close()
        for server in servers:
            server.process.kill()
            server.process.wait()
    inexplicable = inexplicable_keys(record.operations)
    for key in inexplicable:
        lines = [f"{o}\n" for o in record.operations if o.key == key]
        (folder / f"{key.replace('/', '-')}.history").write_text("".join(lines))
    kept = {row["Key"] for row in states[0]} if isinstance(states[0], list) else set()
    gaps = gaps_s(record, faults)
    together = [gap for some in gaps.values() for gap in some]
    return {
        "broken": {
            "not_linearizable": inexplicable,
            "lost_writes": sorted(key for key, _ in record.acknowledged if key not in kept),
            "locks": lock_problems(record),
            "states_differ": any(state != states[0] for state in states),
        },
        "faults": dict(Counter(f"{kind}{' leader' * led}" for _, kind, led in faults)),
        "operations": len(record.operations) + len(record.acknowledged),
        "requests": dict(sorted(record.outcomes.items())),
        "acknowledged_writes": len(record.written_at),
        "lock_holds": dict(Counter(hold.lock for hold in record.holds)),
        "longest_wait_s": round(record.longest_s, 2),
        "write_gap_s": gaps,
        "write_gap_median_s": round(statistics.median(together), 2) if together else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=16 + 2 * LOCKERS)
    parser.add_argument("--pause", type=float, default=0.04, help="seconds between two requests")
    parser.add_argument("--every", type=float, default=5, help="seconds between two faults")
    parser.add_argument("--faults", default="kill,stop,cut")
    parser.add_argument("--faults-max", type=int, default=1_000_000)
    parser.add_argument("--leader-share", type=float, default=0.7, help="of all faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep logs and data here")
    parser.add_argument("--inside", dest="is_inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "cut" in options.faults.split(",") and not options.is_inside:
        with islands():
            again = ["ip", "netns", "exec", HUB, sys.executable, *sys.argv, "--inside"]
            raise SystemExit(subprocess.run(again, check=False).returncode)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="raft-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = asyncio.run(measure(options, folder))
    print(json.dumps(report, indent=1))
    broken = report["broken"]
    raise SystemExit(isinstance(broken, dict) and any(broken.values()))


if __name__ == "__main__":
    main()
