"""Crashes, stops and quick restarts of real agents: who is taken for dead, and how soon.

    bench/crash.py --bin .venv/bin/svcmesh --agents 20

Three things are done to one agent at a time while all others are asked, by API and DNS: it is
killed; it is stopped (SIGSTOP), which must not be found sooner than silence is; it is killed and
started again at once, and its service must stay in every answer if it is back within 1.5 seconds.
"""

import argparse
import json
import signal
import tempfile
import time
from pathlib import Path

from cluster import Agent, Times, spread, until

ALIVE, FAILED = 1, 4
SETTLING_S = 40.0
"""Long enough for everybody to have probed everybody once."""


def failed(victim: Agent, others: list[Agent], since: float) -> Times:
    return until(lambda a: a.members().get(victim.name) == FAILED, others, since, 60, 0.05)


def restarted(victim: Agent, options: argparse.Namespace, folder: Path) -> Agent:
    victim.process.kill()
    victim.process.wait()
    return Agent(victim.number, options, folder)


def quick_restart(
    victim: Agent, others: list[Agent], options: argparse.Namespace, folder: Path
) -> tuple[Agent, dict[str, object]]:
    """Kill and start again; how long it was away, and who had no answer meanwhile or thereafter."""
    question = f"kept.service.{options.domain}"
    victim.http("/v1/agent/service/register", "PUT", {"Name": "kept", "Port": 80})
    until(lambda a: a.answers(question) == 1, others, time.monotonic(), 30)
    start = time.monotonic()
    again = restarted(victim, options, folder)
    back_s, without = None, set[str]()
    while time.monotonic() - start < 8.0:
        if back_s is None and again.answers_http():
            back_s = round(time.monotonic() - start, 2)
        without |= {agent.name for agent in others if agent.answers(question) != 1}
    again.http("/v1/agent/service/deregister/kept", "PUT")
    return again, {"back_after_s": back_s, "agents_without_an_answer": len(without)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--stops", type=int, default=2)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--domain", default="consul")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    agents: list[Agent] = []
    result: dict[str, object] = {"bin": options.bin, "agents": options.agents}
    try:
        agents.append(Agent(0, options, folder))
        time.sleep(2)
        agents += [Agent(n, options, folder) for n in range(1, options.agents)]
        everybody = options.agents
        until(lambda a: len(a.members()) == everybody, agents, agents[0].started_at, 120, 0.2)
        time.sleep(SETTLING_S)
        runs = []
        for place in range(1, 1 + options.restarts):
            others = [agent for agent in agents if agent is not agents[place]]
            agents[place], run = quick_restart(agents[place], others, options, folder)
            runs.append(run)
            time.sleep(5)
        result["quick_restarts"] = runs
        stopped = []
        for victim in agents[6 : 6 + options.stops]:
            others = [agent for agent in agents if agent is not victim]
            start = time.monotonic()
            victim.process.send_signal(signal.SIGSTOP)
            stopped.append(failed(victim, others, start))
            victim.process.send_signal(signal.SIGCONT)
            until(lambda a, v=victim: a.members().get(v.name) == ALIVE, others, start, 60, 0.2)  # type: ignore[misc]
            time.sleep(5)
        result["stopped_is_failed"] = spread(stopped)
        killed = []
        for victim in agents[8 : 8 + options.kills]:
            others = [a for a in agents if a is not victim and a.process.poll() is None]
            start = time.monotonic()
            victim.process.kill()
            victim.process.wait()
            killed.append(failed(victim, others, start))
        result["killed_is_failed"] = spread(killed)
        print(json.dumps({**result, "logs": str(folder)}, indent=1))
    finally:
        for agent in agents:
            agent.process.kill()
            agent.process.wait()


if __name__ == "__main__":
    main()
