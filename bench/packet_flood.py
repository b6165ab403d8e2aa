"""Flood a running agent's gossip port with mutated packets and watch what it does.

Three agents form a cluster; one is flooded with captured packets in which bytes were flipped, cut
out or repeated. Reported: packets sent and received, whether the agent was ever seen other than
alive, its memory before and after, and what it logged.
"""

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "tests/gossip/wire/vectors.json"
ADDRESSES = [f"127.0.30.{n}" for n in (2, 3, 4)]


def mutate(packet: bytes, rng: random.Random) -> bytes:
    """One to four flips, cuts or repetitions at random places."""
    data = bytearray(packet)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(3):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randint(1, 16)]
            case _:
                data[at:at] = data[at : at + rng.randint(1, 64)]
    return bytes(data[:65000])


def get(address: str, path: str) -> object:
    with urllib.request.urlopen(f"http://{address}:8500{path}", timeout=10) as answer:
        return json.load(answer)


def rss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise LookupError(pid)


def datagrams_dropped(address: str) -> int:
    """Datagrams that the kernel dropped because the agent had not read in time."""
    wanted = "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + f":{8301:04X}"
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted:
            return int(fields[12])
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=10_000, help="packets a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--encrypt", action="store_true", help="run the pool with a key")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    vectors = [
        bytes.fromhex(v["hex"])
        for v in json.loads(VECTORS.read_text())["vectors"]
        if v["transport"] == "udp"
    ]
    packets = [mutate(rng.choice(vectors), rng) for _ in range(50_000)]
    extra = ["-encrypt", "AAECAwQFBgcICQoLDA0ODw=="] if options.encrypt else []
    folder = Path(tempfile.mkdtemp(prefix="flood-"))
    agents = []
    seen: set[str] = set()
    stop = threading.Event()
    try:
        for n, address in enumerate(ADDRESSES):
            with (folder / f"n{n}.log").open("wb") as log:
                agents.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "cli", "agent", "-node", f"n{n}",
                         "-bind", address, "-client", address,
                         "-data-dir", str(folder / f"n{n}"),
                         "-retry-join", ADDRESSES[0], "-retry-interval", "1s", *extra],
                        stdout=log, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip
        time.sleep(8)

        def watch() -> None:
            while not stop.is_set():
                for address in (ADDRESSES[1], ADDRESSES[2]):
                    members = get(address, "/v1/agent/members")
                    assert isinstance(members, list)
                    states = {m["Name"]: m["Status"] for m in members}
                    seen.add(f"n0={states.get('n0')}")
                stop.wait(0.25)

        target, pid = (ADDRESSES[0], 8301), agents[0].pid
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind(("127.0.30.99", 0))
        # One pass over the material first, so that growth is not merely the first use of code.
        for packet in packets[:20_000]:
            sender.sendto(packet, target)
            if rng.random() < 0.02:
                time.sleep(0.002)
        time.sleep(2)
        members_before = len(list(get(ADDRESSES[0], "/v1/agent/members")))  # type: ignore[call-overload]
        memory_before, log_before = rss_kb(pid), (folder / "n0.log").stat().st_size
        lost_before = datagrams_dropped(ADDRESSES[0])
        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.monotonic()
        for sent in range(options.packets):
            sender.sendto(packets[sent % len(packets)], target)
            if sent % 100 == 0:
                ahead_s = sent / options.rate - (time.monotonic() - start)
                if ahead_s > 0:
                    time.sleep(ahead_s)
        took_s = time.monotonic() - start
        time.sleep(3)
        stop.set()
        watcher.join()
        lost = datagrams_dropped(ADDRESSES[0]) - lost_before
        print(
            json.dumps(
                {
                    "packets": options.packets,
                    "seconds": round(took_s, 1),
                    "read_by_the_agent": options.packets - lost,
                    "dropped_by_the_kernel": lost,
                    "flooded_member_as_the_others_saw_it": sorted(seen),
                    "still_running": agents[0].poll() is None,
                    "rss_mb_before": round(memory_before / 1024, 1),
                    "rss_mb_after": round(rss_kb(pid) / 1024, 1),
                    "log_bytes_written": (folder / "n0.log").stat().st_size - log_before,
                    "members_before": members_before,
                    "members_after": len(list(get(ADDRESSES[0], "/v1/agent/members"))),  # type: ignore[call-overload]
                    "logs": str(folder),
                },
                indent=1,
            )
        )
    finally:
        stop.set()
        for agent in agents:
            agent.kill()
            agent.wait()


if __name__ == "__main__":
    main()
