"""A million hostile packets against the DNS front, in process.

Queries of every kind are mutated: bits flipped, bytes cut out, repeated or put in, counts changed,
options added. They come as datagrams and in the stream of a TCP connection, cut anywhere; some need
recursors, whose replies are mutated in the same way. Nothing may raise; a response must have the
packet's id, fit where it is sent to and be readable by dnslib; memory must not grow. What raised is
printed as hex.
"""

import argparse
import asyncio
import gc
import struct
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random

from dnslib import DNSError, DNSRecord

from dnsserver import (
    DnsConfig,
    DnsCounters,
    RecursorConfig,
    Responder,
    ServerLimits,
    ServicePool,
    Stamp,
)
from dnsserver.directory import NodeAnswer, NoOthers, QueryAnswer, ServerAnswer, ServiceAnswer
from dnsserver.finishing import Finisher
from dnsserver.recursion import Recursors
from dnsserver.replies import (
    ReplyError,
    addresses_untrusted,
    is_reply_untrusted,
    is_truncated,
    rcode_of,
    truncated,
)
from dnsserver.responder import Forward, Resolve
from dnsserver.tcp import TcpConnection, TcpListener

sys.path.insert(0, str(Path(__file__).parent.parent))

NAMES = (
    "web.service.svcmesh", "blue.web.service.consul", "_web._tcp.service.dc1.svcmesh", "svcmesh",
    "n1.node.svcmesh", "0a000001.addr.svcmesh", "1.0.0.10.in-addr.arpa", "example.com", "",
    "many.service.svcmesh", "host.service.svcmesh", "no.query.svcmesh", "many.query.svcmesh",
    "no.service.svcmesh", "far.service.svcmesh", "fd000000000000000000000000000001.addr.consul",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
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
            "far": pool("far", 3, "db.example.com"),
        }  # fmt: skip
        self._empty = ServicePool(rng)
        self._stamp = Stamp()

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


def mutated_reply(packet: bytes, rng: Random) -> bytes:
    """What a hostile recursor may say to a query."""
    end = packet.index(b"\0", 12) + 5
    answers = b""
    count = rng.randrange(5)
    for _ in range(count):
        # A pointer to the question, to where names may be, to itself, or a name.
        owner = rng.choice((b"\xc0\x0c", b"\xc0" + rng.randbytes(1), b"\3www\xc0\x0c", b"\1a\0"))
        data = rng.choice((rng.randbytes(4), rng.randbytes(16), owner, b"\2db" + owner))
        type_ = rng.choice((1, 5, 28, 41, 46))
        answers += owner + struct.pack(">HHIH", type_, 1, rng.getrandbits(32), len(data)) + data
    flags = rng.choice((0x8180, 0x8380, 0x8183, 0x8182, 0x0100))
    header = packet[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0)
    return mutate(header + packet[12:end] + answers, rng)


def check(packet: bytes, response: bytes | None, *, bytes_max: int) -> None:
    if response is None:
        return
    assert response[:2] == packet[:2], "another id"
    assert response[2] & 0x80, "no response"
    assert len(response) <= bytes_max, "too large"
    try:
        DNSRecord.parse(response)
    except DNSError as error:
        # The question is echoed as it came, and dnslib wants ASCII.
        if "Invalid label" not in str(error) or response[12:].isascii():
            raise


class Wire(asyncio.Transport):
    """Takes what a connection writes, and is never in its way."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = asyncio.Event()
        self.reading.set()

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False


class Fuzz:
    """Makes packets, has them answered and looks at the responses."""

    def __init__(self, rng: Random) -> None:
        self.rng, self.counters, self.packets = rng, DnsCounters(), 0
        self.sent = b""
        """What was last to be answered."""
        directory, config = Directory(), DnsConfig()
        self._responder = Responder(directory, config, self.counters, Random(2))
        recursors = RecursorConfig(addresses=(("127.0.0.1", 9),))
        self._asking = Responder(
            directory, DnsConfig(recursors=recursors), self.counters, Random(3)
        )
        finisher = Finisher()
        finisher.use(self._responder, Recursors(config.recursors, self.counters, rng))
        limits = ServerLimits(tcp_idle_timeout_s=1e6)
        self._listener = TcpListener(self._responder, finisher, self.counters, limits, set())

    @property
    def _now_utc(self) -> float:
        return 1_800_000_000.0 + self.packets / 1000

    def datagram(self) -> None:
        """Answer one datagram."""
        packet = self.sent = mutate(seed_query(self.rng), self.rng)
        self.packets += 1
        response = self._responder.respond_udp(packet, self._now_utc)
        assert response is None or isinstance(response, bytes), "there is no recursor"
        if self.packets % 8 == 0 or len(packet) < 12:
            check(packet, response, bytes_max=65507)

    def recursion(self) -> None:
        """Have a hostile recursor asked, if the query needs one."""
        rng = self.rng
        packet = self.sent = seed_query(rng)
        self.packets += 1
        outcome = self._asking.respond_udp(packet, self._now_utc)
        rounds = 0
        while isinstance(outcome, Resolve):
            rounds += 1
            assert rounds < 10, "it asks for ever"
            found = {}
            for target in outcome.targets:
                question = target + struct.pack(">HH", rng.choice((1, 28)), 1)
                reply = self.sent = mutated_reply(bytes(12) + question, rng)
                if is_reply_untrusted(reply, 0, question):
                    try:
                        found[target] = addresses_untrusted(reply, question)
                    except ReplyError:
                        self.counters.dropped["recursor_reply"] += 1
            outcome = self._asking.resume(outcome, found, now_utc=self._now_utc)
        if isinstance(outcome, Forward):
            question = outcome.query.question
            reply = self.sent = mutated_reply(packet, rng)
            if is_reply_untrusted(reply, outcome.query.id, question):
                rcode_of(reply)
                is_truncated(reply)
                check(packet, truncated(reply, question), bytes_max=outcome.room.bytes_max)
            outcome = self._asking.fail(outcome.query, outcome.room)
        assert outcome is None or isinstance(outcome, bytes)
        check(packet, outcome, bytes_max=65507)

    async def stream(self) -> None:
        """Answer what comes on one connection, in pieces, some of it with a wrong length."""
        rng = self.rng
        sent = b""
        for _ in range(rng.randrange(1, 60)):
            packet = mutate(seed_query(rng), rng)
            length = rng.randrange(65536) if rng.random() < 0.02 else len(packet)
            sent += struct.pack(">H", length) + packet
            self.packets += 1
        self.sent = sent
        wire = Wire()
        connection = TcpConnection(self._listener)
        connection.connection_made(wire)
        at = 0
        while at < len(sent):
            await wire.reading.wait()
            room = connection.get_buffer(-1)
            piece = sent[at : at + min(len(room), rng.choice((1, 2, 3, 30, 500, 9000)))]
            room[: len(piece)] = piece
            connection.buffer_updated(len(piece))
            at += len(piece)
        await wire.reading.wait()
        connection.connection_lost(None)
        at = 0
        while at < len(wire.written):
            (length,) = struct.unpack_from(">H", wire.written, at)
            response = bytes(wire.written[at + 2 : at + 2 + length])
            assert len(response) == length, "an answer ends early"
            if rng.random() < 0.1:
                check(response, response, bytes_max=65535)
            at += 2 + length


async def run(packets: int, seed: int) -> bool:
    """Return whether nothing went wrong."""
    rng = Random(seed)
    fuzz = Fuzz(rng)
    failed: Counter[str] = Counter()
    began_at, before = time.monotonic(), 0
    tracemalloc.start()
    while fuzz.packets < packets:
        is_first_half = fuzz.packets < packets // 2
        kind = rng.random()
        try:
            if kind < 0.8:
                fuzz.datagram()
            elif kind < 0.99:
                fuzz.recursion()
            else:
                await fuzz.stream()
        except Exception as error:
            failed[f"{type(error).__name__}: {error}"] += 1
            if sum(failed.values()) <= 10:
                print(f"{type(error).__name__}: {error}: {fuzz.sent.hex()}")
        if is_first_half and fuzz.packets >= packets // 2:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    print(
        f"{fuzz.packets} packets in {time.monotonic() - began_at:.0f} s, "
        f"{sum(failed.values())} failed, memory grew by {grown / 1e6:.1f} MB in the second half"
    )
    print(dict(sorted(fuzz.counters.totals().items())))
    return not failed and grown <= 40e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    raise SystemExit(not asyncio.run(run(options.packets, options.seed)))


main()
