"""Summaries of services over the WAN, in virtual time: how fast they agree, and what they cost.

    python bench/summaries.py [--datacenters 20] [--nodes 50] [--services 1000] [--loss 0.01]

Every server is a real member of a simulated WAN pool with Consul's WAN profile and 20 to 60 ms one
way; catalogs are real views. Times are virtual, so a busy machine changes nothing but the run time.
Bytes are those to other data centers, with headers of UDP and TCP, without encryption (29 more for
each message).
"""

import argparse
import time
from collections.abc import Callable

from svcmesh.catalog.changes import RecordChanged
from svcmesh.catalog.records import Kind
from svcmesh.simulate.federation import LAN_S, SimulatedFederation
from svcmesh.simulate.network import Link

LIMIT_S = 300.0
REST_S = 60.0


class Measured:
    """Prints how long agreement takes after something has happened, and what was sent for it."""

    def __init__(self, federation: SimulatedFederation) -> None:
        self.federation = federation

    def run(self, what: str, happen: Callable[[], None]) -> None:
        self._reset()
        happen()
        # The data center itself has to know first.
        self.federation.pool.run_for(LAN_S[1])
        took = self.federation.run_until(self.federation.agrees, limit_s=LIMIT_S)
        shown = "never" if took is None else f"{took + LAN_S[1]:6.2f} s"
        sent = [server.sent_bytes for server in self.federation.servers()]
        print(
            f"{what:<44} {shown}   mean {sum(sent) / len(sent) / 1000:8.1f} kB,"
            f" most {max(sent) / 1000:8.1f} kB a server"
        )

    def rest(self) -> None:
        self._reset()
        gossip_before = self.federation.pool.sent_bytes
        self.federation.pool.run_for(REST_S)
        sent = [server.sent_bytes for server in self.federation.servers()]
        gossip = (self.federation.pool.sent_bytes - gossip_before) / len(sent) / REST_S
        print(
            f"{'at rest':<44} {sum(sent) / len(sent) / REST_S:6.0f} B/s a server, most "
            f"{max(sent) / REST_S:.0f} B/s; the WAN pool's own gossip {gossip:.0f} B/s"
        )

    def _reset(self) -> None:
        for server in self.federation.servers():
            server.sent_bytes = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datacenters", type=int, default=20)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--loss", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    federation = SimulatedFederation(
        datacenters=options.datacenters,
        servers=options.servers,
        nodes=options.nodes,
        services=options.services,
        seed=options.seed,
        link=Link(latency_s_min=0.02, latency_s_max=0.06, loss=options.loss),
    )
    measured = Measured(federation)
    measured.run("all data centers meet, all services", federation.join)
    federation.pool.run_for(30)
    measured.rest()

    def deregister() -> None:
        owner = federation.node(7)
        name = "service-0007"
        federation.change("dc1", RecordChanged(owner, Kind.SERVICE, name, None, None))

    measured.run("one service goes", deregister)
    federation.pool.run_for(5)
    measured.run("a node fails", lambda: federation.fail_node("dc1", 3))
    federation.pool.run_for(5)

    def everywhere() -> None:
        for datacenter in federation.datacenters:
            federation.fail_node(datacenter, 5)

    measured.run("a node fails in every data center", everywhere)
    federation.pool.run_for(5)

    def crash() -> None:
        federation.publisher("dc1").crash()
        federation.fail_node("dc1", 9)

    measured.run("the publisher crashes, then a node fails", crash)
    federation.pool.run_for(30)
    restarted = next(each for each in federation.datacenters["dc1"] if not each.member.is_running)
    measured.run("the publisher comes back", restarted.restart)
    measured.rest()
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s of processor and waiting")


if __name__ == "__main__":
    main()
