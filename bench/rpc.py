"""Small calls a second on one connection pair on loopback, in two processes.

bench/rpc.py --seconds 3 --at-once 64
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from multiprocessing.connection import Connection as Pipe

from svcmesh.rpc import Methods, RpcPool, RpcServer


async def echo(body: object, _: float) -> object:
    return body


def serve(pipe: Pipe) -> None:
    async def main() -> None:
        server = RpcServer(Methods({"echo": echo}, {}))
        pipe.send(await server.start("127.0.0.1", 0))
        await asyncio.to_thread(pipe.recv)
        await server.close()

    asyncio.run(main())


async def call(to: tuple[str, int], options: argparse.Namespace) -> float:
    pool = RpcPool()
    ends_at = time.monotonic() + options.seconds
    count = 0

    async def caller() -> None:
        nonlocal count
        while time.monotonic() < ends_at:
            await pool.call(to, "echo", b"x" * 64, timeout_s=5)
            count += 1

    await asyncio.gather(*(caller() for _ in range(options.at_once)))
    await pool.close()
    return count / options.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,))
    server.start()
    calls_per_s = asyncio.run(call(ours.recv(), options))
    ours.send(None)
    server.join()
    print(json.dumps({"calls_per_s": round(calls_per_s), "at_once": options.at_once}))


if __name__ == "__main__":
    main()
