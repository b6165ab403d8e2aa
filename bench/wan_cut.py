"""The WAN pool of two data centers whose link is cut and comes back: who sees whom, and when.

    bench/wan_cut.py [--cut 120]                # about a minute more than the cut; needs root

Meanwhile a service is registered in dc2: when is it in dc1's summaries after the link's return?
Expected: the other data center's servers fail and nothing else; within 30 s of the return every
server sees every other one alive. Exit code 1 when that was not so.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from two_dcs import Agent, DataCenter, TwoDataCenters, run, until

ALIVE, FAILED = 1, 4


def statuses(agent: Agent, datacenter: str) -> set[int]:
    """Of the servers of a data center in the WAN pool, as a server sees them."""
    members = agent.http("/v1/agent/members?wan=1")
    return {one["Status"] for one in members if one["Tags"]["dc"] == datacenter}


def sees(here: DataCenter, there: DataCenter, status: int) -> bool:
    """Whether every server has all servers of the other data center so."""
    return all(statuses(server, there.name) == {status} for server in here.servers)


def failures(dc: DataCenter) -> int:
    """How often an agent has declared one of its own data center failed, in either pool."""
    return sum(
        f": {what} failed: {dc.name}-" in line
        for agent in dc.agents
        for line in agent.log.read_text().splitlines()
        for what in ("member", "server")
    )


def knows(agent: Agent, service: str) -> bool:
    return service in [one["Service"] for one in agent.http("/v1/catalog/services?global")]


def measure(dcs: TwoDataCenters, program: str, cut_s: float) -> dict[str, object]:
    here, there = dcs.dcs
    assert sees(here, there, ALIVE)
    assert sees(there, here, ALIVE)
    began_at = time.monotonic()
    dcs.cut()
    failed_s: float | None = None
    register = f"{program} services register -name=made-meanwhile -port=1"
    register += f" -http-addr={there.clients[0].address}:8500"
    run(f"ip netns exec {there.namespace} {register}")
    # From here only our own side can be asked.
    while time.monotonic() - began_at < cut_s:
        if failed_s is None and sees(here, there, FAILED):
            failed_s = round(time.monotonic() - began_at, 1)
        time.sleep(1.0)
    dcs.mend()
    mended_at = time.monotonic()
    told_s = until(
        lambda: all(knows(agent, "made-meanwhile") for agent in here.agents), 120.0, "told"
    )
    until(lambda: sees(here, there, ALIVE) and sees(there, here, ALIVE), 120.0, "all see all alive")
    healed_s = time.monotonic() - mended_at
    failed_at_home = failures(here) + failures(there)
    return {
        "cut_s": cut_s,
        "all_failed_after_s": failed_s,
        "failed_at_home": failed_at_home,
        "service_known_after_s": round(told_s, 1),
        "healed_s": round(healed_s, 1),
        "is_good": failed_at_home == 0 and healed_s <= 30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bin", default=".venv/bin/svcmesh")
    parser.add_argument("--cut", type=float, default=120.0, help="seconds")
    parser.add_argument("--prefix", default="wancut", help="of the names of network namespaces")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(options.inside or tempfile.mkdtemp(prefix="wan-cut-"))
    program = str(Path(options.bin).absolute())
    dcs = TwoDataCenters(program, folder, prefix=options.prefix, rtt_ms=60.0, tls=False)
    if not options.inside:
        with dcs.networks():
            again = [sys.executable, *sys.argv, "--inside", str(folder)]
            code = subprocess.call(["ip", "netns", "exec", dcs.dcs[0].namespace, *again])
        sys.exit(code)
    try:
        dcs.start()
        result = measure(dcs, program, options.cut)
    finally:
        dcs.stop()
    print(json.dumps(result, indent=1))
    print(f"logs in {folder}")
    sys.exit(0 if result["is_good"] else 1)


if __name__ == "__main__":
    main()
