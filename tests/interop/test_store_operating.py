"""The consistent store as an operator sees it: three servers, asked by way of a fourth agent."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import PATIENCE_S, Svcmesh, wait_until

pytestmark = pytest.mark.interop

NET = "127.0.74"

WAIT_S = 120
"""Of a question; far more than another leader takes."""


class Trio:
    """Servers `s1` to `s3` and the agent `c`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        join = ("-retry-join", f"{NET}.1", "-retry-interval=1s")
        self.servers = [
            Svcmesh(f"s{n}", f"{NET}.{n}", folder, "-server", "-bootstrap-expect=3", *join)
            for n in (1, 2, 3)
        ]
        self.client = Svcmesh("c", f"{NET}.4", folder, *join)

    def wait_until_up(self) -> None:
        for agent in (*self.servers, self.client):
            agent.wait_until_up()
        wait_until(lambda: len(self.voters()) == 3, what="three voters")
        wait_until(lambda: len(self.client.statuses()) == 4, what="four members")

    def voters(self) -> list[str]:
        return [row.split()[0] for row in self.run("operator", "raft", "list-peers")[1:]]

    def leader(self) -> Svcmesh:
        leading: list[Svcmesh] = []

        def is_known() -> bool:
            rows = self.run("operator", "raft", "list-peers")
            names = [row.split()[0] for row in rows if " leader " in row]
            leading[:] = [server for server in self.servers if server.name in names]
            return bool(leading)

        wait_until(is_known, what="a leader")
        return leading[0]

    def run(self, *arguments: str) -> list[str]:
        """The lines that a command prints, asked of the agent that is no server."""
        environment = {**os.environ, "SVCMESH_HTTP_ADDR": f"{self.client.address}:8500"}
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment,
            check=False,
        )
        return done.stdout.splitlines() if done.returncode == 0 else []

    def do(self, *arguments: str) -> list[str]:
        """As `run`, of what may be done twice; again until a leader has done it."""
        lines: list[str] = []

        def is_done() -> bool:
            lines[:] = self.run(*arguments)
            return bool(lines)

        wait_until(is_done, what=" ".join(arguments))
        return lines

    def keys(self, server: Svcmesh) -> Any:  # noqa: ANN401 -- JSON
        return server.http("/v1/kv/?recurse&stale")


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    found = Trio(tmp_path_factory.mktemp("trio"))
    try:
        found.wait_until_up()
        yield found
    finally:
        for agent in (*found.servers, found.client):
            agent.kill()


def test_what_is_saved_is_what_every_server_has_after_it_is_restored(trio: Trio) -> None:
    file = str(trio.folder / "s.snap")
    trio.do("kv", "delete", "-recurse", "")
    for number in range(20):
        trio.do("kv", "put", f"a/{number}", f"v{number}")
    before = trio.client.http("/v1/kv/?recurse")
    assert trio.do("snapshot", "save", file)[0].startswith("Saved and verified snapshot to index")
    assert any(line.split()[:2] == ["Keys", "20"] for line in trio.run("snapshot", "inspect", file))
    trio.do("kv", "delete", "-recurse", "a/")
    trio.do("kv", "put", "b", "new")
    assert trio.do("snapshot", "restore", file) == ["Restored snapshot"]
    wait_until(
        lambda: all(trio.keys(server) == before for server in trio.servers),
        what="every server has what was saved",
    )


def test_leadership_is_handed_over(trio: Trio) -> None:
    former = trio.leader()
    assert trio.run("operator", "raft", "transfer-leader") == ["Success"]
    wait_until(lambda: trio.leader() is not former, what="another leads")
    wait_until(
        lambda: trio.do("operator", "autopilot", "state")[0].split() == ["Healthy:", "true"],
        what="all are well",
    )


def test_a_question_that_waits_outlives_the_leader(trio: Trio) -> None:
    trio.do("kv", "put", "waited", "one")
    url = f"http://{trio.client.address}:8500/v1/kv/waited"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        index = answer.headers["X-Consul-Index"]
    found: list[object] = []

    def ask() -> None:
        question = f"{url}?index={index}&wait={WAIT_S}s&raw"
        with urllib.request.urlopen(question, timeout=2 * WAIT_S) as answer:
            found.append(answer.read())

    waiting = threading.Thread(target=ask)
    waiting.start()
    time.sleep(1.0)  # long enough to be a question that has waited
    leader = trio.leader()
    leader.process.send_signal(signal.SIGSTOP)
    try:
        others = [server for server in trio.servers if server is not leader]
        wait_until(
            lambda: trio.run("kv", "put", "waited", "two"),
            what=lambda: f"another leads\n{others[0].output()}",
        )
        waiting.join(timeout=2 * WAIT_S)
        assert found == [b"two"]
    finally:
        leader.process.send_signal(signal.SIGCONT)
