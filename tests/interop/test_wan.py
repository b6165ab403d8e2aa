"""Data centers on real sockets: joined by one command, with servers of ours and of Consul."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import (
    PATIENCE_S,
    SERF_STATUS,
    Child,
    Svcmesh,
    ended_afterwards,
    fetch,
    wait_until,
)

pytestmark = pytest.mark.interop

CONSUL = os.environ.get("CONSUL_BINARY") or shutil.which("consul")
KEY = "lQEVY0ceVlwDJFTV+UylEQu4ar2wtKp0MXoYlpxxvw8="
ALIVE_S = 20.0
WAN_PATIENCE_S = 300.0
"""For a death in the WAN pool, which is given half a minute to be denied."""


def server(name: str, address: str, folder: Path, datacenter: str, *flags: str) -> Svcmesh:
    return Svcmesh(name, address, folder, "-server", "-datacenter", datacenter, *flags)


def wan_statuses(agent: Svcmesh) -> dict[str, str]:
    found = agent.http("/v1/agent/members?wan=1")
    return {member["Name"]: SERF_STATUS[member["Status"]] for member in found}


def command(agent: Svcmesh, *arguments: str) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cli",
            arguments[0],
            f"-http-addr={agent.address}:8500",
            *list(arguments[1:]),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.stdout + done.stderr


class TwoDatacenters:
    """`a1` to `a3` and the client `ac` in dc1, `b1`, `b2` in dc2; joined by one command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agents: dict[str, Svcmesh] = {}
        for number in (1, 2, 3):
            self.start(f"a{number}", "dc1", "-server", "-bootstrap-expect=3")
        self.start("ac", "dc1")
        for number in (1, 2):
            self.start(f"b{number}", "dc2", "-server", "-bootstrap-expect=2")

    def start(self, name: str, datacenter: str, *flags: str) -> Svcmesh:
        net = {"a": 61, "b": 62}[name[0]]
        host = {"1": 1, "2": 2, "3": 3, "c": 4}[name[1]]
        agent = Svcmesh(
            name,
            f"127.0.{net}.{host}",
            self.folder,
            *("-datacenter", datacenter, f"-encrypt={KEY}"),
            *(f"-retry-join=127.0.{net}.1", "-retry-interval=1s"),
            *flags,
        )
        self.agents[name] = agent
        return agent


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoDatacenters]:
    found = TwoDatacenters(tmp_path_factory.mktemp("wan"))
    agents = found.agents
    try:
        for agent in agents.values():
            agent.wait_until_up()
        wait_until(
            lambda: len(agents["ac"].statuses()) == 4 and len(agents["b2"].statuses()) == 2,
            what="both LANs are complete",
        )
        assert "Successfully joined" in command(agents["a2"], "join", "-wan", "127.0.62.1")
        servers = [agent for name, agent in agents.items() if name != "ac"]
        wait_until(
            lambda: all(wan_statuses(agent) == ALL for agent in servers),
            what=lambda: f"all know all: {[wan_statuses(agent) for agent in servers]}",
        )
        yield found
    finally:
        for agent in agents.values():
            if agent.process.poll() is None:
                agent.kill()


ALL = dict.fromkeys(("a1.dc1", "a2.dc1", "a3.dc1", "b1.dc2", "b2.dc2"), "alive")


def test_one_join_brings_all_servers_of_both_together(both: TwoDatacenters) -> None:
    for name in ("a1", "a2", "a3", "b1", "b2"):
        assert wan_statuses(both.agents[name]) == ALL
    assert wan_statuses(both.agents["ac"]) == {}


def test_a_client_agent_knows_the_data_centers_its_own_first(both: TwoDatacenters) -> None:
    assert both.agents["ac"].http("/v1/catalog/datacenters") == ["dc1", "dc2"]
    assert both.agents["b1"].http("/v1/catalog/datacenters") == ["dc2", "dc1"]
    places = both.agents["ac"].http("/v1/coordinate/datacenters")
    assert [place["Datacenter"] for place in places] == ["dc1", "dc2"]
    answer = command(both.agents["ac"], "join", "-wan", "127.0.62.1")
    assert "Must be a server to join WAN cluster" in answer


def test_keys_are_rotated_in_both_pools(both: TwoDatacenters) -> None:
    agent = both.agents["a1"]

    def rings(kind: str) -> list[dict[str, int]]:
        found = {ring["WAN"]: ring[kind] for ring in agent.http("/v1/operator/keyring")}
        return [found[True], found[False]]

    # A member may be late with its answer; what it has done is not undone.
    wait_until(lambda: rings("Keys") == [{KEY: 5}, {KEY: 4}], what=lambda: f"{rings('Keys')}")
    other = "A" * 43 + "="
    for method in ("POST", "PUT"):
        wait_until(
            lambda method=method: (
                agent.http(  # type: ignore[misc]  # a default has no type
                    "/v1/operator/keyring", method=method, body={"Key": other}
                )
                is None
            ),
            what=f"{method} at all members",
        )
    wait_until(
        lambda: rings("PrimaryKeys") == [{other: 5}, {other: 4}],
        what=lambda: f"{rings('PrimaryKeys')}",
    )


def test_a_server_that_was_killed_finds_the_wan_again_without_being_told(
    both: TwoDatacenters,
) -> None:
    both.agents["b2"].kill()
    wait_until(
        lambda: wan_statuses(both.agents["a1"]).get("b2.dc2") == "failed",
        within_s=WAN_PATIENCE_S,
        what="a1 lists b2 as failed",
    )
    again = both.start("b2", "dc2", "-server", "-bootstrap-expect=2")
    again.wait_until_up()
    wait_until(
        lambda: all(wan_statuses(both.agents[name]) == ALL for name in ("a1", "b2")),
        what=lambda: f"both know all again\n{again.output()}",
    )


def test_who_leaves_leaves_both_pools(both: TwoDatacenters) -> None:
    command(both.agents["a3"], "leave")
    wait_until(
        lambda: (
            wan_statuses(both.agents["b1"]).get("a3.dc1") == "left"
            and both.agents["ac"].statuses().get("a3") == "left"
        ),
        what="a3 is listed as left in both pools",
    )
    assert both.agents["ac"].http("/v1/catalog/datacenters") == ["dc1", "dc2"]


def test_the_last_server_of_a_data_center_that_is_forced_out_takes_it_along(
    both: TwoDatacenters,
) -> None:
    for name in ("b1", "b2"):
        both.agents[name].kill()
    agent = both.agents["a1"]
    wait_until(
        lambda: (
            [wan_statuses(agent).get(name) for name in ("b1.dc2", "b2.dc2")] == ["failed", "failed"]
        ),
        within_s=WAN_PATIENCE_S,
        what="dc2 is failed",
    )
    assert agent.http("/v1/catalog/datacenters") == ["dc1", "dc2"]
    for name in ("b1.dc2", "b2.dc2"):
        assert command(agent, "force-leave", name) == ""
    wait_until(
        lambda: agent.http("/v1/catalog/datacenters") == ["dc1"],
        what="dc2 is forgotten",
    )


def test_the_wan_can_have_a_key_of_its_own(tmp_path: Path) -> None:
    agents = []
    for number, datacenter in enumerate(("dc1", "dc2", "dc3"), 1):
        path = tmp_path / f"{datacenter}.json"
        secret = "A" * 43 + "=" if datacenter != "dc3" else "B" * 43 + "="
        path.write_text(json.dumps({"encrypt": KEY, "encrypt_wan": secret}))
        flags = [f"-config-file={path}", "-bootstrap-expect=1", "-retry-interval-wan=1s"]
        flags += ["-retry-join-wan=127.0.63.1"] if number > 1 else []
        agents.append(server(f"n{number}", f"127.0.63.{number}", tmp_path, datacenter, *flags))
    with ended_afterwards(*agents):
        for agent in agents:
            agent.wait_until_up()
        wait_until(
            lambda: wan_statuses(agents[0]) == {"n1.dc1": "alive", "n2.dc2": "alive"},
            what="dc1 and dc2 share their key",
        )
        wait_until(
            lambda: "joining the WAN pool failed" in agents[2].output(), what="dc3 is not let in"
        )
        assert wan_statuses(agents[2]) == {"n3.dc3": "alive"}


def test_a_renamed_data_center_shows_everywhere_without_a_restart_of_others(
    tmp_path: Path,
) -> None:
    flags = ["-bootstrap-expect=1", "-retry-interval-wan=1s"]
    first = server("n1", "127.0.65.1", tmp_path, "dc1", *flags)
    second = server("n2", "127.0.65.2", tmp_path, "old", *flags, "-retry-join-wan=127.0.65.1")
    with ended_afterwards(first, second):
        first.wait_until_up()
        second.wait_until_up()
        wait_until(
            lambda: first.http("/v1/catalog/datacenters") == ["dc1", "old"],
            what="they are joined",
        )
        second.wait_until_kept("n1.dc1", pool="wan-peers")
        second.kill()
        again = server("n2", "127.0.65.2", tmp_path, "new", *flags)
        with ended_afterwards(again):
            wait_until(
                lambda: first.http("/v1/catalog/datacenters") == ["dc1", "new"],
                what=lambda: f"the new name\n{again.output()}",
            )
            wait_until(
                lambda: again.http("/v1/catalog/datacenters") == ["new", "dc1"],
                what="it knows the other too",
            )


class ConsulServer(Child):
    """One server of Consul, in a data center of its own."""

    def __init__(self, address: str, folder: Path) -> None:
        assert CONSUL is not None
        self.address = address
        super().__init__(
            [
                CONSUL,
                "agent",
                "-server",
                "-bootstrap-expect=1",
                "-node=theirs",
                "-datacenter=dc1",
                f"-data-dir={folder / 'consul'}",
                f"-encrypt={KEY}",
                f"-bind={address}",
                f"-client={address}",
            ],
            folder / "consul.log",
        )

    def get(self, path: str) -> Any:  # noqa: ANN401  # JSON
        return json.loads(fetch(f"http://{self.address}:8500{path}"))

    def wan_statuses(self) -> dict[str, str]:
        try:
            found = self.get("/v1/agent/members?wan=1")
        except OSError:
            return {}
        return {member["Name"]: SERF_STATUS[member["Status"]] for member in found}


def test_a_server_of_consul_and_one_of_ours_are_peers(tmp_path: Path) -> None:
    if CONSUL is None:
        pytest.skip("no Consul binary: put one into PATH, or its path into CONSUL_BINARY")
    theirs = ConsulServer("127.0.64.1", tmp_path)
    ours = server(
        "ours",
        "127.0.64.2",
        tmp_path,
        "dc2",
        *("-bootstrap-expect=1", f"-encrypt={KEY}"),
        *("-retry-join-wan=127.0.64.1", "-retry-interval-wan=1s"),
    )
    expected = {"theirs.dc1": "alive", "ours.dc2": "alive"}
    with ended_afterwards(theirs, ours):
        ours.wait_until_up()
        wait_until(
            lambda: theirs.wan_statuses() == expected == wan_statuses(ours),
            what=lambda: f"each lists the other\n{theirs.output()}\n{ours.output()}",
        )
        until = time.monotonic() + ALIVE_S
        while time.monotonic() < until:
            assert theirs.wan_statuses() == expected == wan_statuses(ours)
            time.sleep(0.5)
        assert theirs.get("/v1/catalog/datacenters") == ["dc1", "dc2"]
        assert ours.http("/v1/catalog/datacenters") == ["dc2", "dc1"]
        command(ours, "leave")
        wait_until(
            lambda: theirs.wan_statuses().get("ours.dc2") == "left",
            what="Consul lists us as left",
        )
