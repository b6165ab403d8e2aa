"""The command line with real agents, where what it shows needs one."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import PATIENCE_S, Child, Svcmesh, ended_afterwards, wait_until

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Svcmesh, Svcmesh]]:
    folder = tmp_path_factory.mktemp("commands")
    first = Svcmesh("n1", "127.0.49.2", folder)
    second = Svcmesh("n2", "127.0.49.3", folder)
    with ended_afterwards(first, second):
        first.wait_until_up()
        second.wait_until_up()
        second.http(f"/v1/agent/join/{first.address}", method="PUT")
        wait_until(lambda: len(first.statuses()) == len(second.statuses()) == 2, what="two members")
        yield first, second


def svcmesh(agent: Svcmesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", arguments[0], f"-http-addr={agent.address}:8500",
         *arguments[1:]],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def test_agents_that_have_the_same_say_so(agents: tuple[Svcmesh, Svcmesh]) -> None:
    agents[1].register(Name="web", ID="web-1", Port=80)

    def agree() -> bool:
        return all(svcmesh(agent, "consistency").returncode == 0 for agent in agents)

    def found() -> list[dict[str, Any]]:
        said = [svcmesh(agent, "consistency", "-format=json").stdout for agent in agents]
        return [json.loads(one) for one in said]

    def is_same() -> bool:
        one, other = found()
        return bool(
            one["Fingerprint"] == other["Fingerprint"]
            and [peer["Node"] for peer in (*one["Peers"], *other["Peers"])] == ["n2", "n1"]
            and one["LagSeconds"] == other["LagSeconds"] == 0
        )

    wait_until(lambda: agree() and is_same(), what=lambda: f"agreement: {found()}")


def test_why_a_service_is_missing(agents: tuple[Svcmesh, Svcmesh]) -> None:
    first, second = agents
    second.register(Name="why", ID="why-1", Port=80, Check={"TTL": "60s"})

    def told() -> str:
        return svcmesh(first, "why", "why-1").stdout

    wait_until(lambda: "why-1 (why) on n2" in told(), what="it is known")
    assert "at 127.0.49.3:80: DNS leaves it out" in told()
    assert "service:why-1" in told()
    second.http("/v1/agent/check/pass/service:why-1", method="PUT")
    wait_until(lambda: "DNS answers with it" in told(), what="it passes")
    assert svcmesh(second, "maint", "-enable", "-reason=disk swap").returncode == 0
    wait_until(lambda: "disk swap" in told(), what="maintenance is known")
    assert "because its node is in maintenance, since " in told()
    assert svcmesh(second, "maint").stdout == "Node:\n  Name:   n2\n  Reason: disk swap\n\n"
    svcmesh(second, "maint", "-disable")
    assert svcmesh(second, "maint").stdout == ""


def test_a_watch_runs_its_child_for_every_change(
    agents: tuple[Svcmesh, Svcmesh], tmp_path: Path
) -> None:
    first, second = agents
    watch = Child(
        [
            *(sys.executable, "-m", "cli", "watch", f"-http-addr={first.address}:8500"),
            *("-type=service", "-service=seen", "cat"),
        ],
        tmp_path / "watch.log",
    )
    with ended_afterwards(watch):

        def ids() -> list[list[str]]:
            # Its last line may be half written.
            lines = [json.loads(line) for line in watch.output().split("\n")[:-1]]
            shown = [[entry["Service"]["ID"] for entry in line] for line in lines]
            # A change of something else, such as a member that was busy, shows the same again.
            return [now for before, now in pairwise([None, *shown]) if now != before]

        wait_until(lambda: ids() == [[]], what="nothing, at first")
        second.register(Name="seen", ID="seen-1", Port=80)
        wait_until(lambda: ids() == [[], ["seen-1"]], what="it came")
        second.http("/v1/agent/service/deregister/seen-1", method="PUT")
        wait_until(lambda: ids() == [[], ["seen-1"], []], what="it went")
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(timeout=PATIENCE_S) == 0


@pytest.mark.slow
def test_debug_makes_an_archive_of_what_the_agent_says(
    agents: tuple[Svcmesh, Svcmesh], tmp_path: Path
) -> None:
    out = tmp_path / "debug"
    captured = ("-capture=agent", "-capture=cluster")
    done = svcmesh(agents[0], "debug", f"-output={out}", "-duration=10s", "-interval=5s", *captured)
    assert (done.returncode, done.stderr) == (0, "")
    with tarfile.open(f"{out}.tar.gz") as archive:
        names = {os.path.basename(name) for name in archive.getnames()}
    assert {"agent.json", "cluster.json", "index.json"} <= names
