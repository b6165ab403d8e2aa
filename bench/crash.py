"""Crashes, stops and quick restarts of real agents: who is taken for dead, and how soon.

    bench/crash.py --bin .venv/bin/svcmesh --agents 20

Three things are done to one agent at a time while all others are asked, by API and DNS: it is
killed; it is stopped (SIGSTOP), which must not be found sooner than silence is; it is killed and
started again at once, and its service must stay in every answer if it is back within 1.5 seconds.
"""

import argparse
import json
import signal
import time

from agents import Agent, Program, Times, running, spread, until, wait_for_each_other

ALIVE, FAILED = 1, 4
SETTLING_S = 40.0
"""Long enough for everybody to have probed everybody once."""


def failed(victim: Agent, others: list[Agent], since: float) -> Times:
    return until(lambda a: a.members().get(victim.name) == FAILED, others, since, 60, 0.05)


def quick_restart(
    victim: Agent, others: list[Agent], domain: str
) -> tuple[Agent, dict[str, object]]:
    """Kill and start again; how long it was away, and who had no answer meanwhile or thereafter."""
    question = f"kept.service.{domain}"
    victim.register("kept")
    until(lambda a: a.answers(question) == 1, others, time.monotonic(), 30)
    start = time.monotonic()
    victim.kill()
    again = victim.again()
    back_s, without = None, set[str]()
    while time.monotonic() - start < 8.0:
        if back_s is None and again.answers_http():
            back_s = round(time.monotonic() - start, 2)
        without |= {agent.name for agent in others if agent.answers(question) != 1}
    again.http("/v1/agent/service/deregister/kept", "PUT")
    return again, {"back_after_s": back_s, "agents_without_an_answer": len(without)}


def measure(agents: list[Agent], options: argparse.Namespace) -> dict[str, object]:
    """All three, in turn; `agents` has the restarted ones in place of the old afterwards."""
    wait_for_each_other(agents)
    time.sleep(SETTLING_S)
    runs = []
    for place in range(1, 1 + options.restarts):
        others = [agent for agent in agents if agent is not agents[place]]
        agents[place], run = quick_restart(agents[place], others, options.domain)
        runs.append(run)
        time.sleep(5)
    stopped = []
    for victim in agents[6 : 6 + options.stops]:
        others = [agent for agent in agents if agent is not victim]
        start = time.monotonic()
        victim.process.send_signal(signal.SIGSTOP)
        stopped.append(failed(victim, others, start))
        victim.process.send_signal(signal.SIGCONT)
        until(lambda a, v=victim: a.members().get(v.name) == ALIVE, others, start, 60, 0.2)  # type: ignore[misc]  # a default has no type
        time.sleep(5)
    killed = []
    for victim in agents[8 : 8 + options.kills]:
        others = [a for a in agents if a is not victim and a.process.poll() is None]
        start = time.monotonic()
        victim.kill()
        killed.append(failed(victim, others, start))
    return {
        "quick_restarts": runs,
        "stopped_is_failed": spread(stopped),
        "killed_is_failed": spread(killed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    Program.add_options(parser)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--stops", type=int, default=2)
    parser.add_argument("--restarts", type=int, default=5)
    options = parser.parse_args()
    program = Program(options.bin, options.servers, options.domain)
    with running(options.agents, program) as agents:
        found = measure(agents, options)
    print(json.dumps({"bin": options.bin, "agents": options.agents, **found}, indent=1))


if __name__ == "__main__":
    main()
