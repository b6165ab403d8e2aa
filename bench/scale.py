"""100,000 service instances of 1,000 origins on one agent, and a fresh agent that joins it.

    bench/scale.py --origins 1000 --instances 100 --checks 1

The origins are members that only answer pings: one process answers for all of them, on addresses
of 127.1/16. A loader, a member that speaks the catalog's protocol, hands the first agent each
origin's records and leaves. Then a second agent joins the first. Reported: the first agent's
memory, the time from the second agent's start until it has every instance, and how long the second
agent took to answer pings meanwhile.
"""

import argparse
import asyncio
import json
import shlex
import socket
import statistics
import struct
import subprocess
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from gossip import Address, Gossip, GossipConfig, Incarnation, MemberName, PoolConfig
from gossip.swim.versions import own_vsn
from gossip.types import SeqNo
from gossip.wire import PacketCodec, encode_message, encode_tags
from gossip.wire.messages import Ack, Alive, Ping
from svcmesh.catalog.bodies import body_key, encode_body
from svcmesh.catalog.codec import encode_envelope
from svcmesh.catalog.log import Entry, Log, Origin
from svcmesh.catalog.messages import Envelope, Pages
from svcmesh.catalog.paging import next_page
from svcmesh.catalog.records import Body, CheckRecord, NodeId, NodeRecord, ServiceRecord
from svcmesh.membership import local_tags

FIRST, SECOND, LOADER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
ORIGIN_PORT = 8401
NAMES = 200
EPOCH = 1_700_000_000_000
PAGE_BYTES = 32_768
IP_PKTINFO = 8
PROBE_INTERVAL_S = 0.02


def origin_id(number: int) -> NodeId:
    return NodeId(str(uuid.UUID(int=number + 1)))


def origin_host(number: int) -> str:
    return f"127.1.{number >> 8}.{number & 255}"


def origin_tags(number: int) -> dict[str, str]:
    tags = local_tags(
        version="0",
        node_id=origin_id(number),
        datacenter="dc1",
        is_server=False,
        server_port=0,
        bootstrap=False,
        bootstrap_expect=0,
        wan_join_port=-1,
        wan_join_addr="",
    )
    # Bound in the catalog, but nobody asks it for records.
    del tags["svcmesh"]
    return tags


def origin_log(number: int, options: argparse.Namespace) -> Log:
    host = f"10.0.{number >> 8}.{number & 255}"
    bodies: list[Body] = [
        NodeRecord(
            name=f"node-{number}",
            address=host,
            datacenter="dc1",
            tagged_addresses={"lan": host},
            meta={"consul-network-segment": ""},
        )
    ]
    for n in range(options.instances):
        name = f"svc{(number * options.instances + n) % NAMES}"
        service_id = f"{name}-{n}"
        tags = ("v1", "primary") if n % 2 else ("v1",)
        bodies.append(
            ServiceRecord(
                id=service_id,
                name=name,
                port=8000 + n,
                address=host,
                tags=tags,
                meta={"version": "1.2.3"},
            )
        )
        bodies += [
            CheckRecord(
                id=f"service:{service_id}:{k}",
                name=f"Service '{name}' check",
                status="passing",
                output="HTTP GET http://127.0.0.1:8080/health: 200 OK Output: ok",
                service_id=service_id,
                service_name=name,
                service_tags=tags,
                type="http",
            )
            for k in range(options.checks)
        ]
    log = Log(Origin(origin_id(number), EPOCH))
    for body in bodies:
        log.put(Entry(body_key(body), log.through + 1, encode_body(body), body))
        log.advance(log.through, log.through + 1)
    return log


class Origins:
    """Answers every ping to an origin, and pings the second agent to see how soon it answers."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        self.sock.setblocking(False)
        self.sock.bind(("0.0.0.0", ORIGIN_PORT))
        self.listener = socket.create_server(("0.0.0.0", ORIGIN_PORT), backlog=128)
        """Origins are up by TCP too, but have nothing to say there."""
        self.codec = PacketCodec(PoolConfig(), None, new_nonce=lambda: bytes(12))
        self.latencies_s: list[float] = []
        self._asked_at: dict[int, float] = {}
        self._number = 0
        asyncio.get_running_loop().add_reader(self.sock, self._answer)

    def ping(self, host: str, node: str) -> None:
        self._number += 1
        self._asked_at[self._number] = time.monotonic()
        message = Ping(SeqNo(self._number), MemberName(node))
        self.sock.sendto(self.codec.encode((encode_message(message),), crc=False), (host, 8301))

    def unanswered_s(self) -> float:
        """How long the oldest ping without an answer has waited."""
        return time.monotonic() - min(self._asked_at.values(), default=time.monotonic())

    def _answer(self) -> None:
        for _ in range(64):
            try:
                data, ancillary, _, source = self.sock.recvmsg(65536, 64)
            except BlockingIOError:
                return
            for message in self.codec.decode_untrusted(data).messages:
                if isinstance(message, Ping):
                    _, local, _ = struct.unpack("=i4s4s", ancillary[0][2])
                    reply = self.codec.encode((encode_message(Ack(message.seq_no)),), crc=False)
                    info = struct.pack("=i4s4s", 0, local, b"\0\0\0\0")
                    self.sock.sendmsg([reply], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, source)
                elif isinstance(message, Ack) and message.seq_no in self._asked_at:
                    asked_at = self._asked_at.pop(message.seq_no)
                    self.latencies_s.append(time.monotonic() - asked_at)


def start(name: str, host: str, folder: Path, options: argparse.Namespace, *more: str) -> Any:  # noqa: ANN401
    command = [
        *shlex.split(options.bin), "agent", "-node", name, "-bind", host, "-client", host,
        "-data-dir", str(folder / name), *more,
    ]  # fmt: skip
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def get(host: str, path: str) -> Any:  # noqa: ANN401 -- whatever JSON says
    with urllib.request.urlopen(f"http://{host}:8500{path}", timeout=10) as answer:
        return json.load(answer)


async def ask(host: str, path: str) -> Any:  # noqa: ANN401 -- whatever JSON says
    return await asyncio.to_thread(get, host, path)


async def until(what: str, within_s: float, is_so: Any) -> float:  # noqa: ANN401 -- a coroutine function
    began_at = time.monotonic()
    while time.monotonic() - began_at < within_s:
        try:
            if await is_so():
                return time.monotonic() - began_at
        except OSError:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.25)
    raise SystemExit(f"not within {within_s} s: {what}")


async def load(options: argparse.Namespace) -> None:
    """Bring all origins, as members and with their records, to the first agent."""
    tags = local_tags(
        version="0",
        node_id=str(uuid.uuid4()),
        datacenter="dc1",
        is_server=False,
        server_port=0,
        bootstrap=False,
        bootstrap_expect=0,
        wan_join_port=-1,
        wan_join_addr="",
    )
    gossip = await Gossip.create(
        GossipConfig(),
        name=MemberName("loader"),
        bind=Address(LOADER, 8301),
        tags=tags,
        incarnation=Incarnation(1),
        on_event=lambda _: None,
    )
    await gossip.join([f"{FIRST}:8301"])
    codec = PacketCodec(PoolConfig(), None, new_nonce=lambda: bytes(12))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(options.origins):
            alive = Alive(
                Incarnation(1),
                MemberName(f"node-{number}"),
                socket.inet_aton(origin_host(number)),
                ORIGIN_PORT,
                encode_tags(origin_tags(number)),
                own_vsn(4),
            )
            sock.sendto(codec.encode((encode_message(alive),), crc=False), (FIRST, 8301))
            await asyncio.sleep(0.001)
    await until("members", 30, lambda: has_members(FIRST, options))
    for number in range(options.origins):
        log, after = origin_log(number, options), 0
        while after < log.through:
            page = next_page(log, after, PAGE_BYTES, is_external=False)
            pages = Pages((page,), is_answer=False, pass_on=False)
            envelope = Envelope("loader", NodeId(tags["id"]), time.time_ns() // 1_000_000, pages)
            gossip.send_payload(MemberName("first"), encode_envelope(envelope))
            after = page.through
            await asyncio.sleep(0.01)
    await until("records", 60, lambda: is_complete(FIRST, options))
    await gossip.leave()
    await gossip.close()


async def has_members(host: str, options: argparse.Namespace) -> bool:
    return len(await ask(host, "/v1/agent/members")) >= options.origins + 1


async def is_complete(host: str, options: argparse.Namespace) -> bool:
    """Whether all instances of the last origins' names are there; then all of the others'."""
    wanted = options.origins * options.instances // NAMES
    last = [(options.origins * options.instances - k) % NAMES for k in (1, 50, 100)]
    for number in (*last, *range(NAMES)):
        rows = await ask(host, f"/v1/catalog/service/svc{number}")
        if len(rows) < wanted:
            return False
    return True


def rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) / 1024, 1)


async def probe(origins: Origins) -> None:
    while True:
        origins.ping(SECOND, "second")
        await asyncio.sleep(PROBE_INTERVAL_S)


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    origins = Origins()
    processes = [start("first", FIRST, folder, options, "-server", "-bootstrap-expect=1")]
    try:
        await until("the first agent answers", 20, lambda: ask(FIRST, "/v1/agent/self"))
        empty_mb = rss_mb(processes[0].pid)
        await load(options)
        loaded_mb = rss_mb(processes[0].pid)
        began_at = time.monotonic()
        processes.append(start("second", SECOND, folder, options, "-retry-join", FIRST))
        await until("the second agent answers", 20, lambda: ask(SECOND, "/v1/agent/self"))
        probing = asyncio.create_task(probe(origins))
        await until("the second agent has all", 120, lambda: is_complete(SECOND, options))
        took_s = time.monotonic() - began_at
        probing.cancel()
        latencies_s = sorted(origins.latencies_s)
        return {
            "origins": options.origins,
            "instances": options.origins * options.instances,
            "checks": options.origins * options.instances * options.checks,
            "first_agent_empty_mb": empty_mb,
            "first_agent_loaded_mb": loaded_mb,
            "second_agent_complete_after_start_s": round(took_s, 2),
            "second_agent_mb": rss_mb(processes[1].pid),
            "second_agent_ping_ms": {
                "answered": len(latencies_s),
                "median": round(1e3 * statistics.median(latencies_s), 2),
                "p99": round(1e3 * latencies_s[int(len(latencies_s) * 0.99)], 1),
                "slowest": round(1e3 * max(latencies_s[-1], origins.unanswered_s()), 1),
            },
        }
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--bin", default=".venv/bin/svcmesh")
    parser.add_argument("--origins", type=int, default=1000)
    parser.add_argument("--instances", type=int, default=100, help="of each origin")
    parser.add_argument("--checks", type=int, default=0, help="of each instance")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        print(json.dumps(asyncio.run(measure(options, Path(folder))), indent=1))


if __name__ == "__main__":
    main()
