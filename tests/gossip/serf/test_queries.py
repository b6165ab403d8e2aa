"""Asking and answering (10.11, 10.12), and the pool's own queries (10.9, 10.13)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.config import SerfConfig
from gossip.errors import ConfigError, StateError, TooLargeError
from gossip.serf import Serf
from gossip.serf.events import (
    Effect,
    IncomingQuery,
    KeyOperation,
    KeyQueryReceived,
    NameVoteFinished,
    QueryAcked,
    QueryAnswered,
    QueryFinished,
    QueryId,
    QueryReceived,
)
from gossip.serf.keys import encode_answer, perform
from gossip.serf.queries import QueryOptions
from gossip.types import Address, LamportTime, MemberName
from gossip.wire import Keyring
from gossip.wire.messages import (
    ConflictResponse,
    KeyRequest,
    KeyResponse,
    NodeFilter,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    TagFilter,
    UserMessage,
)
from gossip.wire.serf import decode_serf_untrusted, encode_serf
from gossip.wire.serf_values import encode_filter
from svcmesh.simulate.member import SimulatedMember
from svcmesh.simulate.pool import SimulatedPool
from tests.gossip.machines import (
    ME,
    MY_ADDRESS,
    STRANGER,
    VSN,
    Bench,
    address,
    alive,
    drop_reasons,
    name,
    of_type,
    sent,
    user,
)
from tests.gossip.serf.test_members import handed_on

ACK, NO_REBROADCAST = 1, 2


def query(
    what: str = "load",
    *,
    ltime: int = 5,
    flags: int = 0,
    filters: Sequence[bytes] = (),
    relay_factor: int = 0,
    payload: bytes = b"",
    asker: Address | None = None,
    timeout_s: float = 10.0,
) -> Query:
    where = asker or address(1)
    return Query(
        ltime=LamportTime(ltime),
        id=77,
        addr=where.packed,
        port=where.port,
        source_node=name(1),
        filters=tuple(filters),
        flags=flags,
        relay_factor=relay_factor,
        timeout_ns=int(timeout_s * 1e9),
        name=what,
        payload=payload,
    )


def quiet_bench(**extra: object) -> Bench:
    bench = Bench(members=3, tags={"role": "db", "zone": "eu-1"}, **extra)  # type: ignore[arg-type]  # the machine's own keywords
    bench.run_for(5)
    return bench


def received(bench: Bench) -> list[IncomingQuery]:
    return [event.query for event in of_type(QueryReceived, bench.effects)]


def serf_sent(effects: Sequence[Effect]) -> list[tuple[Address, SerfMessage]]:
    return [
        (packet.to, decode_serf_untrusted(message.payload))
        for packet in sent(effects)
        for message in packet.messages
        if isinstance(message, UserMessage)
    ]


def answers_sent(effects: Sequence[Effect]) -> list[tuple[Address, QueryResponse]]:
    return [
        (to, message) for to, message in serf_sent(effects) if isinstance(message, QueryResponse)
    ]


def response(to: QueryId, member: int, payload: bytes = b"", flags: int = 0) -> UserMessage:
    return user(QueryResponse(to.ltime, to.id, name(member), flags, payload))


class TestAnswering:
    def test_a_query_is_told_and_answered_to_the_asker_once(self) -> None:
        bench = quiet_bench()
        bench.take(user(query(payload=b"how much?")))
        (incoming,) = received(bench)
        assert (incoming.name, incoming.payload) == ("load", b"how much?")
        assert incoming.source_node == name(1)
        effects = bench.machine.respond(incoming, b"0.7", now=bench.now)
        expected = QueryResponse(LamportTime(5), 77, ME, 0, b"0.7")
        assert answers_sent(effects) == [(address(1), expected)]
        with pytest.raises(StateError):
            bench.machine.respond(incoming, b"0.8", now=bench.now)

    def test_it_is_told_once(self) -> None:
        bench = quiet_bench()
        bench.take(user(query()))
        bench.take(user(query()))
        assert len(received(bench)) == 1

    def test_an_ack_goes_out_at_once_if_wanted(self) -> None:
        bench = quiet_bench()
        (answer,) = answers_sent(bench.take(user(query(flags=ACK))))
        assert answer == (address(1), QueryResponse(LamportTime(5), 77, ME, 1, b""))
        assert answers_sent(bench.take(user(query(ltime=6)))) == []

    def test_after_the_deadline_nothing_is_sent(self) -> None:
        bench = quiet_bench()
        bench.take(user(query(timeout_s=2.0)))
        bench.now += 2.1
        with pytest.raises(StateError):
            bench.machine.respond(received(bench)[0], b"late", now=bench.now)

    def test_a_long_answer_is_refused_and_another_may_be_given(self) -> None:
        bench = quiet_bench()
        bench.take(user(query()))
        (incoming,) = received(bench)
        with pytest.raises(TooLargeError):
            bench.machine.respond(incoming, b"x" * 1024, now=bench.now)
        assert len(answers_sent(bench.machine.respond(incoming, b"x", now=bench.now))) == 1

    @pytest.mark.parametrize(
        ("filters", "is_for_us"),
        [
            ([NodeFilter((ME,))], True),
            ([NodeFilter((name(1), ME))], True),
            ([NodeFilter((name(1),))], False),
            ([NodeFilter(())], False),
            ([TagFilter("role", "db")], True),
            ([TagFilter("role", "d")], True),
            ([TagFilter("role", "^web$")], False),
            ([TagFilter("zone", "eu-[0-9]+")], True),
            ([TagFilter("missing", "^$")], True),
            ([TagFilter("missing", "x")], False),
            ([TagFilter("role", "db"), TagFilter("zone", "us")], False),
            ([NodeFilter((ME,)), TagFilter("role", "db")], True),
        ],
    )
    def test_all_filters_must_let_us_in(
        self, filters: list[NodeFilter | TagFilter], is_for_us: bool
    ) -> None:
        bench = quiet_bench()
        bench.take(user(query(filters=[*map(encode_filter, filters)], flags=ACK)))
        assert bool(received(bench)) is is_for_us
        # It is handed on either way.
        assert len(handed_on(bench)) > 0

    @pytest.mark.parametrize(
        "bad",
        [
            b"",
            b"\x00",
            b"\x07\xa1x",
            b"\x01\xc1",
            encode_filter(TagFilter("role", "(")),
            encode_filter(TagFilter("role", "(a{1000}){1000}")),
            encode_filter(TagFilter("role", "x" * 257)),
        ],
    )
    def test_a_malformed_filter_is_not_for_us_and_counted(self, bad: bytes) -> None:
        bench = quiet_bench()
        reasons = drop_reasons(bench.take(user(query(filters=[bad], flags=ACK))))
        assert reasons in (["bad-filter"], ["bad-body"])
        assert received(bench) == []

    def test_an_expression_that_would_explode_elsewhere_is_quick(self) -> None:
        bench = Bench(members=3, tags={"role": "a" * 400})
        bench.take(user(query(filters=[encode_filter(TagFilter("role", "(a*)*b"))])))
        assert received(bench) == []

    def test_strangers_get_a_bounded_number_of_answers(self) -> None:
        bench = quiet_bench()
        sent_to_stranger = 0
        for ltime in range(5, 305):
            effects = bench.take(user(query(ltime=ltime, flags=ACK, asker=STRANGER)))
            sent_to_stranger += len(answers_sent(effects))
        assert sent_to_stranger == 64
        assert drop_reasons(effects) == ["serf-answer-to-stranger"]

    def test_a_huge_or_negative_timeout_is_clamped(self) -> None:
        bench = quiet_bench()
        bench.take(user(replace(query(), timeout_ns=2**62)))
        bench.take(user(replace(query(ltime=6), timeout_ns=-5)))
        assert [q.deadline_at - bench.now for q in received(bench)] == [3600.0, 0.0]

    def test_a_query_that_nobody_could_answer_is_dropped(self) -> None:
        bench = quiet_bench()
        effects = bench.take(user(replace(query(), addr=b"abc")))
        assert drop_reasons(effects) == ["serf-query-unanswerable"]

    def test_unanswered_queries_are_bounded(self) -> None:
        bench = quiet_bench()
        for ltime in range(5, 5 + 1030):
            bench.take(user(query(ltime=ltime)))
        first, *_, last = received(bench)
        with pytest.raises(StateError):
            bench.machine.respond(first, b"", now=bench.now)
        bench.machine.respond(last, b"", now=bench.now)

    def test_detours_carry_the_answer_through_able_members(self) -> None:
        bench = Bench(members=4)
        bench.take(alive(5, vsn=bytes((1, 4, 2, 2, 5, 5))))
        bench.run_for(5)
        bench.take(user(query(relay_factor=4)))
        effects = bench.machine.respond(received(bench)[0], b"x", now=bench.now)
        direct = QueryResponse(LamportTime(5), 77, ME, 0, b"x")
        messages = serf_sent(effects)
        assert messages[0] == (address(1), direct)
        relay = Relay(address(1).packed, 7946, name(1), encode_serf(direct))
        assert sorted(messages[1:]) == [(address(number), relay) for number in range(1, 5)]

    def test_without_enough_members_there_are_no_detours(self) -> None:
        bench = Bench(members=2)
        bench.run_for(5)
        bench.take(user(query(relay_factor=3)))
        effects = bench.machine.respond(received(bench)[0], b"x", now=bench.now)
        assert len(serf_sent(effects)) == 1


class TestAsking:
    def ask(self, bench: Bench, options: QueryOptions | None = None) -> QueryId:
        query_id, effects = bench.machine.query(
            "load", b"?", options or QueryOptions(), now=bench.now
        )
        bench.note(effects)
        return query_id

    def test_the_query_says_who_asks_whom_and_how_long(self) -> None:
        bench = quiet_bench()
        options = QueryOptions(
            nodes=(name(1),), tags={"role": "db"}, wants_acks=True, relay_factor=2, timeout_s=1.5
        )
        query_id = self.ask(bench, options)
        assert set(handed_on(bench)) == {
            Query(
                ltime=query_id.ltime,
                id=query_id.id,
                addr=MY_ADDRESS.packed,
                port=MY_ADDRESS.port,
                source_node=ME,
                filters=(
                    encode_filter(NodeFilter((name(1),))),
                    encode_filter(TagFilter("role", "db")),
                ),
                flags=ACK,
                relay_factor=2,
                timeout_ns=1_500_000_000,
                name="load",
                payload=b"?",
            )
        }

    def test_each_member_counts_once_until_the_time_is_over(self) -> None:
        bench = quiet_bench()
        query_id = self.ask(bench, QueryOptions(timeout_s=3.0))
        for _ in range(2):
            bench.take(response(query_id, 1, b"a"))
            bench.take(response(query_id, 1, flags=1))
            bench.take(response(query_id, 2, b"b"))
        bench.run_for(2.9)
        assert of_type(QueryFinished, bench.effects) == []
        bench.run_for(0.2)
        assert of_type(QueryFinished, bench.effects) == [QueryFinished(query_id)]
        effects = bench.take(response(query_id, 3, b"late"))
        assert drop_reasons(effects) == ["serf-late-answer"]
        assert of_type(QueryAnswered, bench.effects) == [
            QueryAnswered(query_id, name(1), b"a"),
            QueryAnswered(query_id, name(2), b"b"),
        ]
        assert of_type(QueryAcked, bench.effects) == [QueryAcked(query_id, name(1))]

    def test_the_default_time_grows_with_the_digits_of_the_pool(self) -> None:
        # Ten members present: 0.2 s times 16 times 2.
        bench = Bench(members=9)
        bench.run_for(5)
        query_id = self.ask(bench)
        bench.run_for(6.3)
        assert of_type(QueryFinished, bench.effects) == []
        bench.run_for(0.2)
        assert of_type(QueryFinished, bench.effects) == [QueryFinished(query_id)]

    def test_we_are_asked_too_and_answer_without_the_network(self) -> None:
        bench = quiet_bench()
        query_id = self.ask(bench, QueryOptions(wants_acks=True))
        (incoming,) = received(bench)
        effects = bench.note(bench.machine.respond(incoming, b"mine", now=bench.now))
        assert of_type(QueryAnswered, effects) == [QueryAnswered(query_id, ME, b"mine")]
        assert QueryAcked(query_id, ME) in bench.effects
        assert answers_sent(bench.effects) == []

    def test_nobody_waits_for_a_query_that_was_ended(self) -> None:
        bench = quiet_bench()
        query_id = self.ask(bench)
        effects = bench.note(bench.machine.end_query(query_id, now=bench.now))
        assert effects == [QueryFinished(query_id)]
        assert drop_reasons(bench.take(response(query_id, 1))) == ["serf-late-answer"]

    def test_limits(self) -> None:
        bench = quiet_bench()
        with pytest.raises(TooLargeError):
            bench.machine.query("load", b"x" * 1024, QueryOptions(), now=bench.now)
        with pytest.raises(ValueError, match="_serf_"):
            bench.machine.query("_serf_ping", b"", QueryOptions(), now=bench.now)
        with pytest.raises(ConfigError):
            QueryOptions(relay_factor=256)
        with pytest.raises(ConfigError):
            QueryOptions(timeout_s=0)
        for _ in range(1024):
            self.ask(bench)
        with pytest.raises(StateError):
            self.ask(bench)

    def test_a_forged_crowd_of_answers_is_bounded(self) -> None:
        bench = Bench(members=2, swim=None)
        query_id = self.ask(bench)
        bench.machine._asker._members_max = 3  # 65,536 would take long
        for number in range(6):
            effects = bench.take(response(query_id, number))
        assert drop_reasons(effects) == ["serf-too-many-answers"]
        assert len(of_type(QueryAnswered, bench.effects)) == 3


class TestInternal:
    def test_a_ping_gets_its_ack_and_is_not_told(self) -> None:
        bench = quiet_bench()
        effects = bench.take(user(query("_serf_ping", flags=ACK)))
        assert len(answers_sent(effects)) == 1
        assert received(bench) == []

    def test_an_unknown_one_is_counted(self) -> None:
        bench = quiet_bench()
        effects = bench.take(user(query("_serf_future")))
        assert drop_reasons(effects) == ["serf-unknown-internal-query"]
        assert received(bench) == []

    def test_a_conflict_is_answered_with_what_we_know(self) -> None:
        bench = quiet_bench()
        effects = bench.take(user(query("_serf_conflict", payload=b"m2")))
        ((to, answer),) = answers_sent(effects)
        known = decode_serf_untrusted(answer.payload)
        assert to == address(1)
        assert known == ConflictResponse(name(2), address(2).packed, 7946, {}, 1, VSN)

    def test_a_conflict_about_nobody_we_know_is_answered_with_nil(self) -> None:
        bench = quiet_bench()
        effects = bench.take(user(query("_serf_conflict", payload=b"nobody")))
        ((_, answer),) = answers_sent(effects)
        assert answer.payload == b"\x06\xc0"

    def test_whoever_has_the_name_has_no_vote(self) -> None:
        bench = quiet_bench()
        assert answers_sent(bench.take(user(query("_serf_conflict", payload=b"me")))) == []

    @pytest.mark.parametrize("operation", KeyOperation)
    def test_a_key_query_is_told_to_the_shell_and_answered_by_it(
        self, operation: KeyOperation
    ) -> None:
        bench = quiet_bench()
        payload = encode_serf(KeyRequest(b"k" * 16))
        bench.take(user(query(operation, payload=payload)))
        (asked,) = of_type(KeyQueryReceived, bench.effects)
        assert (asked.operation, asked.key) == (operation, b"k" * 16)
        response = KeyResponse(False, "no", (), "")
        effects = bench.machine.respond_to_key_query(asked.query, response, now=bench.now)
        ((_, answer),) = answers_sent(effects)
        assert decode_serf_untrusted(answer.payload) == response

    @pytest.mark.parametrize("payload", [b"", b"\x07", b"\x03\x80", b"\xff"])
    def test_a_key_query_that_stops_the_reference_is_counted(self, payload: bytes) -> None:
        bench = quiet_bench()
        effects = bench.take(user(query(KeyOperation.INSTALL, payload=payload)))
        assert len(drop_reasons(effects)) == 1
        assert of_type(KeyQueryReceived, bench.effects) == []


class TestNameConflict:
    RIVAL = Address("10.9.9.9", 7946)

    def conflict(self, bench: Bench) -> QueryId:
        rival = replace(alive(1, 9, at=self.RIVAL), node=ME)
        bench.take(rival)
        bench.take(rival)
        (asked,) = {m for m in handed_on(bench) if isinstance(m, Query)}
        assert (asked.name, asked.payload) == ("_serf_conflict", b"me")
        return QueryId(asked.ltime, asked.id)

    def vote(self, bench: Bench, query_id: QueryId, *places: Address | None) -> NameVoteFinished:
        for number, place in enumerate(places, 1):
            payload = b"\x06\xc0"
            if place is not None:
                payload = encode_serf(ConflictResponse(ME, place.packed, place.port, {}, 1, VSN))
            bench.take(response(query_id, number, payload))
        bench.run_for(10)
        (finished,) = of_type(NameVoteFinished, bench.effects)
        return finished

    def test_the_majority_that_knows_us_lets_us_stay(self) -> None:
        bench = quiet_bench()
        query_id = self.conflict(bench)
        finished = self.vote(bench, query_id, MY_ADDRESS, MY_ADDRESS, self.RIVAL)
        assert finished == NameVoteFinished(True, 2, 3)

    def test_half_is_no_majority(self) -> None:
        bench = quiet_bench()
        query_id = self.conflict(bench)
        finished = self.vote(bench, query_id, MY_ADDRESS, None)
        assert finished == NameVoteFinished(False, 1, 2)

    def test_there_is_no_vote_where_it_is_turned_off(self) -> None:
        bench = quiet_bench(serf=SerfConfig(resolve_name_conflicts=False))
        bench.take(replace(alive(1, 9, at=self.RIVAL), node=ME))
        assert handed_on(bench) == []

    def test_a_conflict_about_another_member_is_not_ours_to_settle(self) -> None:
        bench = quiet_bench()
        bench.take(alive(1, 9, at=self.RIVAL))
        assert [m for m in handed_on(bench) if isinstance(m, Query)] == []


class TestKeys:
    OLD, NEW = b"o" * 16, b"n" * 32

    def test_a_rotation_step_by_step(self) -> None:
        keyring = Keyring([self.OLD])
        assert not perform(keyring, KeyOperation.USE, self.NEW).result
        assert perform(keyring, KeyOperation.INSTALL, self.NEW).result
        refused = perform(keyring, KeyOperation.REMOVE, self.OLD)
        assert not refused.result
        assert "primary" in refused.message
        assert perform(keyring, KeyOperation.USE, self.NEW).result
        assert perform(keyring, KeyOperation.REMOVE, self.OLD).result
        assert perform(keyring, KeyOperation.LIST, b"") == KeyResponse(
            True,
            "",
            ("bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4=",),
            "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4=",
        )

    def test_a_key_of_another_length_is_refused(self) -> None:
        assert not perform(Keyring([self.OLD]), KeyOperation.INSTALL, b"short").result

    @pytest.mark.parametrize("operation", KeyOperation)
    def test_without_encryption_everything_is_refused(self, operation: KeyOperation) -> None:
        response = perform(None, operation, self.NEW)
        assert not response.result
        assert "encryption not enabled" in response.message

    def test_a_list_that_is_too_long_is_cut_and_says_so(self) -> None:
        keyring = Keyring([bytes((number,)) * 32 for number in range(40)])
        encoded = encode_answer(perform(keyring, KeyOperation.LIST, b""), bytes_max=900)
        assert len(encoded) <= 900
        response = decode_serf_untrusted(encoded)
        assert isinstance(response, KeyResponse)
        assert 15 < len(response.keys) < 40
        assert f"first {len(response.keys)} of 40" in response.message


def test_a_pool_answers_through_loss(seed: int) -> None:
    pool = SimulatedPool(seed=seed)
    members = pool.add_joined(20)
    pool.run_for(10)
    pool.network.link = replace(pool.network.link, loss=0.1)
    asker = members[0]
    ids: list[QueryId] = []

    def ask(machine: object, now: float) -> Sequence[Effect]:
        options = QueryOptions(relay_factor=3, wants_acks=True)
        query_id, effects = asker.machine.query("load", b"", options, now=now)
        ids.append(query_id)
        return effects

    asker.drive(ask)
    answered: set[str] = set()

    def respond(
        query: IncomingQuery, payload: bytes, machine: Serf, now: float
    ) -> Sequence[Effect]:
        return machine.respond(query, payload, now=now)

    def answer(member: SimulatedMember) -> None:
        for _, event in member.events_of(QueryReceived):
            if isinstance(event, QueryReceived) and member.name not in answered:
                answered.add(member.name)
                member.drive(partial(respond, event.query, member.name.encode()))

    for _ in range(80):
        pool.run_for(0.1)
        for member in members:
            answer(member)
    heard = {
        event.member: event.payload
        for _, event in asker.events_of(QueryAnswered)
        if isinstance(event, QueryAnswered)
    }
    assert heard == {MemberName(m.name): m.name.encode() for m in members}
    assert [event for _, event in asker.events_of(QueryFinished)] == [QueryFinished(ids[0])]


@settings(max_examples=50)
@given(
    st.builds(
        Query,
        ltime=st.integers(0, 2**64 - 1).map(LamportTime),
        id=st.integers(0, 2**32 - 1),
        addr=st.binary(max_size=20),
        port=st.integers(0, 65535),
        source_node=st.text(max_size=5).map(MemberName),
        filters=st.lists(st.binary(max_size=30), max_size=3).map(tuple),
        flags=st.integers(0, 2**32 - 1),
        relay_factor=st.integers(0, 255),
        timeout_ns=st.integers(-(2**63), 2**63 - 1),
        name=st.one_of(st.text(max_size=5), st.sampled_from([*KeyOperation, "_serf_conflict"])),
        payload=st.binary(max_size=30),
    )
)
def test_no_query_makes_the_machine_raise(any_query: Query) -> None:
    bench = quiet_bench()
    bench.take(user(any_query))
    for incoming in received(bench):
        bench.machine.respond(incoming, b"x", now=bench.now)
