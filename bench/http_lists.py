"""Long lists over HTTP: how long the event loop stands while ten thousand instances are sent.

    bench/http_lists.py --nodes 1000 --per-node 10

Serves a catalog from this process and reads it from another one. For each list: its size, how long
the answer took, and the longest turn of the event loop meanwhile in processor time, which a busy
machine does not change. The aim is 10 ms.
"""

import argparse
import asyncio
import gc
import sys
import time
from asyncio import events
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import CheckRecord, NodeRecord, ServiceRecord
from tests.svcmesh.api.fakes import FakeAgent, serving

REQUESTS = [
    ("/v1/health/service/big", ""),
    ("/v1/health/service/big", "again, kept fragments"),
    ("/v1/catalog/service/big", ""),
    ("/v1/health/service/big?filter=Service.Meta.v+==+3", ""),
    ("/v1/health/service/big?filter=Checks.Output+matches+%22o.*k%22", ""),
    ("/v1/health/service/big?near=n0001", ""),
    ("/v1/health/service/big?pretty", ""),
    ("/v1/health/service/big", "gzip"),
    ("/v1/health/checks/big", ""),
    ("/v1/health/state/any", ""),
    ("/v1/catalog/nodes", ""),
    ("/v1/internal/ui/nodes", ""),
]

READER = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
stream = connection.makefile("rb")
for line in sys.stdin:
    path, _, coding = line.strip().partition(" ")
    lines = f"GET {path} HTTP/1.1", "Host: x", f"Accept-Encoding: {coding or 'identity'}", "", ""
    connection.sendall("\\r\\n".join(lines).encode())
    left = size = 0
    while field := stream.readline().strip().lower():
        if field.startswith(b"content-length:"):
            left = size = int(field.split(b":")[1])
    while left:
        left -= len(stream.read(min(left, 65536)))
    print(size, flush=True)
"""


class Turns:
    """The longest turn of the event loop since `reset`, in processor time."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        run = events.Handle._run

        def measured(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            self.longest_s = max(self.longest_s, time.thread_time() - began)

        events.Handle._run = measured  # type: ignore[method-assign]

    def reset(self) -> None:
        self.longest_s = 0.0


def fill(agent: FakeAgent, nodes: int, per_node: int) -> None:
    for number in range(nodes):
        owner = ExternalNode(f"n{number:04}")
        agent.change(owner, NodeRecord(name=owner.name, address="10.0.0.1", datacenter="dc1"))
        for place in range(per_node):
            service_id = f"s{place}"
            tags = ("a", "b")
            agent.change(
                owner,
                ServiceRecord(
                    id=service_id, name="big", port=80, tags=tags, meta={"v": str(place)}
                ),
            )
            agent.change(
                owner,
                CheckRecord(
                    id=f"c{place}", name="c", status="passing", output="ok" * 20,
                    service_id=service_id, service_name="big", service_tags=tags,
                ),
            )  # fmt: skip


async def measure(options: argparse.Namespace) -> None:
    agent = FakeAgent()
    fill(agent, options.nodes, options.per_node)
    gc.collect()
    gc.freeze()
    async with serving(agent) as client:
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-c", READER, client.base.rsplit(":", 1)[1],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert reader.stdin is not None
        assert reader.stdout is not None
        turns = Turns()
        for path, note in REQUESTS:
            turns.reset()
            began = time.perf_counter()
            reader.stdin.write(f"{path} {'gzip' if note == 'gzip' else ''}\n".encode())
            size = int(await reader.stdout.readline())
            took_ms = 1e3 * (time.perf_counter() - began)
            print(
                f"{size / 1e6:6.1f} MB {took_ms:7.0f} ms, longest turn "
                f"{1e3 * turns.longest_s:5.1f} ms  {path} {note}"
            )
        reader.terminate()
        await reader.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--per-node", type=int, default=10)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
