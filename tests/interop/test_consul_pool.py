"""An agent of ours in the LAN pool of a real Consul agent: listed alive, user events both ways."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import PATIENCE_S, Child, Svcmesh, ended_afterwards, fetch, wait_until

pytestmark = pytest.mark.interop

CONSUL = os.environ.get("CONSUL_BINARY") or shutil.which("consul")
THEIRS, OURS = "127.0.59.1", "127.0.59.2"


class Consul(Child):
    """One `consul agent -dev`."""

    def __init__(self, folder: Path) -> None:
        assert CONSUL is not None
        super().__init__(
            [CONSUL, "agent", "-dev", "-node=theirs", f"-bind={THEIRS}", f"-client={THEIRS}"],
            folder / "consul.log",
        )

    def http(self, path: str, *, method: str = "GET", body: bytes = b"") -> Any:  # noqa: ANN401  # JSON
        request = urllib.request.Request(
            f"http://{THEIRS}:8500{path}", method=method, data=body or None
        )
        return json.loads(fetch(request))

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(CONSUL), arguments[0], f"-http-addr={THEIRS}:8500", *arguments[1:]],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.stdout


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Consul, Svcmesh]]:
    if CONSUL is None:
        pytest.skip("no Consul binary: put one into PATH, or its path into CONSUL_BINARY")
    folder = tmp_path_factory.mktemp("consul")
    theirs = Consul(folder)
    ours = Svcmesh("ours", OURS, folder, f"-retry-join={THEIRS}", "-retry-interval=1s")
    with ended_afterwards(theirs, ours):
        ours.wait_until_up()
        wait_until(
            lambda: ours.statuses() == {"ours": "alive", "theirs": "alive"},
            what=lambda: f"ours has joined\n{ours.output()}\n{theirs.output()}",
        )
        yield theirs, ours


def test_consul_lists_us_alive_as_a_client(agents: tuple[Consul, Svcmesh]) -> None:
    theirs, _ = agents

    def row() -> list[str]:
        lines = theirs.command("members").splitlines()
        return next((line.split() for line in lines if line.startswith("ours ")), [])

    wait_until(lambda: row()[2:4] == ["alive", "client"], what="alive in consul members")
    assert row()[1] == f"{OURS}:8301"
    assert row()[6] == "dc1"


def test_user_events_both_ways(agents: tuple[Consul, Svcmesh]) -> None:
    theirs, ours = agents
    theirs.http("/v1/event/fire/from-theirs?node=ours", method="PUT", body=b"hello")
    ours.http("/v1/event/fire/from-ours?node=theirs", method="PUT")

    def names(agent: Consul | Svcmesh) -> list[str]:
        return [event["Name"] for event in agent.http("/v1/event/list")]

    wait_until(lambda: "from-theirs" in names(ours), what="theirs is heard here")
    wait_until(lambda: "from-ours" in names(theirs), what="ours is heard there")
    (event,) = ours.http("/v1/event/list?name=from-theirs")
    assert event["Payload"] == "aGVsbG8="
    assert event["NodeFilter"] == "ours"
