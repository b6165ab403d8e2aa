"""Cut a cluster of real agents in two for longer than both halves remember each other.

Two network namespaces joined by a pair of virtual interfaces; while cut, what one sends to the
other goes to nobody's hardware address, so there is silence and no error. Needs root, and a program
with Consul's agent flags:

    bench/split.py --bin .venv/bin/svcmesh --agents 20 --cut 300

`reconnect_timeout` is set so that each half forgets the other well within the cut. Reported: when
every agent had forgotten the other half, and how long after the cut's end everybody saw everybody.
"""

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NETWORK = "10.77.0"
REAPED_AFTER = "60s"
NOBODY = "02:00:00:00:00:77"
STARTING_S_MAX = 90.0


def run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True)


@contextlib.contextmanager
def two_islands(
    names: tuple[str, str], links: tuple[str, str], counts: tuple[int, int]
) -> Iterator[None]:
    """Two namespaces with `counts` addresses each, on one network."""
    try:
        for name in names:
            run(f"ip netns add {name}")
            run(f"ip -n {name} link set lo up")
        run(f"ip link add {links[0]} netns {names[0]} type veth peer {links[1]} netns {names[1]}")
        number = 1
        for name, link, count in zip(names, links, counts, strict=True):
            for _ in range(count):
                run(f"ip -n {name} address add {NETWORK}.{number}/24 dev {link}")
                number += 1
            run(f"ip -n {name} link set {link} up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def cut(islands: tuple[str, str], links: tuple[str, str], agents: "list[Agent]") -> None:
    """Send everything for the other island to nobody."""
    for island, link in zip(islands, links, strict=True):
        for agent in agents:
            if agent.island != island:
                neighbour = f"{agent.address} dev {link} lladdr {NOBODY} nud permanent"
                run(f"ip -n {island} neighbour replace {neighbour}")


def join_again(islands: tuple[str, str], links: tuple[str, str], agents: "list[Agent]") -> None:
    """Undo `cut`."""
    for island, link in zip(islands, links, strict=True):
        for agent in agents:
            if agent.island != island:
                run(f"ip -n {island} neighbour delete {agent.address} dev {link}")


class Agent:
    """One agent in its island."""

    def __init__(self, number: int, island: str, options: argparse.Namespace, folder: Path) -> None:
        self.name, self.island = f"n{number}", island
        self.address = f"{NETWORK}.{number}"
        settings = folder / "settings.json"
        settings.write_text(json.dumps({"reconnect_timeout": REAPED_AFTER}))
        command = [
            "ip", "netns", "exec", island, *shlex.split(options.bin), "agent", "-node", self.name,
            "-bind", self.address, "-client", self.address, "-data-dir", str(folder / self.name),
            "-config-file", str(settings), *options.flags.split(),
        ]  # fmt: skip
        if number > 1:
            command += ["-retry-join", f"{NETWORK}.1", "-retry-interval", "1s"]
        with (folder / f"{self.name}.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


ASK = """
import json, sys, urllib.request
for address in sys.argv[1:]:
    try:
        with urllib.request.urlopen(f"http://{address}:8500/v1/agent/members", timeout=2) as answer:
            found = {m["Name"]: m["Status"] for m in json.load(answer)}
    except OSError:
        found = {}
    print(json.dumps(found), flush=True)
"""


def views(agents: list[Agent]) -> list[dict[str, int]]:
    """Each agent's statuses by member; asked from within its island, which the cut spares."""
    found: list[dict[str, int]] = []
    for island in dict.fromkeys(agent.island for agent in agents):
        addresses = [agent.address for agent in agents if agent.island == island]
        answer = subprocess.run(
            ["ip", "netns", "exec", island, "python3", "-c", ASK, *addresses],
            check=True,
            capture_output=True,
            text=True,
        )
        found += [json.loads(line) for line in answer.stdout.splitlines()]
    return found


def seconds_until(agents: list[Agent], names: dict[str, set[str]], limit_s: float) -> float | None:
    """When every agent lists exactly the members of `names` as alive, and no others."""
    since = time.monotonic()
    while time.monotonic() - since < limit_s:
        seen = views(agents)
        alive = [{name for name, status in view.items() if status == 1} for view in seen]
        wanted = [names[agent.name] for agent in agents]
        if alive == wanted and all(
            len(view) == len(w) for view, w in zip(seen, wanted, strict=True)
        ):
            return round(time.monotonic() - since, 1)
        time.sleep(0.5)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument("--cut", type=float, default=300.0, help="seconds")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds to wait for one view")
    parser.add_argument("--flags", default="", help="more flags for every agent")
    parser.add_argument("--prefix", default=f"split{os.getpid()}", help="of the namespaces")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="split-"))
    half = options.agents // 2
    islands = (f"{options.prefix}-a", f"{options.prefix}-b")
    links = (f"{options.prefix[:8]}va", f"{options.prefix[:8]}vb")
    with two_islands(islands, links, (half, options.agents - half)):
        agents: list[Agent] = []
        try:
            for number in range(1, options.agents + 1):
                agents.append(Agent(number, islands[number > half], options, folder))
                time.sleep(1.0 if number == 1 else 0.0)
            everybody = {agent.name for agent in agents}
            halves = [{a.name for a in agents if a.island == island} for island in islands]
            apart = {agent.name: halves[islands.index(agent.island)] for agent in agents}
            together = dict.fromkeys(apart, everybody)
            result: dict[str, object] = {"bin": options.bin, "agents": options.agents}
            result["converged_s"] = seconds_until(agents, together, STARTING_S_MAX)
            cut_at = time.monotonic()
            cut(islands, links, agents)
            result["forgotten_after_s"] = seconds_until(agents, apart, options.cut)
            time.sleep(max(0.0, options.cut - (time.monotonic() - cut_at)))
            result["cut_s"] = round(time.monotonic() - cut_at, 1)
            join_again(islands, links, agents)
            result["one_view_after_s"] = seconds_until(agents, together, options.limit)
            result["logs"] = str(folder)
            print(json.dumps(result, indent=1))
        finally:
            for agent in agents:
                agent.end()


if __name__ == "__main__":
    main()
