"""Whatever peers send in whatever order: nothing raises, and what is kept stays bounded."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.config import SerfConfig, SwimConfig
from gossip.serf.events import Member, MemberStatus
from gossip.swim.effects import OpenPushPull, OpenTcpPing
from gossip.types import Address, Incarnation, LamportTime, MemberName, SeqNo
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    JoinIntent,
    LeaveIntent,
    Nack,
    PacketMessage,
    Ping,
    PushPull,
    PushPullNode,
    SerfState,
    Suspect,
    UserMessage,
)
from gossip.wire.serf import encode_serf
from tests.gossip.machines import ME, NO_TAGS, STRANGER, VSN, Bench, address

MEMBERS_MAX = 6

names = st.one_of(
    st.sampled_from([ME, *(MemberName(f"m{n}") for n in range(9))]),
    st.text(max_size=300).map(MemberName),
)
u32 = st.integers(0, 2**32 - 1)
incarnations = st.one_of(st.integers(0, 6), u32).map(Incarnation)
seq_nos = st.one_of(st.integers(0, 30), u32).map(SeqNo)
ltimes = st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)).map(LamportTime)
addrs = st.one_of(
    st.integers(0, 5).map(lambda n: address(n).packed),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=16, max_size=16),
)
ports = st.sampled_from([0, 1, 7946, 65535])
metas = st.one_of(st.just(NO_TAGS), st.binary(max_size=600))
vsns = st.one_of(st.just(VSN), st.binary(max_size=8))
payloads = st.one_of(
    st.binary(max_size=40),
    st.builds(JoinIntent, ltimes, names).map(encode_serf),
    st.builds(LeaveIntent, ltimes, names, st.booleans()).map(encode_serf),
)
packet_messages = st.one_of(
    st.builds(Ping, seq_nos, names, st.just(b"") | addrs, ports, names),
    st.builds(IndirectPing, seq_nos, addrs, ports, names, st.booleans(), addrs, ports, names),
    st.builds(Ack, seq_nos, st.none() | st.binary(max_size=10)),
    st.builds(Nack, seq_nos),
    st.builds(Suspect, incarnations, names, names),
    st.builds(Dead, incarnations, names, names),
    st.builds(Alive, incarnations, names, addrs, ports, metas, vsns),
    st.builds(UserMessage, payloads),
)
serf_states = st.builds(
    SerfState,
    ltimes,
    st.dictionaries(names, ltimes, max_size=4),
    st.lists(names, max_size=3).map(tuple),
    ltimes,
    st.just(()),
    ltimes,
)
push_pulls = st.builds(
    PushPull,
    st.booleans(),
    st.lists(
        st.builds(
            PushPullNode,
            names,
            addrs,
            ports,
            metas,
            incarnations,
            st.integers(0, 3),
            st.sampled_from([VSN, b""]),
        ),
        max_size=4,
    ).map(tuple),
    st.one_of(st.binary(max_size=20), serf_states.map(encode_serf)),
)


@given(st.lists(packet_messages, max_size=20))
@settings(max_examples=100)
def test_no_sequence_of_messages_raises(history: list[PacketMessage]) -> None:
    bench = Bench(members=2)
    for message in history:
        bench.take(message)
    bench.run_for(3)
    assert bench.machine.local.status == MemberStatus.ALIVE


class AnyPeers(RuleBasedStateMachine):
    """A member among peers that say anything, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(
            members=2,
            swim=SwimConfig(members_max=MEMBERS_MAX, broadcast_queue_max=16),
            serf=SerfConfig(recent_intents_max=8, queue_depth_max=16),
        )
        self.bench.peers_answer = False
        self.incarnation = self.bench.machine.incarnation
        self.has_left = False

    @rule(message=packet_messages, source=st.sampled_from([STRANGER, address(1), address(2)]))
    def a_message_comes(self, message: PacketMessage, source: Address) -> None:
        self.bench.take(message, source=source)

    @rule(request=push_pulls)
    def a_push_pull_comes(self, request: PushPull) -> None:
        assert self.bench.exchange(request, source=address(1)).join == request.join

    @rule(delay_s=st.sampled_from([0.1, 0.5, 1.0, 5.0, 40.0]))
    def time_passes(self, delay_s: float) -> None:
        self.bench.run_for(delay_s)

    @rule(delay_s=st.sampled_from([0.1, 3.0, 100.0]))
    def the_process_stalls(self, delay_s: float) -> None:
        self.bench.now += delay_s
        self.bench.note(self.bench.machine.handle_timer(now=self.bench.now))

    @rule(reply=push_pulls, reason=st.sampled_from(["refused", "timeout", ""]))
    def a_stream_ends(self, reply: PushPull, reason: str) -> None:
        bench = self.bench
        opened = [e for e in bench.effects if isinstance(e, OpenPushPull | OpenTcpPing)]
        bench.effects.clear()
        for effect in opened:
            if reason:
                bench.note(
                    bench.machine.handle_stream_failed(effect.stream_id, reason, now=bench.now)
                )
            elif isinstance(effect, OpenPushPull):
                bench.note(
                    bench.machine.handle_push_pull_reply(effect.stream_id, reply, now=bench.now)
                )
            else:
                ack = Ack(effect.ping.seq_no)
                bench.note(bench.machine.handle_tcp_ack(effect.stream_id, ack, now=bench.now))

    @rule()
    def we_join(self) -> None:
        if not self.has_left:
            self.bench.note(self.bench.machine.join(address(3), now=self.bench.now)[1])

    @rule(value=st.text(max_size=20))
    def we_change_tags(self, value: str) -> None:
        if not self.has_left:
            self.bench.note(self.bench.machine.set_tags({"t": value}, now=self.bench.now))

    @rule()
    def we_leave(self) -> None:
        self.bench.note(self.bench.machine.leave(now=self.bench.now))
        self.has_left = True

    @invariant()
    def our_incarnation_never_falls(self) -> None:
        assert self.bench.machine.incarnation >= self.incarnation
        self.incarnation = self.bench.machine.incarnation

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        stats = self.bench.machine.stats()
        assert stats["members"] <= MEMBERS_MAX
        assert stats["failed"] + stats["left"] < stats["members"] + self.has_left
        assert max(stats[f"{kind}_queue"] for kind in ("intent", "event", "query")) <= 16
        assert 0 <= stats["health_score"] < 8

    @invariant()
    def nobody_else_makes_us_go(self) -> None:
        status = self.bench.machine.local.status
        assert self.has_left or status == MemberStatus.ALIVE

    @invariant()
    def the_lists_agree_with_the_statuses(self) -> None:
        members: list[Member] = self.bench.machine.members()
        stats = self.bench.machine.stats()
        assert sum(m.status == MemberStatus.FAILED for m in members) == stats["failed"]
        assert sum(m.status == MemberStatus.LEFT for m in members) == stats["left"]

    @invariant()
    def the_next_deadline_is_never_missed(self) -> None:
        assert self.bench.machine.next_deadline_at is not None


TestAnyPeers = AnyPeers.TestCase
TestAnyPeers.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
