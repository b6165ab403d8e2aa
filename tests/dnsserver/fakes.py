"""A directory in memory, and a client that decodes with dnslib: a second implementation."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from dnslib import DNSRecord

from dnsserver import (
    AskOthers,
    DnsConfig,
    DnsCounters,
    NodeAnswer,
    NoOthers,
    QueryAnswer,
    RemoteDirectory,
    Responder,
    ServerAnswer,
    ServiceAnswer,
    ServicePool,
    Stamp,
    Unanswerable,
)

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28,
    "SRV": 33, "AXFR": 252, "ANY": 255,
}  # fmt: skip
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
NOW_UTC = 1_795_231_444.5


@dataclass
class FakeDirectory:
    """Looks things up in lists, as slowly as can be seen to be right."""

    datacenter: str = "dc1"
    is_ready: bool = True
    nodes: list[NodeAnswer] = field(default_factory=list)
    instances: list[ServiceAnswer] = field(default_factory=list)
    unhealthy_services: set[str] = field(default_factory=set)
    server_list: list[ServerAnswer] = field(default_factory=list)
    queries: dict[str, QueryAnswer | AskOthers | Unanswerable] = field(default_factory=dict)
    others: RemoteDirectory = field(default_factory=NoOthers)
    asked_by: list[str] = field(default_factory=list)
    """The clients that prepared queries were looked up for."""

    def node(self, name: str) -> NodeAnswer | None:
        return next((node for node in self.nodes if node.name.lower() == name), None)

    def node_by_address(self, address: str) -> NodeAnswer | None:
        return next((node for node in self.nodes if node.address == address), None)

    def node_stamp(self, name: str) -> Stamp:
        stamp = Stamp()
        stamp.is_current = False
        return stamp

    def service(self, name: str, tag: str | None) -> ServicePool:
        pool = ServicePool.of(
            (
                one
                for one in self.instances
                if one.service.lower() == name
                and name not in self.unhealthy_services
                and (tag is None or tag in [label.lower() for label in one.tags])
            ),
            Random(len(self.instances)),
        )
        # Tests change the lists as they like: nothing made from them is kept.
        pool.is_complete = False
        return pool

    def prepared_query(
        self, name: str, datacenter: str | None, client: str
    ) -> QueryAnswer | AskOthers | Unanswerable | None:
        self.asked_by.append(client)
        return self.queries.get(name) if datacenter in (None, self.datacenter) else None

    def services_by_address(self, address: str) -> tuple[ServiceAnswer, ...]:
        return tuple(one for one in self.instances if one.address == address)

    def servers(self) -> tuple[ServerAnswer, ...]:
        return tuple(self.server_list)

    def add_node(
        self,
        name: str,
        address: str,
        meta: Mapping[str, str] | None = None,
        *,
        lan_ipv4: str = "",
        lan_ipv6: str = "",
    ) -> NodeAnswer:
        node = NodeAnswer(name, address, dict(meta or {}), lan_ipv4, lan_ipv6)
        self.nodes.append(node)
        return node

    def add_instance(
        self,
        node: NodeAnswer,
        service: str,
        port: int,
        *,
        address: str = "",
        tags: Sequence[str] = (),
        weight: int = 1,
        lan_ipv4: str = "",
        lan_ipv6: str = "",
    ) -> None:
        self.instances.append(
            ServiceAnswer(node, service, address, port, weight, tuple(tags), lan_ipv4, lan_ipv6)
        )

    def add_many(self, service: str, count: int) -> None:
        for number in range(count):
            node = self.add_node(f"{service}{number:02}", f"10.20.4.{number + 1}")
            self.add_instance(node, service, 1000 + number)


@dataclass(frozen=True)
class Seen:
    """A response as dnslib decodes it; records as `name ttl class type data`, sorted."""

    rcode: str
    flags: str
    question: list[str]
    answer: list[str]
    authority: list[str]
    additional: list[str]
    opt: tuple[int, int, bytes] | None
    """Size, TTL (extended code, version and flags) and options."""
    size: int


def wire_name(name: str) -> bytes:
    labels = [label for label in name.rstrip(".").encode("latin-1").split(b".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def opt_record(size: int, *, version: int = 0, do: bool = False, options: bytes = b"") -> bytes:
    flags = 0x8000 if do else 0
    return b"\0" + struct.pack(">HHBBHH", 41, size, 0, version, flags, len(options)) + options


def query(
    name: str,
    type_: str | int = "A",
    *,
    opt: bytes = b"",
    flags: int = 0x0100,
    class_: int = 1,
    counts: tuple[int, int, int, int] | None = None,
    rest: bytes = b"",
) -> bytes:
    number = TYPES[type_] if isinstance(type_, str) else type_
    header = struct.pack(">HHHHHH", 0x1234, flags, *(counts or (1, 0, 0, 1 if opt else 0)))
    return header + wire_name(name) + struct.pack(">HH", number, class_) + opt + rest


def decode(response: bytes | None) -> Seen:
    assert response is not None
    record = DNSRecord.parse(response)
    header = record.header
    assert header.id == 0x1234
    assert len(record.rr) == header.a
    assert not struct.unpack_from(">H", response, 2)[0] & 0x0040

    def lines(section: list[object]) -> list[str]:
        return sorted(
            f"{one.rname} {one.ttl} IN {TYPE_NAMES[one.rtype]} {one.rdata}"  # type: ignore[attr-defined]  # dnslib is untyped
            for one in section
            if one.rtype != 41  # type: ignore[attr-defined]
        )

    opts = [one for one in record.ar if one.rtype == 41]
    assert len(opts) <= 1
    opt = None
    if opts:
        options = b"".join(
            struct.pack(">HH", one.code, len(one.data)) + bytes(one.data) for one in opts[0].rdata
        )
        opt = (opts[0].rclass, opts[0].ttl, options)
    names = ("qr", "aa", "tc", "rd", "ra", "ad", "cd")
    return Seen(
        rcode=RCODES[header.rcode],
        flags=" ".join(name for name in names if getattr(header, name)),
        question=[f"{one.qname} {one.qclass} {one.qtype}" for one in record.questions],
        answer=lines(record.rr),
        authority=lines(record.auth),
        additional=lines(record.ar),
        opt=opt,
        size=len(response),
    )


class Client:
    """Asks a responder over a directory."""

    def __init__(
        self, directory: FakeDirectory, config: DnsConfig | None = None, seed: int = 1
    ) -> None:
        self.counters = DnsCounters()
        self.responder = Responder(directory, config or DnsConfig(), self.counters, Random(seed))

    def raw(self, packet: bytes, *, is_tcp: bool = False) -> bytes | None:
        respond = self.responder.respond_tcp if is_tcp else self.responder.respond_udp
        response = respond(packet, NOW_UTC)
        assert response is None or isinstance(response, bytes)
        return response

    def ask(
        self,
        name: str,
        type_: str | int = "A",
        *,
        is_tcp: bool = False,
        edns: int | None = None,
        flags: int = 0x0100,
    ) -> Seen:
        opt = b"" if edns is None else opt_record(edns)
        return decode(self.raw(query(name, type_, opt=opt, flags=flags), is_tcp=is_tcp))


def soa(domain: str) -> str:
    return f"{domain}. 0 IN SOA ns.{domain}. hostmaster.{domain}. 1795231444 3600 600 86400 0"
