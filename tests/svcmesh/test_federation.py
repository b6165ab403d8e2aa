import contextlib
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.serf.events import Member, MemberStatus
from gossip.types import Address, Incarnation, MemberName
from gossip.wire.messages import Coordinate
from svcmesh.errors import DecodeError
from svcmesh.federation import (
    DcPlace,
    DcServer,
    datacenters_by_distance,
    nearest_first,
    pack_places,
    places,
    unpack_places_untrusted,
    wan_servers,
)


def at(seconds: float) -> Coordinate:
    return Coordinate((seconds, 0, 0, 0, 0, 0, 0, 0), 1.0, 0.0, 0.0)


def member(
    name: str,
    status: MemberStatus = MemberStatus.ALIVE,
    *,
    node_id: str = "",
    incarnation: int = 1,
    port: str = "8300",
    role: str = "consul",
) -> Member:
    tags = {"role": role, "dc": name.rpartition(".")[2], "id": node_id or name, "port": port}
    return Member(
        MemberName(name),
        Address("10.0.0.1", 8302),
        {**tags, "svcmesh": "1"},
        status,
        Incarnation(incarnation),
        bytes(6),
    )


def servers(*members: Member, distances: dict[str, float] | None = None) -> list[DcServer]:
    """Servers at these distances from here."""
    where = {name: at(distance) for name, distance in (distances or {}).items()}
    return wan_servers(
        members,
        lambda member: where.get(member.name),
        lambda place: inf if place is None else place.vec[0],
    )


def test_a_server_is_known_by_its_node_name_and_where_it_takes_calls() -> None:
    (found,) = servers(member("n1.dc2", port="8400"))
    assert (found.name, found.datacenter, found.address) == ("n1", "dc2", ("10.0.0.1", 8400))
    assert (found.is_alive, found.distance_s) == (True, inf)


@pytest.mark.parametrize(
    "one",
    [
        member("n1.dc2", MemberStatus.LEFT),
        member("n1.dc2", role="node"),
        member("n1.dc2", port="-1"),
        member("n1.dc2", port="99999"),
        member("n1.dc2", port="٣"),
    ],
)
def test_who_has_left_or_is_no_server_is_passed_over(one: Member) -> None:
    assert servers(one) == []


def test_those_alive_come_before_those_that_failed_and_near_ones_before_far_ones() -> None:
    found = servers(
        member("failed.dc2", MemberStatus.FAILED),
        member("unknown.dc2"),
        member("far.dc2"),
        member("near.dc2"),
        distances={"failed.dc2": 0.001, "far.dc2": 0.08, "near.dc2": 0.03},
    )
    assert [one.name for one in nearest_first(found)] == ["near", "far", "unknown", "failed"]


def test_data_centers_are_sorted_by_median_distance_our_own_first_and_lost_ones_last() -> None:
    found = servers(
        member("a.far"),
        member("a.near"),
        member("b.near"),
        member("c.near"),
        member("a.own"),
        member("a.lost", MemberStatus.FAILED),
        member("a.unmeasured"),
        distances={
            "a.far": 0.08,
            "a.near": 0.01,
            "b.near": 0.02,
            "c.near": 0.9,
            "a.own": 0.05,
            "a.lost": 0.001,
        },
    )
    assert datacenters_by_distance(found, "own") == ["own", "near", "far", "unmeasured", "lost"]


def test_our_own_data_center_is_known_without_any_server() -> None:
    assert datacenters_by_distance([], "own") == ["own"]


def test_a_renamed_data_center_is_known_by_its_new_name_only() -> None:
    found = servers(
        member("n1.old", MemberStatus.FAILED, node_id="1"),
        member("n2.old", MemberStatus.FAILED, node_id="2"),
        member("n1.new", node_id="1"),
        member("n2.new", node_id="2"),
    )
    assert datacenters_by_distance(found, "own") == ["own", "new"]


def test_a_renamed_data_center_is_known_by_its_new_name_before_the_old_one_has_failed() -> None:
    found = servers(
        member("n1.old", node_id="1", incarnation=100),
        member("n1.new", node_id="1", incarnation=200),
        member("n2.old", node_id="2", incarnation=300),
    )
    assert datacenters_by_distance(found, "own") == ["own", "new", "old"]
    assert [one.name for one in found] == ["n1", "n2"]


def test_places_are_those_that_are_known() -> None:
    found = servers(member("b.dc2"), member("a.dc2"), member("c.dc2"), distances={"a.dc2": 1.0})
    assert places(found, ["dc1", "dc2"]) == [DcPlace("dc1", ()), DcPlace("dc2", (("a", at(1)),))]


def test_places_survive_the_way_to_another_agent() -> None:
    sent = [DcPlace("dc1", (("n1", at(0.5)), ("n2", at(0.25)))), DcPlace("dc2", ())]
    assert unpack_places_untrusted(pack_places(sent)) == sent


@pytest.mark.parametrize(
    "value",
    [
        None,
        [["dc1"]],
        [[1, []]],
        [["dc1", [["n1", None]]]],
        [["dc1", [["n1", [[0.0] * 8, 1.0, 0.0]]]]],
        [["dc1", [["n1", [["x"] * 8, 1.0, 0.0, 0.0]]]]],
        [["dc1", [["n1", [[1e300] * 8, 1.0, 0.0, 0.0]]]]],
        [["dc1", [["n1", [[float("nan")] * 8, 1.0, 0.0, 0.0]]]]],
        [["dc1", []]] * 5000,
    ],
)
def test_what_is_no_list_of_places_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        unpack_places_untrusted(value)


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats(),
        lambda inner: st.lists(inner, max_size=4),
    )
)
def test_whatever_another_agent_says_is_places_or_refused(value: object) -> None:
    with contextlib.suppress(DecodeError):
        unpack_places_untrusted(value)
