"""One data center asked from another: real agents, dig, and servers that are killed meanwhile."""

import subprocess
import threading
import urllib.error
from collections.abc import Iterator

import pytest

from tests.interop.processes import PATIENCE_S, Svcmesh, require_program, wait_until

HERE, THERE = "127.0.51", "127.0.52"


class World:
    """A server and a client of dc1, two servers of dc2."""

    def __init__(self, folder_of: pytest.TempPathFactory) -> None:
        folder = folder_of.mktemp("datacenters")
        one = ("-server", "-bootstrap-expect=1", "-datacenter=dc1")
        self.server = Svcmesh("a1", f"{HERE}.1", folder, *one)
        # All begin at once, and whoever is first finds nobody yet.
        again = ("-retry-interval=1s", "-retry-interval-wan=1s")
        self.client = Svcmesh("a2", f"{HERE}.2", folder, f"-retry-join={HERE}.1", *again)
        self._two = ("-server", "-datacenter=dc2", f"-retry-join-wan={HERE}.1", *again)
        self._folder = folder
        self.there = Svcmesh("b1", f"{THERE}.1", folder, *self._two, "-bootstrap-expect=1")
        self.second = self.start_second()

    def start_second(self) -> Svcmesh:
        flags = (*self._two, f"-retry-join={THERE}.1")
        return Svcmesh("b2", f"{THERE}.2", self._folder, *flags)

    @property
    def agents(self) -> tuple[Svcmesh, ...]:
        return self.server, self.client, self.there, self.second


def is_whole(world: World) -> bool:
    """Whether every agent knows all that the tests rely upon: whichever is asked answers the same.

    Raft's peers, members and nodes spread each in their own way.
    """
    peers = world.client.http("/v1/operator/raft/configuration?dc=dc2")["Servers"]
    nodes = [
        {node["Node"] for node in agent.http("/v1/catalog/nodes")}
        for agent in (world.there, world.second, world.server, world.client)
    ]
    wanted = [{"b1", "b2"}, {"b1", "b2"}, {"a1", "a2"}, {"a1", "a2"}]
    return len(peers) == 2 and nodes == wanted and bool(world.client.http("/v1/status/leader"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    found = World(tmp_path_factory)
    try:
        for agent in found.agents:
            agent.wait_until_up()
        wait_until(lambda: is_whole(found), what="two data centers")
        yield found
    finally:
        # Those of now: the second is replaced.
        for agent in found.agents:
            agent.kill()


def dig(name: str, *flags: str) -> list[str]:
    command = [require_program("dig"), f"@{HERE}.2", "-p", "8600", "+short", *flags, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    return sorted(done.stdout.splitlines())


@pytest.mark.interop
def test_a_client_reads_and_writes_in_the_other_data_center(world: World) -> None:
    assert world.client.http("/v1/kv/a?dc=dc2", method="PUT", body={"x": 1}) is True
    assert world.there.http("/v1/kv/?keys") == ["a"]
    assert world.client.http("/v1/kv/a?dc=dc2")[0]["Key"] == "a"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        world.client.http("/v1/kv/a")
    names = {node["Node"] for node in world.client.http("/v1/catalog/nodes?dc=dc2")}
    assert names == {"b1", "b2"}


@pytest.mark.interop
def test_dns_of_the_other_data_center_follows_its_changes(world: World) -> None:
    def answers(wanted: list[str], name: str, *flags: str) -> None:
        wait_until(
            lambda: dig(name, *flags) == wanted,
            what=lambda: f"{name} is {wanted}, not {dig(name, *flags)}",
        )

    first, second = f"{THERE}.1", f"{THERE}.2"
    world.there.register(Name="web", Port=80, Tags=["v1"])
    answers([first], "web.service.dc2.svcmesh")
    answers(["1 1 80 b1.node.dc2.consul."], "v1.web.service.dc2.dc.consul", "SRV")
    answers([], "web.service.dc9.svcmesh")
    world.second.register(Name="web", Port=80)
    answers([first, second], "web.service.dc2.svcmesh")


@pytest.mark.interop
def test_a_server_that_is_killed_loses_no_read(world: World) -> None:
    world.there.register(Name="steady", Port=80)
    wait_until(
        lambda: all(
            agent.http("/v1/health/service/steady") for agent in (world.there, world.second)
        ),
        what="both servers know it",
    )
    errors: list[str] = []
    done, counted = threading.Event(), [0]

    def read() -> None:
        while not done.is_set():
            try:
                found = world.client.http("/v1/health/service/steady?dc=dc2")
                if not found:
                    errors.append("empty")
            except OSError as error:
                errors.append(str(error))
            counted[0] += 1

    def reads_go_on() -> None:
        before = counted[0]
        wait_until(lambda: counted[0] > before + 50, what="reads")

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(3):
            world.second.kill()
            reads_go_on()
            world.second = world.start_second()
            world.second.wait_until_up()
            reads_go_on()
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert errors == []
