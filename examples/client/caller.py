"""Calls `hello` once a second, each time an instance that the client picks.

    python examples/client/caller.py

Start and stop some of `service.py` meanwhile, or the agent: calls go on with what is known.
"""

import argparse
import asyncio
from pathlib import Path

import aiohttp

from svcmesh.client import (
    AsyncClient,
    ClientConfig,
    Instance,
    LeastPending,
    NoInstanceError,
    Picker,
)

TRIES = 3


async def call(session: aiohttp.ClientSession, picker: Picker) -> str:
    """Ask one instance, and another one when it fails."""
    tried: list[Instance] = []
    for _ in range(TRIES):
        try:
            with picker.use(avoid=tried) as endpoint:
                tried.append(endpoint)
                async with session.get(endpoint.url("/")) as answer:
                    answer.raise_for_status()
                    return await answer.text()
        except NoInstanceError:
            return "no instance is known"
        except (aiohttp.ClientError, TimeoutError) as error:
            print(f"  {tried[-1].authority}: {error}")
    return "nobody answered"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", help="address of the agent's HTTP API; default 127.0.0.1:8500")
    parser.add_argument("--cache", type=Path, help="folder to keep what is known in")
    parser.add_argument("--calls", type=int, default=10**9)
    options = parser.parse_args()
    config = ClientConfig(cache_dir=options.cache)
    timeout = aiohttp.ClientTimeout(total=2)
    async with (
        AsyncClient(options.agent, config=config) as client,
        client.picker("hello", LeastPending()) as picker,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        for _ in range(options.calls):
            answer = await call(session, picker)
            stale = " (stale: the agent does not answer)" if picker.freshness.is_stale else ""
            print(answer.strip() + stale, flush=True)
            await asyncio.sleep(1)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("done")
