"""Run N agents of one program on 127.0.0.2 and up, and measure how the cluster behaves.

The program takes Consul's agent flags, so a real Consul can be measured in the same way:

    bench/cluster.py --bin .venv/bin/svcmesh --agents 10
    bench/cluster.py --bin consul --agents 10
"""

import argparse
import json
import random
import statistics
import threading
import time
from pathlib import Path

from agents import Agent, Program, Times, running, spread, until, wait_for_each_other


def loopback_bytes() -> int:
    return int(Path("/proc/net/dev").read_text().partition("lo:")[2].split()[0])


def measure(agents: list[Agent], options: argparse.Namespace) -> dict[str, object]:
    result: dict[str, object] = {}
    count, domain = options.agents, options.domain
    result["converged"] = spread([wait_for_each_other(agents)])
    time.sleep(5)
    visible, gone = [], []
    for run in range(options.registrations):
        agent = random.choice(agents)
        name = f"svc{run}"
        start = time.monotonic()
        agent.register(name)
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
        victim.register(f"victim{run}")
        until(lambda a, q=question: a.answers(q) == 1, rest, time.monotonic(), 30)  # type: ignore[misc]
        start = time.monotonic()
        victim.kill()
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
    Program.add_options(parser)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--registrations", type=int, default=5)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds")
    options = parser.parse_args()
    program = Program(options.bin, options.servers, options.domain)
    with running(options.agents, program) as agents:
        found = measure(agents, options)
    print(json.dumps({"bin": options.bin, "agents": options.agents, **found}, indent=1))


if __name__ == "__main__":
    main()
