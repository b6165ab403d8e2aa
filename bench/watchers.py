"""Thousands of blocking queries parked on one agent: who wakes, how soon, and what they cost idle.

    bench/watchers.py --watchers 5000 --names 1

Starts one agent, parks the queries on `/v1/health/service/svcN` over so many names, waits, and then
changes one service: every watcher of that name must get an answer, none of the others. Reports the
delays from just before the registration was sent to when the answer was read, the agent's longest
loop stall, and its processor time and memory while the watchers were parked. The watchers are plain
sockets on one epoll, which read 5,000 answers faster than the agent writes them.
"""

import argparse
import json
import resource
import select
import socket
import statistics
import threading
import time
import urllib.request

from agents import Agent, Program, running, until


class Watcher:
    """One connection with one blocking query on it."""

    def __init__(self, agent: Agent, name: str, index: str) -> None:
        self.name, self.socket = name, socket.create_connection((agent.address, 8500))
        path = f"/v1/health/service/{name}?index={index}&wait=5m"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
        self.socket.setblocking(False)
        self.data = b""
        self.answered_at = 0.0

    @property
    def has_whole_answer(self) -> bool:
        head, _, body = self.data.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        return head.startswith(b"HTTP/1.1 200") and lengths == [len(body)]


class Watchers:
    """All of them, and the epoll that they are read by."""

    def __init__(self, watchers: list[Watcher]) -> None:
        self._by_fd = {watcher.socket.fileno(): watcher for watcher in watchers}
        self._poll = select.epoll()
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)

    def read_for(self, seconds: float) -> None:
        """Take what comes."""
        ends_at = time.monotonic() + seconds
        while (left_s := ends_at - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(left_s, 64):
                watcher = self._by_fd[fd]
                watcher.data += watcher.socket.recv(65536)
                watcher.answered_at = time.monotonic()


def change(
    agent: Agent, everybody: list[Watcher], all_: Watchers, name: str, port: int
) -> dict[str, object]:
    for watcher in everybody:
        watcher.data, watcher.answered_at = b"", 0.0
    changed_at = time.monotonic()
    registering = threading.Thread(target=lambda: agent.register(name, Port=port))
    registering.start()
    all_.read_for(1.0)
    registering.join()
    # Until the metrics' interval of the change is over.
    all_.read_for(10.0)
    asked = [watcher for watcher in everybody if watcher.name == name]
    woken = [watcher for watcher in everybody if watcher.answered_at]
    delays_s = [watcher.answered_at - changed_at for watcher in woken]
    return {
        "asked_for_it": len(asked),
        "answered_of_them": len([w for w in woken if w.name == name and w.has_whole_answer]),
        "answered_of_others": len([w for w in woken if w.name != name]),
        "median_ms": round(1e3 * statistics.median(delays_s), 1) if woken else None,
        "last_ms": round(1e3 * max(delays_s), 1) if woken else None,
        "longest_stall_ms": agent.longest_stall_ms(),
    }


def index_of(agent: Agent, path: str) -> str:
    with urllib.request.urlopen(f"http://{agent.address}:8500{path}") as answer:
        return str(answer.headers["X-Consul-Index"])


def measure(agent: Agent, options: argparse.Namespace) -> dict[str, object]:
    for number in range(options.names):
        agent.register(f"svc{number}")
    before_mb = agent.rss_mb()
    rounds: list[dict[str, object]] = []
    idle: dict[str, float] = {}
    for number in range(options.rounds):
        names = [f"svc{n}" for n in range(options.names)]
        indexes = {name: index_of(agent, f"/v1/health/service/{name}") for name in names}
        everybody = []
        for each in range(options.watchers):
            name = names[each % options.names]
            everybody.append(Watcher(agent, name, indexes[name]))
            if each % 100 == 99:
                # In turns: the agent accepts only so many connections at a time.
                agent.http("/v1/status/leader")
        all_ = Watchers(everybody)
        all_.read_for(2.0)
        if not idle:
            cpu_s, rss_mb = agent.cpu_s(), agent.rss_mb()
            all_.read_for(options.idle)
            idle = {
                "idle_cpu_percent": round(100 * (agent.cpu_s() - cpu_s) / options.idle, 2),
                "kB_per_watcher": round(1024 * (rss_mb - before_mb) / options.watchers, 1),
            }
        # So that only the change's stalls are in that interval, and not those of parking.
        all_.read_for(10.0)
        name = f"svc{number % options.names}"
        rounds.append(change(agent, everybody, all_, name, 81 + number))
        for watcher in everybody:
            watcher.socket.close()
        time.sleep(1)
    return {"watchers": options.watchers, "names": options.names, **idle, "changes": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--bin", default=Program.command)
    parser.add_argument("--watchers", type=int, default=5000)
    parser.add_argument("--names", type=int, default=1)
    parser.add_argument("--idle", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with running(1, Program(options.bin)) as (agent,):
        until(Agent.answers_http, [agent], agent.started_at, 30)
        print(json.dumps(measure(agent, options), indent=1))


if __name__ == "__main__":
    main()
