"""What an answer costs by the size of the service, in process: no sockets, no load generator.

For services of several sizes in a real catalog view: microseconds a query when nothing changes and
when one instance fails or recovers before every hundredth query, and the longest single answer,
which is how long the event loop is held up. The first queries for a service are among them. All of
it is CPU time, so that it says nearly the same on a busy machine.
"""

import argparse
import gc
import struct
import time
from random import Random

from dnsserver import DnsConfig, DnsCounters, Responder
from svcmesh.catalog import CatalogView
from svcmesh.catalog.changes import NodeBound, OwnNode, RecordChanged
from svcmesh.catalog.records import (
    CheckRecord,
    HealthStatus,
    Kind,
    NodeId,
    NodeRecord,
    ServiceRecord,
)
from svcmesh.directory import CatalogDirectory

TYPES = {"A": 1, "SRV": 33, "AAAA": 28}


def view_with(count: int, *, per_node: int = 10) -> CatalogView:
    view = CatalogView(local_node_id=NodeId("n0"), datacenter="dc1", index_start=1)
    for number in range(count):
        on, address = divmod(number, per_node)
        owner = OwnNode(NodeId(f"n{on}"))
        if not address:
            node = NodeRecord(f"n{on}", f"10.1.{on >> 8}.{on & 255}", "dc1", meta={"zone": "a"})
            view.apply(RecordChanged(owner, Kind.NODE, "", None, node))
            view.apply(NodeBound(owner.node_id, f"n{on}", is_alive=True))
        service = ServiceRecord(
            id=f"web-{number}", name="web", address=f"10.2.{number >> 8}.{number & 255}",
            port=8000 + address, tags=("v1",),
        )  # fmt: skip
        view.apply(RecordChanged(owner, Kind.SERVICE, service.id, None, service))
    return view


def flap(view: CatalogView, number: int, status: str) -> None:
    check = CheckRecord("c", "c", status, service_id=f"web-{number}")
    view.apply(RecordChanged(OwnNode(NodeId(f"n{number // 10}")), Kind.CHECK, "c", None, check))


def query(type_: str, edns: int) -> bytes:
    opt = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    header = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 1 if edns else 0)
    return header + b"\3web\7service\6consul\0" + struct.pack(">HH", TYPES[type_], 1) + opt


def measure(count: int, type_: str, *, edns: int, tcp: bool, queries: int, churns: bool) -> None:
    view = view_with(count)
    directory = CatalogDirectory(view, is_ready=lambda: True, rng=Random(1))
    responder = Responder(directory, DnsConfig(), DnsCounters(), Random(2))
    packet = query(type_, edns)
    respond = responder.respond_tcp if tcp else responder.respond_udp
    gc.collect()
    gc.freeze()
    longest, spent, size = 0.0, 0.0, 0
    for number in range(queries):
        if churns and number % 100 == 0:
            status = HealthStatus.CRITICAL if number % 200 else HealthStatus.PASSING
            flap(view, number // 200 % count, status)
        begin = time.thread_time()
        response = respond(packet, time.time())
        took = time.thread_time() - begin
        longest, spent = max(longest, took), spent + took
        assert isinstance(response, bytes)
        size += len(response)
    gc.unfreeze()
    way = "TCP" if tcp else f"EDNS {edns}" if edns else "UDP"
    print(
        f"{count:6} {type_:4} {way:9} {'churning' if churns else 'quiet':8} "
        f"{spent / queries * 1e6:8.2f} us/query, longest {longest * 1e3:6.2f} ms, "
        f"{size // queries:6} bytes"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 1000, 10000])
    parser.add_argument("--queries", type=int, default=60000)
    options = parser.parse_args()
    for count in options.sizes:
        for type_ in ("A", "SRV"):
            for edns, tcp in ((0, False), (1232, False), (0, True)):
                queries = options.queries if not edns and not tcp else options.queries // 20
                for churns in (False, True):
                    measure(count, type_, edns=edns, tcp=tcp, queries=queries, churns=churns)


main()
