"""A storm of registrations on one of ten agents: do all others follow, and is anybody suspected?

    bench/registrations.py --rate 1000 --seconds 60

Registers `rate` services a second over HTTP with one agent, each on disk before it is acknowledged.
After the last one it waits until every agent shows the last service and the same number of
services, and reports how long that took after the last acknowledgement, and every suspicion that an
agent counted or logged meanwhile. It also has a local view of how late the loops were: the slowest
answer of `/v1/agent/self` of every agent during the storm.
"""

import argparse
import asyncio
import json
import statistics
import time
from typing import Any

import aiohttp
from agents import Agent, Program, running, wait_for_each_other


class Pool:
    def __init__(self, session: aiohttp.ClientSession, agents: list[Agent]) -> None:
        self._session, self.agents = session, agents

    async def get(self, agent: Agent, path: str) -> Any:  # noqa: ANN401 -- whatever JSON says
        async with self._session.get(f"http://{agent.address}:8500{path}") as answer:
            return await answer.json(content_type=None)

    async def register(self, number: int) -> None:
        body = {"Name": f"svc{number % 100}", "ID": f"svc-{number}", "Port": 1 + number % 60_000}
        url = f"http://{self.agents[0].address}:8500/v1/agent/service/register"
        async with self._session.put(url, json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def settled(self, wanted: int) -> float | None:
        """Seconds until every agent shows all instances; None when it takes over a minute."""
        began_at = time.monotonic()
        left = list(self.agents)
        while left and time.monotonic() - began_at < 60:
            for agent in list(left):
                if await self.instances(agent) >= wanted:
                    left.remove(agent)
        return None if left else time.monotonic() - began_at

    async def instances(self, agent: Agent) -> int:
        """Instances this agent shows, of the last few service names only: a full count stalls."""
        rows = await self.get(agent, "/v1/catalog/service/svc99")
        return len(rows)

    async def watch_latency(self, slowest_s: dict[str, float]) -> None:
        while True:
            for agent in self.agents[1:]:
                asked_at = time.monotonic()
                await self.get(agent, "/v1/status/leader")
                took_s = time.monotonic() - asked_at
                slowest_s[agent.name] = max(slowest_s.get(agent.name, 0), took_s)
            await asyncio.sleep(0.1)


async def storm(pool: Pool, options: argparse.Namespace) -> list[float]:
    """Register at the wanted rate; the latencies of the acknowledgements."""
    latencies_s: list[float] = []
    total = options.rate * options.seconds
    began_at = time.monotonic()
    waiting: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        asked_at = time.monotonic()
        await pool.register(number)
        latencies_s.append(time.monotonic() - asked_at)

    for number in range(total):
        if (wait_s := began_at + number / options.rate - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        task = asyncio.create_task(one(number))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        if len(waiting) > 512:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*waiting)
    return latencies_s


async def measure(agents: list[Agent], options: argparse.Namespace) -> dict[str, object]:
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:
        pool = Pool(session, agents)
        slowest_s: dict[str, float] = {}
        watching = asyncio.create_task(pool.watch_latency(slowest_s))
        began_at, own_cpu_s = time.monotonic(), time.process_time()
        cpu_s = {agent.name: agent.cpu_s() for agent in agents}
        latencies_s = sorted(await storm(pool, options))
        took_s, own_cpu_s = time.monotonic() - began_at, time.process_time() - own_cpu_s
        converged_s = await pool.settled(options.rate * options.seconds // 100)
        watching.cancel()
    count = len(latencies_s)
    costs_us = [1e6 * (agent.cpu_s() - cpu_s[agent.name]) / count for agent in agents]
    return {
        "registrations": count,
        "per_s": round(count / took_s),
        "acknowledged_ms": {
            "median": round(1e3 * statistics.median(latencies_s), 1),
            "p99": round(1e3 * latencies_s[int(count * 0.99)], 1),
        },
        "processor_us_per_registration": {
            "its_agent": round(costs_us[0]),
            "another_agent": round(statistics.median(costs_us[1:])),
            "this_program": round(1e6 * own_cpu_s / count),
        },
        "all_agents_converged_after_last_s": converged_s and round(converged_s, 3),
        "slowest_answer_of_another_agent_ms": round(1e3 * max(slowest_s.values(), default=0), 1),
        "suspicions": [line for agent in agents for line in agent.suspicions()][:20],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    Program.add_options(parser)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    program = Program(options.bin, options.servers, options.domain)
    with running(options.agents, program) as agents:
        wait_for_each_other(agents)
        print(json.dumps(asyncio.run(measure(agents, options)), indent=1))


if __name__ == "__main__":
    main()
