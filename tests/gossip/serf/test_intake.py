"""User events, queries and relays of others (gossip protocol, 10.1, 10.10 to 10.12, 14.3)."""

from gossip.config import SerfConfig
from gossip.serf.events import UserPayloadReceived
from gossip.serf.rings import EVENTS_BYTES_MAX, EventRing
from gossip.types import LamportTime
from gossip.wire.messages import (
    PushPull,
    Query,
    QueryResponse,
    Relay,
    SerfState,
    UserEvent,
    UserEventEntry,
    UserEventSlot,
    UserMessage,
)
from gossip.wire.serf import encode_serf
from tests.gossip.machines import (
    STRANGER,
    Bench,
    address,
    drop_reasons,
    messages,
    name,
    node,
    of_type,
    sent,
    user,
)
from tests.gossip.serf.test_members import give_state, handed_on, state_of


def event(ltime: int, what: str = "deploy", payload: bytes = b"v1") -> UserEvent:
    return UserEvent(LamportTime(ltime), what, payload, False)


def query(ltime: int, number: int = 1, flags: int = 0) -> Query:
    return Query(
        LamportTime(ltime), number, address(1).packed, 7946, name(1), (), flags, 0, 10**9, "q", b""
    )


def quiet_bench() -> Bench:
    bench = Bench(members=3)
    bench.run_for(5)
    return bench


class TestUserEvents:
    def test_a_new_one_is_handed_on_unchanged_once(self) -> None:
        bench = quiet_bench()
        bench.take(user(event(3)))
        assert set(handed_on(bench)) == {event(3)}
        bench.run_for(5)
        bench.take(user(event(3)))
        assert handed_on(bench) == []
        assert bench.machine.stats()["event_time"] == 4

    def test_events_of_one_time_differ_by_name_or_payload(self) -> None:
        bench = quiet_bench()
        for each in (event(3), event(3, "other"), event(3, payload=b"v2")):
            bench.take(user(each))
        assert len(set(handed_on(bench))) == 3

    def test_what_is_more_than_the_ring_behind_is_too_old(self) -> None:
        bench = quiet_bench()
        bench.take(user(event(1000)))
        assert drop_reasons(bench.take(user(event(1001 - 513)))) == ["serf-event-too-old"]
        assert drop_reasons(bench.take(user(event(1001 - 512)))) == []

    def test_remembered_events_go_into_the_state(self) -> None:
        bench = quiet_bench()
        bench.take(user(event(3)))
        bench.take(user(event(3, "other")))
        (slot,) = state_of(bench).events
        assert slot.ltime == 3
        assert slot.events == (UserEventEntry("deploy", b"v1"), UserEventEntry("other", b"v1"))

    def test_events_of_a_peers_state_are_remembered_but_not_handed_on(self) -> None:
        bench = quiet_bench()
        slot = UserEventSlot(LamportTime(5), (UserEventEntry("deploy", b"v1"),))
        give_state(bench, state_of(quiet_bench()))
        give_state(
            bench, SerfState(LamportTime(1), {}, (), LamportTime(6), (slot,), LamportTime(1))
        )
        bench.take(user(event(5)))
        assert handed_on(bench) == []
        assert state_of(bench).events == (slot,)

    def test_events_from_before_our_join_are_ignored(self) -> None:
        bench = quiet_bench()
        stream_id, _ = bench.machine.join(address(1), now=bench.now)
        state = SerfState(LamportTime(1), {}, (), LamportTime(50), (), LamportTime(1))
        bench.machine.handle_push_pull_reply(
            stream_id, PushPull(True, (node(1),), encode_serf(state)), now=bench.now
        )
        assert drop_reasons(bench.take(user(event(49)))) == ["serf-event-too-old"]
        assert drop_reasons(bench.take(user(event(50)))) == []

    def test_old_events_in_a_peers_state_are_ordinary(self) -> None:
        # A Consul server goes on sending events from before our join with every exchange.
        bench = quiet_bench()
        bench.effects.clear()
        slot = UserEventSlot(LamportTime(5), (UserEventEntry("consul:new-leader", b"cs"),))
        state = SerfState(LamportTime(1), {}, (), LamportTime(2000), (slot,), LamportTime(1))
        for _ in range(2):
            give_state(bench, state)
        assert drop_reasons(bench.effects) == []
        assert state_of(bench).events == ()

    def test_each_bound_drops_with_its_reason(self) -> None:
        bench = quiet_bench()
        assert drop_reasons(bench.take(user(event(3, payload=bytes(9300))))) == [
            "serf-event-too-large"
        ]
        assert drop_reasons(bench.take(user(event(3, payload=bytes(2000))))) == [
            "serf-rumor-too-large"
        ]
        reasons = [
            reason
            for number in range(300)
            for reason in drop_reasons(bench.take(user(event(4, f"e{number}"))))
        ]
        assert reasons == ["serf-event-slot-full"] * (300 - 256)

    def test_remembered_events_are_bounded_and_none_is_taken_twice(self) -> None:
        ring = EventRing(512)
        clock = LamportTime(511)
        large = [event(1 + n % 500, f"e{n}", bytes(9000)) for n in range(2000)]
        taken = [each for each in large if ring.see(each, clock=clock).is_new]
        held = sum(len(e.payload) for slot in ring.slots() for e in slot.events)
        assert held <= EVENTS_BYTES_MAX
        assert not any(ring.see(each, clock=clock).is_new for each in taken)

    def test_the_queue_is_bounded(self) -> None:
        bench = Bench(members=3, serf=SerfConfig(queue_depth_max=50))
        for number in range(200):
            bench.take(user(event(1 + number)))
        assert bench.machine.stats()["event_queue"] == 50


class TestQueries:
    def test_a_new_one_is_handed_on_once(self) -> None:
        bench = quiet_bench()
        bench.take(user(query(3)))
        assert set(handed_on(bench)) == {query(3)}
        bench.run_for(5)
        bench.take(user(query(3)))
        assert handed_on(bench) == []
        bench.take(user(query(3, number=2)))
        assert set(handed_on(bench)) == {query(3, number=2)}

    def test_one_that_asks_not_to_be_handed_on_is_not(self) -> None:
        bench = quiet_bench()
        bench.take(user(query(3, flags=2)))
        assert handed_on(bench) == []
        assert bench.machine.stats()["query_time"] == 4

    def test_what_is_more_than_the_ring_behind_is_too_old(self) -> None:
        bench = quiet_bench()
        bench.take(user(query(1000)))
        assert drop_reasons(bench.take(user(query(400)))) == ["serf-query-too-old"]

    def test_one_time_remembers_256_queries(self) -> None:
        bench = quiet_bench()
        reasons = [r for n in range(300) for r in drop_reasons(bench.take(user(query(9, n))))]
        assert reasons == ["serf-query-slot-full"] * (300 - 256)


class TestRelays:
    answer = encode_serf(QueryResponse(LamportTime(3), 1, name(2), 0, b"yes"))

    def relay(self, to: int, inner: bytes | None = None) -> UserMessage:
        where = address(to)
        inner = self.answer if inner is None else inner
        return user(Relay(where.packed, where.port, name(to), inner))

    def test_the_inner_message_goes_unchanged_to_a_member(self) -> None:
        bench = quiet_bench()
        (packet,) = sent(bench.take(self.relay(1)))
        assert packet.to == address(1)
        assert packet.messages == (UserMessage(self.answer),)

    def test_nothing_is_relayed_to_strangers(self) -> None:
        bench = quiet_bench()
        effects = bench.take(self.relay(99))
        assert sent(effects) == []
        assert drop_reasons(effects) == ["serf-relay-to-stranger"]

    def test_a_relay_that_cannot_be_sent_is_dropped(self) -> None:
        bench = quiet_bench()
        for inner in (b"", bytes(1400), b"\xff mine"):
            assert drop_reasons(bench.take(self.relay(1, inner))) == ["serf-relay-unfit"]
        odd = user(Relay(b"\x01\x02\x03", 7946, name(1), self.answer))
        assert drop_reasons(bench.take(odd)) == ["serf-relay-unfit"]


def test_payloads_from_0x80_on_belong_to_the_user() -> None:
    bench = quiet_bench()
    for payload in (b"\x80", b"\xff catalog rumor"):
        assert bench.take(UserMessage(payload), source=STRANGER) == [
            UserPayloadReceived(payload, STRANGER)
        ]
    assert handed_on(bench) == []


def test_what_does_not_belong_into_a_user_message_is_dropped_with_its_reason() -> None:
    bench = quiet_bench()
    state = SerfState(LamportTime(1), {}, (), LamportTime(1), (), LamportTime(1))
    for message, reason in (
        (UserMessage(b""), "serf-empty-message"),
        (UserMessage(b"\x7f"), "unknown-type"),
        (UserMessage(b"\x01\xc1"), "bad-body"),
        (user(state), "serf-unexpected-type"),
        (UserMessage(TestRelays.answer), "serf-late-answer"),
    ):
        assert drop_reasons(bench.take(message)) == [reason]
    assert of_type(UserMessage, messages(bench.run_for(1))) == []
