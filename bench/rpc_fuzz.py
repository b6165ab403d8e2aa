"""Mutated frames against a server's port: does it go on answering, does its memory grow.

bench/rpc_fuzz.py --frames 200000
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import struct
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from random import Random

import msgpack

from svcmesh.rpc import Methods, RpcPool, RpcServer

FRAMES_PER_CONNECTION = 50
PIECES_MAX = 8

GOOD = [
    [4, "hello", ""],
    [0, 1, "echo", {"key": "a", "value": b"x" * 100}, 1000],
    [0, 2, "echo", [1, 2.5, None, True, "text", [[], {}]], 1000],
    [3, "tell", [1, 2, 3]],
    [1, 7, "answer"],
    [2, 7, "code", "text"],
]


def packed(parts: object) -> bytes:
    body: bytes = msgpack.packb(parts)
    return struct.pack(">I", len(body)) + body


def mutated(rng: Random) -> bytes:
    data = bytearray(packed(rng.choice(GOOD)))
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + rng.randint(0, 8)] = rng.randbytes(rng.randint(0, 8))
            case 2:
                del data[at:]
            case _:
                data[at:at] = bytes([rng.choice(b"\x80\x90\xc1\xc6\xdd\xdf\xff\x00")]) * 5
        if not data:
            break
    return bytes(data)


def serve(pipe: Pipe) -> None:
    async def echo(body: object, _: float) -> object:
        return body

    def tell(_: object) -> None:
        return

    async def main() -> None:
        problems = 0

        def count(_: asyncio.AbstractEventLoop, __: dict[str, object]) -> None:
            nonlocal problems
            problems += 1

        asyncio.get_running_loop().set_exception_handler(count)
        server = RpcServer(Methods({"echo": echo}, {"tell": tell}))
        pipe.send(await server.start("127.0.0.1", 0))
        while await asyncio.to_thread(pipe.recv):
            kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            pipe.send({"raised": problems, "max_rss_mb": kib // 1024, **server.counters})
        await server.close()

    asyncio.run(main())


async def attack(to: tuple[str, int], frames: int, rng: Random) -> int:
    """Send them; how many calls of a well-behaved peer were answered meanwhile."""
    pool, answered = RpcPool(), 0
    for _ in range(frames // FRAMES_PER_CONNECTION):
        _, writer = await asyncio.open_connection(*to)
        data = packed(GOOD[0]) + b"".join(mutated(rng) for _ in range(FRAMES_PER_CONNECTION))
        with suppress(ConnectionError):
            for _ in range(rng.randint(1, PIECES_MAX)):
                cut = rng.randrange(len(data) + 1)
                writer.write(data[:cut])
                data = data[cut:]
                await writer.drain()
            writer.write(data)
        answered += await pool.call(to, "echo", 1, timeout_s=5)
        writer.transport.abort()
    await pool.close()
    return answered


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,))
    server.start()
    to = ours.recv()
    rng = Random(options.seed)
    asyncio.run(attack(to, options.frames // 10, rng))
    ours.send(True)
    before = ours.recv()["max_rss_mb"]
    answered = asyncio.run(attack(to, options.frames, rng))
    ours.send(True)
    report = ours.recv()
    ours.send(False)
    server.join()
    grown = report["max_rss_mb"] - before
    print(json.dumps({"frames": options.frames, "answered": answered, "grown_mb": grown, **report}))


if __name__ == "__main__":
    main()
