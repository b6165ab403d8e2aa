"""One machine under test, and hand-made messages of the members around it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from gossip.config import GossipConfig, SerfConfig, SwimConfig
from gossip.serf import Serf
from gossip.serf.events import Effect
from gossip.swim.effects import MessageDropped, OpenTcpPing, SendPacket
from gossip.types import Address, Incarnation, LamportTime, MemberName, SeqNo
from gossip.wire.codec import decode_message_untrusted
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    JoinIntent,
    LeaveIntent,
    PacketMessage,
    Ping,
    PushPull,
    PushPullNode,
    SerfMessage,
    Suspect,
    UserMessage,
)
from gossip.wire.serf import encode_serf
from gossip.wire.serf_values import encode_tags

ME = MemberName("me")
MY_ADDRESS = Address("10.0.0.1", 7946)
VSN = bytes((1, 5, 2, 2, 5, 5))
NO_TAGS = bytes((0xFF, 0x80))
STRANGER = Address("192.0.2.9", 4000)


def name(number: int) -> MemberName:
    return MemberName(f"m{number}")


def address(number: int) -> Address:
    return Address(f"10.0.{1 + number // 256}.{number % 256}", 7946)


def alive(
    number: int,
    incarnation: int = 1,
    *,
    at: Address | None = None,
    tags: dict[str, str] | None = None,
    vsn: bytes = VSN,
    meta: bytes | None = None,
) -> Alive:
    where = at or address(number)
    meta = meta if meta is not None else encode_tags(tags or {})
    return Alive(Incarnation(incarnation), name(number), where.packed, where.port, meta, vsn)


def node(number: int, incarnation: int = 1, state: int = 0, vsn: bytes = VSN) -> PushPullNode:
    where = address(number)
    return PushPullNode(
        name(number), where.packed, where.port, NO_TAGS, Incarnation(incarnation), state, vsn
    )


def suspect(about: MemberName, incarnation: int, accuser: str) -> Suspect:
    return Suspect(Incarnation(incarnation), about, MemberName(accuser))


def dead(about: MemberName, incarnation: int, accuser: str) -> Dead:
    return Dead(Incarnation(incarnation), about, MemberName(accuser))


def ping(seq_no: int, to: str = "me", source: int = 1) -> Ping:
    where = address(source)
    return Ping(SeqNo(seq_no), MemberName(to), where.packed, where.port, name(source))


def user(message: SerfMessage) -> UserMessage:
    return UserMessage(encode_serf(message))


def join_intent(about: MemberName, ltime: int) -> JoinIntent:
    return JoinIntent(LamportTime(ltime), about)


def leave_intent(about: MemberName, ltime: int, *, prune: bool = False) -> LeaveIntent:
    return LeaveIntent(LamportTime(ltime), about, prune)


@dataclass(frozen=True)
class Sent:
    """A packet with its messages decoded."""

    to: Address
    messages: tuple[PacketMessage, ...]
    crc: bool


class Bench:
    """A started machine, virtual time, and everything it asked for.

    The members around it answer each ping, also by TCP, at once, unless `peers_answer` is cleared.
    """

    def __init__(
        self,
        *,
        members: int = 0,
        swim: SwimConfig | None = None,
        serf: SerfConfig | None = None,
        incarnation: int = 1,
        seed: int = 1,
        tags: dict[str, str] | None = None,
        **extra: object,
    ) -> None:
        self.now = 1000.0
        self.peers_answer = True
        self.effects: list[Effect] = []
        self.machine = Serf(
            GossipConfig(swim=swim or SwimConfig(), serf=serf or SerfConfig()),
            name=ME,
            address=MY_ADDRESS,
            tags=tags or {},
            incarnation=Incarnation(incarnation),
            rng=Random(seed),
            now=self.now,
            **extra,  # type: ignore[arg-type]  # tests pass the machine's own keywords
        )
        self.note(self.machine.start(now=self.now))
        for number in range(1, members + 1):
            self.take(alive(number))

    def note(self, effects: Sequence[Effect]) -> Sequence[Effect]:
        self.effects.extend(effects)
        return effects

    def take(self, message: PacketMessage, *, source: Address = STRANGER) -> Sequence[Effect]:
        return self.note(self.machine.handle_message(message, source=source, now=self.now))

    def exchange(self, request: PushPull, *, source: Address = STRANGER) -> PushPull:
        """Have a peer push and pull; the machine's state in return."""
        reply, effects = self.machine.handle_push_pull(request, source=source, now=self.now)
        self.note(effects)
        assert isinstance(reply, PushPull)
        return reply

    def step(self) -> Sequence[Effect]:
        """Run the machine's next timer when it is due."""
        at = self.machine.next_deadline_at
        assert at is not None
        self.now = max(self.now, at)
        effects = self.note(self.machine.handle_timer(now=self.now))
        if self.peers_answer:
            for ping in of_type(Ping, messages(effects)):
                self.take(Ack(ping.seq_no))
            for dial in of_type(OpenTcpPing, effects):
                ack = Ack(dial.ping.seq_no)
                self.note(self.machine.handle_tcp_ack(dial.stream_id, ack, now=self.now))
        return effects

    def run_for(self, duration_s: float) -> list[Effect]:
        """Run the machine's timers, each exactly when it is due."""
        end, effects = self.now + duration_s, list[Effect]()
        while (at := self.machine.next_deadline_at) is not None and at <= end:
            effects += self.step()
        self.now = end
        return effects

    def run_until_probe(self, limit_s: float = 5.0) -> Sent:
        """Run until a direct ping is sent; the packet."""
        end = self.now + limit_s
        while self.now <= end:
            for packet in sent(self.step()):
                if isinstance(packet.messages[0], Ping):
                    return packet
        raise AssertionError("nobody was probed")


def sent(effects: Iterable[Effect]) -> list[Sent]:
    """The packets among effects, decoded."""
    return [
        Sent(e.to, tuple(decode_message_untrusted(part) for part in e.parts), e.crc)
        for e in effects
        if isinstance(e, SendPacket)
    ]


def messages(effects: Iterable[Effect]) -> list[PacketMessage]:
    """All messages of all packets among effects."""
    return [message for packet in sent(effects) for message in packet.messages]


T = TypeVar("T")


def of_type(kind: type[T], values: Iterable[object]) -> list[T]:
    return [value for value in values if isinstance(value, kind)]


def drop_reasons(effects: Iterable[Effect]) -> list[str]:
    return [e.reason for e in effects if isinstance(e, MessageDropped)]
