from dataclasses import replace

import pytest

from gossip.serf.events import Member, MemberStatus
from gossip.types import Address, Incarnation, MemberName
from svcmesh.membership import (
    LanAdmission,
    WanAdmission,
    alive_servers,
    local_tags,
    server_address,
    wan_join_target,
    wan_tags,
)

OUR_ID = "00000000-0000-4000-8000-000000000001"
OTHER_ID = "00000000-0000-4000-8000-000000000002"


def tags(*, node_id: str = OTHER_ID, is_server: bool = False, dc: str = "dc1") -> dict[str, str]:
    return local_tags(
        version="0.1.0",
        node_id=node_id,
        datacenter=dc,
        is_server=is_server,
        server_port=8300,
        bootstrap=False,
        bootstrap_expect=3,
        wan_join_port=8302,
        wan_join_addr="",
    )


def member(
    name: str, its_tags: dict[str, str], status: MemberStatus = MemberStatus.ALIVE
) -> Member:
    return Member(
        name=MemberName(name),
        address=Address("127.0.0.9", 8301),
        tags=its_tags,
        status=status,
        incarnation=Incarnation(1),
        vsn=bytes.fromhex("010502020504"),
    )


def without_svcmesh(its_tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in its_tags.items() if key != "svcmesh"}


def admission(*, is_server: bool = False) -> LanAdmission:
    return LanAdmission(name="me", node_id=OUR_ID, datacenter="dc1", is_server=is_server)


def test_a_client_passes_for_one_of_consuls_by_its_tags() -> None:
    assert without_svcmesh(tags()) == {
        "role": "node",
        "dc": "dc1",
        "segment": "",
        "id": OTHER_ID,
        "vsn": "2",
        "vsn_min": "2",
        "vsn_max": "3",
        "build": "0.1.0:",
        "acls": "0",
    }


def test_a_server_announces_its_port_and_how_many_servers_it_expects() -> None:
    server = tags(is_server=True)
    assert (server["role"], server["port"], server["expect"]) == ("consul", "8300", "3")
    assert server["wan_join_port"] == "8302"


def test_a_server_passes_for_one_of_consuls_in_the_wan_pool_by_its_tags() -> None:
    assert without_svcmesh(wan_tags(tags(is_server=True))) == {
        "role": "consul",
        "dc": "dc1",
        "segment": "",
        "id": OTHER_ID,
        "vsn": "2",
        "vsn_min": "2",
        "vsn_max": "3",
        "build": "0.1.0:",
        "acls": "0",
        "port": "8300",
        "expect": "3",
        "raft_vsn": "3",
    }


def test_the_wan_pool_admits_servers_under_the_name_of_their_data_center() -> None:
    admit = WanAdmission(name="me.dc1", node_id=OUR_ID, address=Address("127.0.0.1", 8302))
    server = wan_tags(tags(is_server=True, dc="dc2"))
    assert admit([member("n1.dc2", server), member("n2.dc2", without_svcmesh(server))]) is None
    assert admit([member("n1.dc2", tags(dc="dc2"))]) == "Member 'n1.dc2' is not a server"
    assert admit([member("n1.dc2", {**server, "port": "x"})]) == "Member 'n1.dc2' is not a server"
    assert admit([member("n1.dc1", server)]) == (
        "Member 'n1.dc1' is not named after its datacenter"
    )
    left = member("old", tags(), MemberStatus.LEFT)
    assert admit([left]) is None


def test_a_second_server_with_our_node_id_is_refused_in_the_wan_pool() -> None:
    admit = WanAdmission(name="me.dc1", node_id=OUR_ID, address=Address("127.0.0.1", 8302))
    twin = wan_tags(tags(node_id=OUR_ID, is_server=True, dc="dc2"))
    assert admit([member("n1.dc2", twin)]) is not None
    assert admit([member("n1.dc2", twin, MemberStatus.FAILED)]) is None
    # Ourselves, before our data center was renamed.
    former = replace(member("me.dc2", twin), address=Address("127.0.0.1", 8302))
    assert admit([former]) is None


@pytest.mark.parametrize(
    ("its_tags", "target"),
    [
        ({"wan_join_port": "8302"}, "127.0.0.9:8302"),
        ({"wan_join_port": "8302", "wan_join_addr": "::5"}, "[::5]:8302"),
        ({}, None),
        ({"wan_join_port": "0"}, None),
        ({"wan_join_port": "65536"}, None),
        ({"wan_join_port": "8302", "wan_join_addr": "example.com"}, None),
        ({"wan_join_port": "8302", "role": "node"}, None),
    ],
)
def test_where_a_server_is_found_in_the_wan_pool(
    its_tags: dict[str, str], target: str | None
) -> None:
    assert wan_join_target(member("n1", {"role": "consul", **its_tags})) == target


def test_members_of_our_data_center_and_plain_serfs_are_admitted() -> None:
    assert admission()([member("n2", tags()), member("serf", {"role": "db"})]) is None


def test_a_member_of_another_data_center_is_refused() -> None:
    refusal = admission()([member("n2", tags()), member("n3", tags(dc="dc2"))])
    assert refusal is not None
    assert "'n3' part of wrong datacenter 'dc2'" in refusal


def test_a_second_alive_member_with_our_node_id_is_refused() -> None:
    twin = tags(node_id=OUR_ID)
    assert admission()([member("twin", twin)]) is not None
    assert admission()([member("me", twin)]) is None
    assert admission()([member("me-before-renaming", twin, MemberStatus.FAILED)]) is None


def test_a_server_refuses_a_pool_with_a_real_consul_server_and_a_client_does_not() -> None:
    consul = member("consul", without_svcmesh(tags(is_server=True)))
    refusal = admission(is_server=True)([consul])
    assert refusal is not None
    assert "-server" in refusal
    assert admission()([consul]) is None
    assert admission(is_server=True)([member("n2", tags(is_server=True))]) is None


def test_the_first_server_is_the_alive_one_with_the_lowest_id() -> None:
    members = [
        member("late", tags(node_id="cc", is_server=True)),
        member("dead", tags(node_id="aa", is_server=True), MemberStatus.FAILED),
        member("client", tags(node_id="ab")),
        member("lead", tags(node_id="bb", is_server=True)),
    ]
    servers = alive_servers(members)
    assert [node_id for node_id, _ in servers] == ["bb", "cc"]
    assert server_address(servers[0][1]) == "127.0.0.9:8300"
