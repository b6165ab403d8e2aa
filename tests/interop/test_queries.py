"""Prepared queries on real agents: they outlive everybody, and fail over to another data center."""

import re
import subprocess
from collections.abc import Iterator
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

SERVER = ("-server", "-bootstrap-expect=1")
QUERY = {"Name": "web", "Service": {"Service": "web"}}


def query_names(agent: Svcmesh) -> list[str]:
    return sorted(one["Name"] for one in agent.http("/v1/query"))


def found(agent: Svcmesh) -> tuple[str, list[int]]:
    answer = agent.http("/v1/query/web/execute")
    return answer["Datacenter"], [one["Service"]["Port"] for one in answer["Nodes"]]


def test_queries_and_nodes_without_an_agent_outlive_a_data_center_that_is_killed(
    tmp_path: Path,
) -> None:
    def start() -> tuple[Svcmesh, Svcmesh]:
        server = Svcmesh("n1", "127.0.44.1", tmp_path, *SERVER)
        join = ("-retry-join=127.0.44.1", "-retry-interval=1s")
        client = Svcmesh("n2", "127.0.44.2", tmp_path, *join)
        return server, client

    agents = start()
    with ended_afterwards(*agents):
        server, client = agents
        for agent in agents:
            agent.wait_until_up()
        wait_until(lambda: len(client.statuses()) == 2, what="two members")
        server.http("/v1/query", method="POST", body=QUERY)
        server.http(
            "/v1/catalog/register",
            method="PUT",
            body={"Node": "db", "Address": "10.0.0.1", "Service": {"Service": "web", "Port": 7}},
        )
        client.http("/v1/query", method="POST", body={**QUERY, "Name": "by-client"})
        wait_until(lambda: query_names(server) == ["by-client", "web"], what="both queries")
        # The journal keeps its order: when this is acknowledged, all before it is on the disk.
        mark = {"Node": "mark", "Address": "10.0.0.2"}
        server.http("/v1/catalog/register", method="PUT", body=mark)
        for agent in agents:
            agent.kill()
    agents = start()
    with ended_afterwards(*agents):
        server, client = agents
        for agent in agents:
            agent.wait_until_up()
        # Queries and nodes come to the client one by one.
        wait_until(
            lambda: all(query_names(agent) == ["by-client", "web"] for agent in agents),
            what=lambda: f"the queries\n{server.output()}\n{client.output()}",
        )
        wait_until(
            lambda: all(found(agent) == ("dc1", [7]) for agent in agents),
            what=lambda: f"the node: {found(server)}, {found(client)}",
        )


@pytest.fixture(scope="module")
def datacenters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Svcmesh, ...]]:
    """A server and a client of dc1, and a server of dc2, which know each other."""
    folder = tmp_path_factory.mktemp("queries")
    here = Svcmesh("a1", "127.0.45.1", folder, *SERVER)
    join = ("-retry-join=127.0.45.1", "-retry-interval=1s")
    client = Svcmesh("a2", "127.0.45.2", folder, *join)
    wan = ("-datacenter=dc2", "-retry-join-wan=127.0.45.1", "-retry-interval-wan=1s")
    there = Svcmesh("b1", "127.0.46.1", folder, *SERVER, *wan)
    with ended_afterwards(here, client, there):
        for agent in (here, client, there):
            agent.wait_until_up()
        wait_until(
            lambda: client.http("/v1/catalog/datacenters") == ["dc1", "dc2"],
            what="two data centers",
        )
        yield here, client, there


def test_a_query_fails_over_and_comes_back(
    datacenters: tuple[Svcmesh, ...],
) -> None:
    here, client, there = datacenters
    dig = require_program("dig")

    def answers(datacenter: str, port: int, address: str) -> None:
        wait_until(
            lambda: all(found(agent) == (datacenter, [port]) for agent in (here, client)),
            what=lambda: f"{datacenter} answers: {found(here)}, {found(client)}",
        )
        wait_until(
            lambda: addresses() == [address], what=lambda: f"{address} in DNS: {addresses()}"
        )

    def addresses() -> list[str]:
        command = [dig, "@127.0.45.2", "-p", "8600", "+short", "web.query.svcmesh"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout.split()

    check = {"CheckID": "web", "TTL": "1h", "Status": "passing"}
    here.register(Name="web", Port=81, Check=check)
    there.register(Name="web", Port=82)
    body = {"Name": "web", "Service": {"Service": "web", "Failover": {"NearestN": 1}}}
    client.http("/v1/query", method="POST", body=body)
    answers("dc1", 81, "127.0.45.1")
    here.http("/v1/agent/check/fail/web", method="PUT")
    answers("dc2", 82, "127.0.46.1")
    here.http("/v1/agent/check/pass/web", method="PUT")
    answers("dc1", 81, "127.0.45.1")


def test_a_query_of_the_other_data_center_is_asked_for_by_name(
    datacenters: tuple[Svcmesh, ...],
) -> None:
    there = datacenters[2]
    dig = require_program("dig")
    there.register(Name="only-there", Port=83)
    body = {"Name": "theirs", "Service": {"Service": "only-there"}, "DNS": {"TTL": "7s"}}
    there.http("/v1/query", method="POST", body=body)
    command = [dig, "@127.0.45.2", "-p", "8600", "+noall", "+answer"]

    def answer() -> str:
        return subprocess.run(
            [*command, "theirs.query.dc2.svcmesh", "SRV"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        ).stdout

    expected = r"\s7\s+IN\s+SRV\s+1 1 83 b1\.node\.dc2\.svcmesh\."
    wait_until(lambda: re.search(expected, answer()), what=answer)
