"""Three agents as a user starts them, dug with the programs a user has."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.processes import (
    PATIENCE_S,
    Svcmesh,
    ended_afterwards,
    require_program,
    wait_until,
)

pytestmark = pytest.mark.interop


def dig(server: Svcmesh, name: str, kind: str) -> list[str]:
    """The answer section as `dig +short` prints it, sorted."""
    done = subprocess.run(
        [require_program("dig"), f"@{server.address}", "-p", "8600", name, kind, "+short"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return sorted(done.stdout.split("\n")[:-1])


def dig_rcode(server: Svcmesh, name: str) -> str:
    done = subprocess.run(
        [require_program("dig"), f"@{server.address}", "-p", "8600", name, "A"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return done.stdout.partition("status: ")[2].partition(",")[0]


def nslookup(server: Svcmesh, name: str) -> str:
    done = subprocess.run(
        [require_program("nslookup"), "-port=8600", name, server.address],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return done.stdout


def wait_until_left(observer: Svcmesh, name: str) -> None:
    wait_until(
        lambda: observer.statuses().get(name) == "left",
        what=lambda: f"{name} has left: {observer.statuses()}",
    )


@dataclass
class Cluster:
    agents: list[Svcmesh]
    folder: Path

    def wait_for(self, observers: list[Svcmesh], name: str, answer: list[str]) -> None:
        wait_until(
            lambda: all(dig(agent, name, "A") == answer for agent in observers),
            what=lambda: f"{name} A is {answer}: {[dig(agent, name, 'A') for agent in observers]}",
        )

    def restart(self, number: int, *flags: str) -> Svcmesh:
        old = self.agents[number]
        agent = Svcmesh(old.name, old.address, self.folder, *flags)
        self.agents[number] = agent
        agent.wait_until_up()
        return agent


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """n1 (server), n2 and n3 on 127.0.20.2 to .4, joined, all ports at their defaults."""
    first = Svcmesh("n1", "127.0.20.2", tmp_path, "-server", "-bootstrap-expect=1")
    rest = [
        Svcmesh(f"n{n}", f"127.0.20.{n + 1}", tmp_path, "-retry-join", "127.0.20.2",
                "-retry-interval", "1s")
        for n in (2, 3)
    ]  # fmt: skip
    made = Cluster([first, *rest], tmp_path)
    try:
        for agent in made.agents:
            agent.wait_until_up()
        wait_until(
            lambda: all(
                agent.statuses() == {"n1": "alive", "n2": "alive", "n3": "alive"}
                for agent in made.agents
            ),
            what="three members everywhere",
        )
        yield made
    finally:
        with ended_afterwards(*made.agents):
            pass


def test_a_service_is_dug_on_the_other_agents_and_follows_its_agents_death_and_return(
    cluster: Cluster,
) -> None:
    n1, n2, n3 = cluster.agents
    n2.register(Name="web", Port=8080, Tags=["blue"])
    cluster.wait_for([n1, n3], "web.service.svcmesh", ["127.0.20.3"])
    for other in (n1, n3):
        assert dig(other, "web.service.svcmesh", "SRV") == ["1 1 8080 n2.node.dc1.svcmesh."]
        assert dig(other, "web.service.consul", "SRV") == ["1 1 8080 n2.node.dc1.consul."]
        assert dig(other, "blue.web.service.dc1.svcmesh", "A") == ["127.0.20.3"]
        assert "Address: 127.0.20.3" in nslookup(other, "web.service.svcmesh")
    n2.wait_until_kept("n1")
    n2.kill()
    cluster.wait_for([n1, n3], "web.service.svcmesh", [])
    assert dig_rcode(n1, "web.service.svcmesh") == "NXDOMAIN"
    wait_until(
        lambda: n1.statuses().get("n2") == n3.statuses().get("n2") == "failed",
        what="n2 failed",
    )
    # Nothing tells it whom to join but its data directory.
    n2 = cluster.restart(1)
    cluster.wait_for([n1, n2, n3], "web.service.svcmesh", ["127.0.20.3"])


def test_a_leaving_agent_takes_its_services_with_it(cluster: Cluster) -> None:
    n1, n2, n3 = cluster.agents
    n3.register(Name="cache", Port=6379)
    cluster.wait_for([n1, n2], "cache.service.svcmesh", ["127.0.20.4"])
    assert n3.interrupt() == 0
    for other in (n1, n2):
        # Told before it went, but who is told may be busy.
        wait_until_left(other, "n3")
        assert dig_rcode(other, "cache.service.svcmesh") == "NXDOMAIN"
        assert "cache" not in other.http("/v1/catalog/services")
    assert dig_rcode(n1, "n3.node.svcmesh") == "NXDOMAIN"


def test_deregistering_removes_a_service_everywhere(cluster: Cluster) -> None:
    n1, n2, n3 = cluster.agents
    n1.register(ID="web-1", Name="web", Port=1)
    n2.register(ID="web-1", Name="web", Port=2)
    cluster.wait_for([n3], "web.service.svcmesh", ["127.0.20.2", "127.0.20.3"])
    n1.http("/v1/agent/service/deregister/web-1", method="PUT")
    cluster.wait_for([n1, n2, n3], "web.service.svcmesh", ["127.0.20.3"])


def test_discovery_goes_on_without_any_server(cluster: Cluster) -> None:
    n1, n2, n3 = cluster.agents
    n1.kill()
    n2.register(Name="late", Port=1)
    cluster.wait_for([n2, n3], "late.service.svcmesh", ["127.0.20.3"])


def test_a_dev_agent_forgets_its_services_and_no_copy_of_them_remains(tmp_path: Path) -> None:
    n1 = Svcmesh("n1", "127.0.21.2", tmp_path)
    with contextlib.ExitStack() as ended:
        ended.enter_context(ended_afterwards(n1))
        n1.wait_until_up()
        dev = Svcmesh("d1", "127.0.21.3", tmp_path, "-dev", "-join", "127.0.21.2")
        ended.enter_context(ended_afterwards(dev))
        dev.wait_until_up()
        dev.register(Name="ephemeral", Port=1)
        wait_until(lambda: dig(n1, "ephemeral.service.svcmesh", "A") == ["127.0.21.3"], what="seen")
        dev.kill()
        again = Svcmesh("d1", "127.0.21.3", tmp_path, "-dev", "-join", "127.0.21.2")
        ended.enter_context(ended_afterwards(again))
        again.wait_until_up()
        for agent in (n1, again):
            wait_until(
                lambda agent=agent: "ephemeral" not in agent.http("/v1/catalog/services"),  # type: ignore[misc]  # a default has no type
                what="the old copy is gone",
            )
        assert again.http("/v1/agent/services") == {}


def test_a_server_that_is_terminated_does_not_leave_and_a_client_does(tmp_path: Path) -> None:
    server = Svcmesh("n1", "127.0.22.2", tmp_path, "-server", "-bootstrap-expect=1")
    with contextlib.ExitStack() as ended:
        ended.enter_context(ended_afterwards(server))
        server.wait_until_up()
        client = Svcmesh("n2", "127.0.22.3", tmp_path, "-join", "127.0.22.2")
        ended.enter_context(ended_afterwards(client))
        client.wait_until_up()
        wait_until(lambda: len(server.statuses()) == 2, what="joined")
        assert client.terminate() == 0
        wait_until_left(server, "n2")
        assert server.terminate() == 1


def test_a_hangup_reloads_the_service_definitions(tmp_path: Path) -> None:
    services = tmp_path / "services.json"
    services.write_text('{"services": [{"name": "one", "port": 1}, {"name": "two", "port": 2}]}')
    agent = Svcmesh("n1", "127.0.23.2", tmp_path, "-config-file", str(services))
    with ended_afterwards(agent):
        agent.wait_until_up()
        assert sorted(agent.http("/v1/agent/services")) == ["one", "two"]
        services.write_text('{"services": [{"name": "two", "port": 22}]}')
        agent.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: (
                [(name, entry["Port"]) for name, entry in agent.http("/v1/agent/services").items()]
                == [("two", 22)]
            ),
            what="reloaded",
        )
        services.write_text('{"services": [{"nam": "broken"}]}')
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "services[0].nam" in agent.output(), what="the complaint")
        assert list(agent.http("/v1/agent/services")) == ["two"]
