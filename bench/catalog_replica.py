"""What the replication core costs, without a network: records applied, comparisons, writes.

One writer's records are handed to a second replica page by page, as a joiner gets them; then the
two converged replicas compare, and single changes are written, sent and applied.
"""

import argparse
import json
import time
from collections.abc import Iterable
from random import Random

from svcmesh.catalog.changes import CatalogEffect, SendCatalog
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.records import NodeId, NodeRecord, ServiceRecord
from svcmesh.catalog.replica import Replica

NAMES = ("one", "two")
WALL_MS = 1_700_000_000_000


class Pair:
    """Two replicas that hand each other their messages at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bytes_sent = self.messages_sent = 0
        self.replicas = {
            name: Replica(
                ReplicaConfig(),
                name=name,
                node_id=NodeId(f"id-{name}"),
                epoch=1,
                expects_peers=True,
                now=0.0,
                rng=Random(n),
            )
            for n, name in enumerate(NAMES)
        }
        for replica in self.replicas.values():
            for name in NAMES:
                replica.member_alive(name, NodeId(f"id-{name}"), is_peer=True, now=0.0)

    def deliver(self, effects: Iterable[CatalogEffect]) -> None:
        """Hand over what was sent, and what is sent in answer, until there is silence."""
        waiting = [effect for effect in effects if isinstance(effect, SendCatalog)]
        while waiting:
            message = waiting.pop(0)
            self.bytes_sent += len(message.payload)
            self.messages_sent += 1
            answer = self.replicas[message.to].handle_message_untrusted(
                message.payload, now=self.now, wall_ms=WALL_MS
            )
            waiting += [effect for effect in answer if isinstance(effect, SendCatalog)]

    def tick(self, name: str) -> None:
        """Let one of them do what is due next."""
        replica = self.replicas[name]
        self.now = max(self.now, replica.next_deadline_at)
        self.deliver(replica.handle_timer(now=self.now, wall_ms=WALL_MS))

    @property
    def agree(self) -> bool:
        one, two = self.replicas.values()
        return one.fingerprint == two.fingerprint


def service(n: int, version: int) -> ServiceRecord:
    return ServiceRecord(
        id=f"service-{n}",
        name=f"name-{n % 100}",
        tags=("primary", f"v{version}"),
        port=version % 65536,
        address="10.1.2.3",
        meta={"team": "payments"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--comparisons", type=int, default=20_000)
    parser.add_argument("--changes", type=int, default=10_000)
    options = parser.parse_args()
    pair = Pair()
    one = pair.replicas["one"]

    start = time.perf_counter()
    one.put_own(NodeRecord(name="one", address="10.1.2.3", datacenter="dc1"), now=0.0)
    for n in range(options.records):
        one.put_own(service(n, 1), now=0.0)
    write_s = time.perf_counter() - start

    start = time.perf_counter()
    while not pair.agree:
        pair.tick("two")
    join_s = time.perf_counter() - start
    join_bytes, join_messages = pair.bytes_sent, pair.messages_sent
    # What the writer still has to publish is known there; get it out of the way.
    for _ in range(20):
        pair.tick("one")

    pair.bytes_sent = pair.messages_sent = 0
    start = time.perf_counter()
    for _ in range(options.comparisons):
        pair.tick("two")
    comparison_s = time.perf_counter() - start
    comparison_bytes = pair.bytes_sent

    pair.bytes_sent = pair.messages_sent = 0
    start = time.perf_counter()
    for n in range(options.changes):
        pair.now += 0.01
        pair.deliver(one.put_own(service(n % options.records, n + 2), now=pair.now))
        pair.tick("one")
    change_s = time.perf_counter() - start
    for _ in range(20):
        pair.tick("one")
        pair.tick("two")
    print(
        json.dumps(
            {
                "records": options.records,
                "written_per_s": round(options.records / write_s),
                "fetched_and_applied_per_s": round(options.records / join_s),
                "bytes_per_record_fetched": round(join_bytes / options.records, 1),
                "messages_of_the_join": join_messages,
                "comparison_us": round(1e6 * comparison_s / options.comparisons, 1),
                "comparison_bytes": round(comparison_bytes / options.comparisons, 1),
                "change_written_sent_applied_us": round(1e6 * change_s / options.changes, 1),
                "agree_in_the_end": pair.agree,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
