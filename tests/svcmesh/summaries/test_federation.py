"""Whole data centers in virtual time, under loss, crashes and cuts."""

import pytest

from svcmesh.catalog.changes import RecordChanged
from svcmesh.catalog.records import Kind
from svcmesh.simulate.federation import LAN_S, SimulatedFederation
from svcmesh.simulate.network import Link


def federation(*, seed: int, loss: float = 0.0, **size: int) -> SimulatedFederation:
    link = Link(latency_s_min=0.02, latency_s_max=0.06, loss=loss)
    sizes = {"datacenters": 4, "servers": 3, "nodes": 5, "services": 40, **size}
    found = SimulatedFederation(seed=seed, link=link, **sizes)
    found.join()
    return found


def agree_within(found: SimulatedFederation, limit_s: float) -> None:
    found.pool.run_for(LAN_S[1])
    took = found.run_until(found.agrees, limit_s=limit_s)
    assert took is not None, f"no agreement within {limit_s} s, seed {found.pool.seed}"


@pytest.mark.parametrize("seed", range(3))
def test_data_centers_that_meet_know_each_others_services(seed: int) -> None:
    found = federation(seed=seed, loss=0.05)
    agree_within(found, 5)
    said = found.servers()[0].said_of("dc4")
    assert said == found.datacenters["dc4"][0].counted()
    assert len(said) == 40


@pytest.mark.parametrize("seed", range(3))
def test_a_change_is_known_everywhere_within_seconds_whatever_gets_lost(seed: int) -> None:
    found = federation(seed=seed, loss=0.2)
    agree_within(found, 15)
    found.fail_node("dc1", 3)
    agree_within(found, 10)
    (healthy,) = {s.said_of("dc1")["service-0003"].healthy for s in found.servers()}
    assert healthy == 0


@pytest.mark.parametrize("seed", range(3))
def test_another_server_publishes_when_the_publisher_has_crashed(seed: int) -> None:
    found = federation(seed=seed)
    agree_within(found, 10)
    first = found.publisher("dc1")
    first.crash()
    owner = found.node(7 % 5)
    found.change("dc1", RecordChanged(owner, Kind.SERVICE, "service-0002", None, None))
    found.fail_node("dc1", 1)
    agree_within(found, 60)
    first.restart()
    agree_within(found, 10)
    found.fail_node("dc1", 1, is_alive=True)
    agree_within(found, 10)


@pytest.mark.parametrize("seed", range(3))
def test_what_changed_behind_a_cut_is_known_soon_after_it(seed: int) -> None:
    found = federation(seed=seed)
    agree_within(found, 10)
    apart = {server.name for server in found.datacenters["dc1"]}
    addresses = {server.member.address for server in found.datacenters["dc1"]}
    rest = {server.name for server in found.servers()} - apart
    rest_addresses = {server.member.address for server in found.servers()} - addresses
    found.pool.network.partition(
        {("summaries", name) for name in apart} | addresses,
        {("summaries", name) for name in rest} | rest_addresses,
    )
    found.pool.run_for(5)
    found.fail_node("dc1", 0)
    found.fail_node("dc2", 1)
    found.pool.run_for(120)
    # What was said before stays, although nobody there can be reached.
    assert len(found.datacenters["dc2"][0].said_of("dc1")) == 40
    found.pool.network.heal()
    agree_within(found, 60)


def test_at_rest_a_server_sends_less_than_a_hundred_bytes_a_second() -> None:
    found = federation(seed=1)
    agree_within(found, 10)
    found.pool.run_for(30)
    for server in found.servers():
        server.sent_bytes = 0
    found.pool.run_for(60)
    assert max(server.sent_bytes for server in found.servers()) < 100 * 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_services_of_twenty_data_centers_agree_within_five_seconds(seed: int) -> None:
    found = federation(seed=seed, loss=0.01, datacenters=20, nodes=50, services=1000)
    agree_within(found, 5)
    found.pool.run_for(30)
    for datacenter in found.datacenters:
        found.fail_node(datacenter, 5)
    agree_within(found, 5)
