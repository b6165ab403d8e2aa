"""What a query costs with its socket, for a large service beside one with three instances.

In process, without a load generator: blocks of queries for one and the other take turns, and only
the CPU time is counted in which a query is received, answered and sent. So the ratios are the same
on a busy machine, up to a few hundredths; an agent's event loop adds to both sides.
"""

import argparse
import gc
import socket
import statistics
import struct
import time
from random import Random

from dnsserver import (
    DnsConfig,
    DnsCounters,
    NodeAnswer,
    NoOthers,
    Responder,
    ServiceAnswer,
    ServicePool,
)

BLOCK = 64
KINDS = {
    "A": (1, 0), "SRV": (33, 0), "A, EDNS 1232": (1, 1232), "A, EDNS 4096": (1, 4096),
    "SRV, EDNS 1232": (33, 1232),
}  # fmt: skip


class Directory:
    """One service with this many instances."""

    datacenter = "dc1"
    is_ready = True
    others = NoOthers()

    def __init__(self, instances: int) -> None:
        nodes = (
            NodeAnswer(f"n{number}", f"10.2.{number >> 8}.{number & 255}", {"zone": "a"})
            for number in range(instances)
        )
        answers = (ServiceAnswer(node, "web", "", 8000, 1) for node in nodes)
        self._pool = ServicePool.of(answers, Random(1))

    def service(self, name: str, tag: str | None) -> ServicePool:
        return self._pool


def query(type_: int, edns: int) -> bytes:
    opt = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    header = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 1 if edns else 0)
    return header + b"\3web\7service\6consul\0" + struct.pack(">HH", type_, 1) + opt


class Sockets:
    """A server's socket and a client's."""

    def __init__(self) -> None:
        self._server, self._client = (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)
        )
        for sock in (self._server, self._client):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)

    def cost_us(self, responder: Responder, packet: bytes) -> float:
        """Answer a block of queries; return microseconds of CPU for each."""
        address = self._server.getsockname()
        for _ in range(BLOCK):
            self._client.sendto(packet, address)
        receive, respond, send = self._server.recvfrom, responder.respond_udp, self._server.sendto
        began_at = time.thread_time()
        for _ in range(BLOCK):
            asked, client = receive(4097)
            response = respond(asked, 1.0, client[0])
            assert isinstance(response, bytes)
            send(response, client)
        spent = time.thread_time() - began_at
        for _ in range(BLOCK):
            self._client.recv(65535)
        return spent / BLOCK * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--blocks", type=int, default=1500)
    options = parser.parse_args()
    small, large = (
        Responder(Directory(count), DnsConfig(), DnsCounters(), Random(2))  # type: ignore[arg-type]  # only what these queries need
        for count in (3, options.instances)
    )
    sockets = Sockets()
    gc.collect()
    gc.freeze()
    for title, (type_, edns) in KINDS.items():
        packet = query(type_, edns)
        for _ in range(options.instances * 2):
            small.respond_udp(packet, 1.0)
            large.respond_udp(packet, 1.0)
        pairs = [
            (sockets.cost_us(small, packet), sockets.cost_us(large, packet))
            for _ in range(options.blocks)
        ]
        # Not the mean: now and then a block is interrupted.
        cost_small, cost_large = (
            statistics.mean(sorted(column)[: len(pairs) * 9 // 10])
            for column in zip(*pairs, strict=True)
        )
        print(
            f"{title:15} 3 instances: {cost_small:5.2f} us   "
            f"{options.instances}: {cost_large:5.2f} us   ratio {cost_small / cost_large:.2f}"
        )


main()
