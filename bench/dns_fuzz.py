"""A million hostile packets against the DNS front, in process.

Queries of every kind are mutated: bits flipped, bytes cut out, repeated or put in, counts changed,
options added. Nothing may raise; a response must have the packet's id, fit where it is sent to and
be readable by dnslib; memory must not grow. What raised is printed as hex.
"""

import argparse
import gc
import struct
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random

from dnslib import DNSError, DNSRecord

from dnsserver import DnsConfig, DnsCounters, Responder, ServicePool, Stamp
from dnsserver.directory import NodeAnswer, NoOthers, QueryAnswer, ServerAnswer, ServiceAnswer

sys.path.insert(0, str(Path(__file__).parent.parent))

NAMES = (
    "web.service.svcmesh", "blue.web.service.consul", "_web._tcp.service.dc1.svcmesh", "svcmesh",
    "n1.node.svcmesh", "0a000001.addr.svcmesh", "1.0.0.10.in-addr.arpa", "example.com", "",
    "many.service.svcmesh", "host.service.svcmesh", "no.query.svcmesh", "many.query.svcmesh",
    "no.service.svcmesh",
)  # fmt: skip
TYPES = (1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 64, 251, 252, 255, 65535)


class Directory:
    """A few services, one of them large, one with a host name."""

    datacenter = "dc1"
    is_ready = True
    others = NoOthers()

    def __init__(self) -> None:
        rng = Random(1)
        node = NodeAnswer("n1", "10.0.0.1", {"k": "v" * 300, "rfc1035-x": "y"}, "", "fd00::1")
        self._node = node

        def pool(service: str, count: int, address: str = "") -> ServicePool:
            instances = (
                ServiceAnswer(node, service, address or f"10.1.{n >> 8}.{n & 255}", n, 1)
                for n in range(count)
            )
            return ServicePool.of(instances, rng)

        self._pools = {
            "web": pool("web", 3), "many": pool("many", 2000),
            "host": pool("host", 2, "web.service.svcmesh"),
        }  # fmt: skip
        self._empty = ServicePool(rng)
        self._stamp = Stamp()

    def knows_datacenter(self, name: str) -> bool:
        return name == "dc1"

    def node(self, name: str) -> NodeAnswer | None:
        return self._node if name == "n1" else None

    def node_stamp(self, name: str) -> Stamp:
        return self._stamp

    def node_by_address(self, address: str) -> NodeAnswer | None:
        return self._node if address == "10.0.0.1" else None

    def service(self, name: str, tag: str | None) -> ServicePool:
        return self._pools.get(name, self._empty)

    def prepared_query(self, name: str, datacenter: str | None, client: str) -> QueryAnswer | None:
        if name != "many":
            return None
        return QueryAnswer("many", self._pools["many"], "dc1", ttl_s=3)

    def services_by_address(self, address: str) -> tuple[ServiceAnswer, ...]:
        return ()

    def servers(self) -> tuple[ServerAnswer, ...]:
        return (ServerAnswer("n1", "10.0.0.1"),)


def seed_query(rng: Random) -> bytes:
    name = b"".join(
        bytes((len(label),)) + label.encode() for label in rng.choice(NAMES).split(".") if label
    )
    options = b""
    for _ in range(rng.randrange(3)):
        data = rng.randbytes(rng.randrange(40))
        options += struct.pack(">HH", rng.choice((3, 8, 8, 10, 12, 65001)), len(data)) + data
    opt = b""
    if rng.random() < 0.6:
        size = rng.choice((0, 100, 512, 600, 1232, 4096, 65535))
        opt = b"\0" + struct.pack(">HHIH", 41, size, rng.getrandbits(32), len(options)) + options
    header = struct.pack(">HHHHHH", 0, rng.choice((0, 0x0100, 0x2000)), 1, 0, 0, 1 if opt else 0)
    return header + name + b"\0" + struct.pack(">HH", rng.choice(TYPES), 1) + opt


def mutate(packet: bytes, rng: Random) -> bytes:
    data = bytearray(packet)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(5):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randint(1, 16)]
            case 2:
                data[at:at] = data[at : at + rng.randint(1, 64)]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 16))
            case _ if len(data) > 12:
                data[rng.randrange(12)] = rng.randrange(256)
    return bytes(data[:5000])


def check(packet: bytes, response: bytes | None, *, is_tcp: bool) -> None:
    if response is None:
        return
    assert response[:2] == packet[:2], "another id"
    assert response[2] & 0x80, "no response"
    assert len(response) <= (65535 if is_tcp else 65507), "too large"
    try:
        DNSRecord.parse(response)
    except DNSError as error:
        # The question is echoed as it came, and dnslib wants ASCII.
        if "Invalid label" not in str(error) or response[12:].isascii():
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    rng = Random(options.seed)
    counters = DnsCounters()
    responder = Responder(Directory(), DnsConfig(), counters, Random(2))
    failed: Counter[str] = Counter()
    began_at, before, measured_at = time.monotonic(), 0, options.packets // 2
    tracemalloc.start()
    for number in range(options.packets):
        packet = mutate(seed_query(rng), rng)
        is_tcp = rng.random() < 0.1
        respond = responder.respond_tcp if is_tcp else responder.respond_udp
        try:
            response = respond(packet, 1_800_000_000.0 + number / 1000)
            assert response is None or isinstance(response, bytes), "there is no recursor"
            if number % 8 == 0 or len(packet) < 12:
                check(packet, response, is_tcp=is_tcp)
        except Exception as error:
            failed[f"{type(error).__name__}: {error}"] += 1
            if sum(failed.values()) <= 10:
                print(f"{type(error).__name__}: {error}: {packet.hex()}")
        if number == measured_at:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    print(
        f"{options.packets} packets in {time.monotonic() - began_at:.0f} s, "
        f"{sum(failed.values())} failed, memory grew by {grown / 1e6:.1f} MB in the second half"
    )
    print(dict(sorted(counters.totals().items())))
    raise SystemExit(bool(failed) or grown > 40e6)


main()
