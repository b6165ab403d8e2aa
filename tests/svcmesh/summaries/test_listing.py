import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.errors import DecodeError
from svcmesh.summaries import (
    Entry,
    GlobalService,
    Place,
    ServiceCount,
    global_services,
    pack_services,
    unpack_services_untrusted,
)

SAID = [
    ("dc1", {"web": Entry(1, 1, 10, 1), "gone": Entry(1, 1, 10, 2)}),
    ("dc2", {"web": Entry(3, 2, 20, 1), "db": Entry(1, 0, 30, 2)}),
]


def test_services_are_listed_by_name_with_their_data_centers_in_the_given_order() -> None:
    counts = {"web": ServiceCount(2, 2), "new": ServiceCount(1, 1)}
    assert global_services(SAID, "dc1", counts) == [
        GlobalService("db", (Place("dc2", 1, 0, 30),)),
        GlobalService("new", (Place("dc1", 1, 1, 0),)),
        GlobalService("web", (Place("dc1", 2, 2, 10), Place("dc2", 3, 2, 20))),
    ]


def test_a_list_survives_the_way_to_another_agent() -> None:
    services = global_services(SAID, "dc1", {})
    assert unpack_services_untrusted(pack_services(services)) == services


@pytest.mark.parametrize("value", [None, [["web"]], [["web", [["dc1", 1, 1]]]], [[1, []]]])
def test_what_is_no_list_of_services_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        unpack_services_untrusted(value)


@given(
    st.recursive(
        st.none() | st.text(max_size=3) | st.integers(),
        lambda inner: st.lists(inner, max_size=5),
    )
)
def test_whatever_another_agent_says_is_services_or_refused(value: object) -> None:
    with contextlib.suppress(DecodeError):
        unpack_services_untrusted(value)
