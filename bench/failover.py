"""Three agents: kill -9 one, five times over, and start it again with the same data directory.

Reported, for each run and as medians: until its service is out of DNS on both others, until both
list it failed, and until its service is back in DNS on both after the restart.
"""

import argparse
import json
import statistics
import time

from agents import Agent, Program, running, until, wait_for_each_other


def last(times: dict[str, float | None]) -> float:
    """When the later of the two agents saw it; infinite when one never did."""
    return max(float("inf") if t is None else t for t in times.values())


def measure(agents: list[Agent], options: argparse.Namespace) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    wait_for_each_other(agents)
    time.sleep(8)
    question = f"web.service.{options.domain}"
    others = [agents[0], agents[2]]
    agents[1].register("web")
    for _ in range(options.runs):
        until(lambda a: a.answers(question) == 1, others, time.monotonic(), 30)
        time.sleep(3)
        agents[1].kill()
        start = time.monotonic()
        out = until(lambda a: a.answers(question) == 0, others, start, 60, 0.02)
        failed = until(lambda a: a.members().get("n1") == 4, others, start, 60, 0.02)
        agents[1] = agents[1].again()
        back = until(lambda a: a.answers(question) == 1, others, agents[1].started_at, 60, 0.02)
        rows.append({"out_of_dns_s": last(out), "failed_s": last(failed), "back_s": last(back)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    Program.add_options(parser)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with running(3, Program(options.bin, options.servers, options.domain)) as agents:
        rows = measure(agents, options)
    medians = {key: round(statistics.median(r[key] for r in rows), 2) for key in rows[0]}
    shown = [{key: round(value, 2) for key, value in row.items()} for row in rows]
    print(json.dumps({"bin": options.bin, "median": medians, "runs": shown}, indent=1))


if __name__ == "__main__":
    main()
