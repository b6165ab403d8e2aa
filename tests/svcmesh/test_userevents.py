"""User events as Consul sends them (gossip protocol, 12)."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import LamportTime, UserEventReceived
from svcmesh.errors import DecodeError
from svcmesh.userevents import (
    KEPT_EVENTS,
    UserEvent,
    UserEventError,
    UserEvents,
    check_user_event,
    decode_user_event_untrusted,
    encode_user_event,
)

ID = "e4993063-2c7d-e2f6-d781-96fdbe6750ca"
RECORDED = bytes.fromhex(
    "84a24944d92463313630623631632d366639302d313161382d633061382d613738306539613766653534"
    "a16ea3666f6fa170c40568656c6c6fa17601"
)
"""What a Consul 1.8.7 agent sent for `consul event -name foo hello`."""


@dataclass
class Service:
    name: str
    tags: tuple[str, ...] = ()


def received(event: UserEvent, ltime: int = 7) -> UserEventReceived:
    name = f"consul:event:{event.name}"
    return UserEventReceived(name, encode_user_event(event), LamportTime(ltime))


def events_of(*services: Service) -> UserEvents:
    return UserEvents(node="web-1", services=lambda: services)


def test_a_recorded_event_of_consul_is_read_and_written_alike() -> None:
    event = decode_user_event_untrusted(RECORDED, ltime=2)
    expected = UserEvent("c160b61c-6f90-11a8-c0a8-a780e9a7fe54", "foo", b"hello", ltime=2)
    assert event == expected
    assert encode_user_event(event) == RECORDED


def test_the_index_is_the_one_consul_showed_for_this_id() -> None:
    assert UserEvent(ID, "foo2").index == 3681875895361647164


@pytest.mark.parametrize(
    ("filters", "is_taken"),
    [
        ({}, True),
        ({"node_filter": "web"}, True),
        ({"node_filter": "^eb"}, False),
        ({"service_filter": "^redis$"}, True),
        ({"service_filter": "postgres"}, False),
        ({"service_filter": "redis", "tag_filter": "^prim"}, True),
        ({"service_filter": "redis", "tag_filter": "canary"}, False),
        ({"service_filter": "web", "tag_filter": "prim"}, False),
        ({"node_filter": "db", "service_filter": "redis"}, False),
    ],
)
def test_filters_decide_at_the_receiver(filters: dict[str, str], is_taken: bool) -> None:
    events = events_of(Service("redis", ("primary",)), Service("web"))
    event = replace(UserEvent(ID, "deploy"), **filters)  # type: ignore[arg-type]  # only its texts
    assert (events.take(received(event)) is not None) is is_taken
    assert bool(events.recent()) is is_taken


def test_the_last_ones_are_kept_in_order_and_listed_by_name() -> None:
    events = events_of()
    for number in range(KEPT_EVENTS + 10):
        events.take(received(UserEvent(ID, f"e{number % 2}", b"%d" % number), ltime=number))
    assert [event.ltime for event in events.recent()] == [*range(10, KEPT_EVENTS + 10)]
    assert {event.name for event in events.recent("e1")} == {"e1"}
    assert events.recent("nothing") == []


def test_events_of_serfs_own_users_are_left_alone() -> None:
    events = events_of()
    assert events.take(UserEventReceived("deploy", b"v1", LamportTime(1))) is None
    assert events.recent() == []


def test_a_watch_is_called_for_each_event_until_it_is_cancelled() -> None:
    events, calls = events_of(), list[int]()
    cancel = events.watch(lambda: calls.append(1))
    events.take(received(UserEvent(ID, "a")))
    events.take(received(UserEvent(ID, "b")))
    cancel()
    cancel()
    events.take(received(UserEvent(ID, "c")))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (UserEvent(ID, ""), "Event name missing"),
        (
            UserEvent(ID, "x", tag_filter="a"),
            "Cannot provide tag filter without service filter",
        ),
        (
            UserEvent(ID, "x", node_filter="("),
            "Invalid node filter: error parsing regexp: missing closing ): `(`",
        ),
        (
            UserEvent(ID, "x", service_filter="web", tag_filter="("),
            "Invalid tag filter: error parsing regexp: missing closing ): `(`",
        ),
    ],
)
def test_a_wrong_event_is_refused_in_consuls_words(event: UserEvent, text: str) -> None:
    with pytest.raises(UserEventError) as error:
        check_user_event(event)
    assert str(error.value) == text


def test_a_wrong_filter_of_another_member_is_malformed() -> None:
    with pytest.raises(DecodeError) as error:
        events_of().take(received(UserEvent(ID, "x", node_filter="(")))
    assert error.value.reason == "user-event-filter"


def test_another_version_is_refused() -> None:
    with pytest.raises(DecodeError) as error:
        decode_user_event_untrusted(encode_user_event(UserEvent(ID, "x", version=2)), ltime=1)
    assert error.value.reason == "user-event-version"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_event_or_malformed(payload: bytes) -> None:
    try:
        event = decode_user_event_untrusted(payload, ltime=1)
    except DecodeError:
        return
    assert event.version == 1


texts = st.text(max_size=10)


@given(
    st.builds(
        UserEvent,
        st.uuids().map(str),
        texts,
        st.binary(max_size=20),
        texts,
        texts,
        texts,
        ltime=st.just(5),
    )
)
def test_events_survive_the_wire(event: UserEvent) -> None:
    assert decode_user_event_untrusted(encode_user_event(event), ltime=5) == event
