from gossip.serf.events import Member, MemberStatus
from gossip.types import Address, Incarnation, MemberName
from svcmesh.flooding import RETRY_S, Flooding


def member(name: str, status: MemberStatus = MemberStatus.ALIVE, **tags: str) -> Member:
    return Member(
        MemberName(name),
        Address("10.0.0.1", 8301),
        {"role": "consul", "dc": "dc1", "wan_join_port": "8302", **tags},
        status,
        Incarnation(1),
        bytes(6),
    )


def flooding() -> Flooding:
    return Flooding(node_name="me", datacenter="dc1")


N1 = "n1.dc1/10.0.0.1:8302"


def test_a_server_of_the_lan_that_is_missing_in_the_wan_is_joined() -> None:
    assert flooding().targets([member("me"), member("n1")], [], now=0) == [N1]


def test_a_server_that_failed_in_the_wan_only_is_joined() -> None:
    wan = [member("n1.dc1", MemberStatus.FAILED)]
    assert flooding().targets([member("n1")], wan, now=0) == [N1]


def test_who_is_in_the_wan_or_on_its_way_out_is_left_alone() -> None:
    for status in (MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.LEFT):
        assert flooding().targets([member("n1")], [member("n1.dc1", status)], now=0) == []


def test_only_servers_of_our_data_center_that_are_in_the_wan_pool_are_joined() -> None:
    lan = [
        member("client", role="node"),
        member("off", wan_join_port=""),
        member("stranger", dc="dc2"),
        member("failed", MemberStatus.FAILED),
        member("left", MemberStatus.LEFT),
    ]
    assert flooding().targets(lan, [], now=0) == []


def test_one_that_does_not_answer_is_tried_again_later() -> None:
    flood = flooding()
    assert flood.targets([member("n1")], [], now=0) == [N1]
    assert flood.targets([member("n1")], [], now=RETRY_S - 1) == []
    assert flood.targets([member("n1")], [], now=RETRY_S) == [N1]


def test_one_that_was_in_the_wan_meanwhile_is_joined_at_once() -> None:
    flood = flooding()
    assert flood.targets([member("n1")], [], now=0) == [N1]
    assert flood.targets([member("n1")], [member("n1.dc1")], now=1) == []
    assert flood.targets([member("n1")], [member("n1.dc1", MemberStatus.FAILED)], now=2) == [N1]
