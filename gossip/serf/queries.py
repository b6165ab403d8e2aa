"""Queries: asking the members something, and answering (10.11, 10.12).

`Asker` has ours until their time is over, `Answerer` those of others. What a query is handed on
for, and whether it was seen before, is decided in `intake.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from gossip.config import SerfConfig
from gossip.errors import ConfigError, DecodeError, StateError, TooLargeError
from gossip.serf import drops
from gossip.serf.events import (
    Effect,
    IncomingQuery,
    MemberStatus,
    QueryAcked,
    QueryAnswered,
    QueryFinished,
    QueryId,
    QueryReceived,
)
from gossip.serf.filters import passes_untrusted
from gossip.serf.members import Members
from gossip.swim.deadlines import Deadline, Deadlines
from gossip.swim.effects import MessageDropped, SendPacket
from gossip.swim.ratelimit import TokenBucket
from gossip.swim.versions import PMAX_RELAY, pmax
from gossip.types import Address, MemberName
from gossip.wire.codec import encode_message
from gossip.wire.messages import NodeFilter, Query, QueryResponse, Relay, TagFilter, UserMessage
from gossip.wire.serf import encode_serf
from gossip.wire.serf_values import encode_filter

INTERNAL_PREFIX: Final = "_serf_"
ACK_WANTED: Final = 1
NO_REBROADCAST: Final = 2
_ACK: Final = 1

ASKED_MAX: Final = 1024
"""Queries of ours under way at once."""
UNANSWERED_MAX: Final = 1024
"""Queries of others that the user may still answer; beyond it the oldest cannot be any more."""
TIMEOUT_S_MAX: Final = 3600.0
STRANGER_ANSWERS_PER_S: Final = 64.0
"""Answers a second to addresses that no member has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryOptions:
    """Whom to ask, and how."""

    nodes: tuple[MemberName, ...] = ()
    """Only these members; empty is all."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Only members whose tags match: by tag, an expression in RE2's syntax, searched for."""
    wants_acks: bool = False
    """Have each member that is asked confirm it at once."""
    relay_factor: int = 0
    """Have each answer sent by this many detours as well, 0 to 255."""
    timeout_s: float | None = None
    """How long answers are waited for, at most an hour; None follows from the pool's size."""

    def __post_init__(self) -> None:
        if not 0 <= self.relay_factor <= 255:
            raise ConfigError(f"relay_factor: 0 to 255, got {self.relay_factor}")
        if self.timeout_s is not None and not 0 < self.timeout_s <= TIMEOUT_S_MAX:
            raise ConfigError(f"timeout_s: above 0, at most {TIMEOUT_S_MAX}")


AnswerHandler = Callable[[MemberName, bytes], None]


@dataclass(slots=True)
class _Asked:
    """A query of ours. Invariant: `deadline` is armed while it is in the asker's table."""

    on_ack: Callable[[MemberName], None]
    on_answer: AnswerHandler
    on_end: Callable[[], None]
    deadline: Deadline
    acked: set[MemberName] = field(default_factory=set)
    answered: set[MemberName] = field(default_factory=set)


class Asker:
    """Our queries under way. Each member counts once, whatever detours its answer takes."""

    def __init__(
        self, *, deadlines: Deadlines, members_max: int, emit: Callable[[Effect], None]
    ) -> None:
        self._deadlines, self._members_max, self._emit = deadlines, members_max, emit
        self._asked: dict[QueryId, _Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def begin(self, query: QueryId, ends_at: float) -> None:
        """Wait for answers, and tell the user of them.

        Raises:
            StateError: Too many queries are under way.
        """
        self.listen(
            query,
            ends_at=ends_at,
            on_ack=lambda member: self._emit(QueryAcked(query, member)),
            on_answer=lambda member, payload: self._emit(QueryAnswered(query, member, payload)),
            on_end=lambda: self._emit(QueryFinished(query)),
        )

    def listen(
        self,
        query: QueryId,
        *,
        ends_at: float,
        on_answer: AnswerHandler,
        on_end: Callable[[], None],
        on_ack: Callable[[MemberName], None] = lambda _member: None,
    ) -> None:
        """Wait for answers on behalf of this library.

        Raises:
            StateError: Too many queries are under way.
        """
        if len(self._asked) >= ASKED_MAX:
            raise StateError(f"at most {ASKED_MAX} queries at a time")
        deadline = self._deadlines.call_at(ends_at, lambda _now: self.end(query))
        self._asked[query] = _Asked(on_ack, on_answer, on_end, deadline)

    def end(self, query: QueryId) -> None:
        """Wait no longer."""
        asked = self._asked.pop(query, None)
        if asked is not None:
            self._deadlines.cancel(asked.deadline)
            asked.on_end()

    def handle_response(self, response: QueryResponse) -> None:
        """Take an answer or ack, by whichever way it came."""
        asked = self._asked.get(QueryId(response.ltime, response.id))
        if asked is None:
            self._emit(MessageDropped(drops.LATE_ANSWER, response.from_node))
            return
        is_ack = bool(response.flags & _ACK)
        heard = asked.acked if is_ack else asked.answered
        if response.from_node in heard:
            return
        if len(heard) >= self._members_max:
            self._emit(MessageDropped(drops.TOO_MANY_ANSWERS, response.from_node))
            return
        heard.add(response.from_node)
        if is_ack:
            asked.on_ack(response.from_node)
        else:
            asked.on_answer(response.from_node, response.payload)


def new_query(
    name: str,
    payload: bytes,
    options: QueryOptions,
    *,
    query_id: QueryId,
    asker: Address,
    source: MemberName,
    timeout_s: float,
) -> Query:
    """A query of ours, to be answered to `asker`."""
    filters = [encode_filter(NodeFilter(options.nodes))] if options.nodes else []
    filters += [encode_filter(TagFilter(tag, text)) for tag, text in options.tags.items()]
    return Query(
        ltime=query_id.ltime,
        id=query_id.id,
        addr=asker.packed,
        port=asker.port,
        source_node=source,
        filters=tuple(filters),
        flags=ACK_WANTED if options.wants_acks else 0,
        relay_factor=options.relay_factor,
        timeout_ns=int(timeout_s * 1e9),
        name=name,
        payload=payload,
    )


class Answerer:
    """Queries that reached us.

    Invariant: `_unanswered` has exactly those that were delivered and may still be answered.
    """

    def __init__(
        self,
        config: SerfConfig,
        own_name: MemberName,
        own_address: Address,
        *,
        members: Members,
        is_member_address: Callable[[Address], bool],
        asker: Asker,
        rng: Random,
        emit: Callable[[Effect], None],
        now: float,
    ) -> None:
        self._config, self._name, self._address = config, own_name, own_address
        self._members, self._is_member_address = members, is_member_address
        self._asker, self._rng, self._emit = asker, rng, emit
        self._unanswered: dict[QueryId, None] = {}
        self._strangers = TokenBucket(
            rate_per_s=STRANGER_ANSWERS_PER_S, burst=STRANGER_ANSWERS_PER_S, now=now
        )

    def handle_query(self, query: Query, *, now: float) -> IncomingQuery | None:
        """Take a query that is news: ack it, and give it back if it is to be answered here.

        None: it is for others, or told to the user.
        """
        me = self._members.get(self._name)
        try:
            tags = {} if me is None else me.member.tags
            if not passes_untrusted(query.filters, self._name, tags):
                return None
            asker = Address.from_packed(query.addr, query.port)
        except DecodeError as error:
            self._drop(error.reason, query.name)
            return None
        except ValueError as error:
            self._drop(drops.QUERY_UNANSWERABLE, str(error))
            return None
        incoming = IncomingQuery(
            QueryId(query.ltime, query.id),
            query.name,
            query.payload,
            query.source_node,
            asker,
            now + min(max(query.timeout_ns / 1e9, 0.0), TIMEOUT_S_MAX),
            query.relay_factor,
        )
        if query.flags & ACK_WANTED:
            self._send(incoming, _ACK, b"", now=now)
        if query.name.startswith(INTERNAL_PREFIX):
            return incoming
        self._unanswered[incoming.id] = None
        if len(self._unanswered) > UNANSWERED_MAX:
            del self._unanswered[next(iter(self._unanswered))]
        self._emit(QueryReceived(incoming))
        return None

    def respond(self, query: IncomingQuery, payload: bytes, *, now: float) -> None:
        """Answer a query that was told.

        Raises:
            TooLargeError: The answer is too long. Another one may be given.
            StateError: It was answered already, or its time is over.
        """
        if query.id not in self._unanswered:
            raise StateError("the query has been answered, or was never told")
        if now > query.deadline_at:
            del self._unanswered[query.id]
            raise StateError("the time for answers to the query is over")
        self.answer(query, payload, now=now)
        del self._unanswered[query.id]

    def answer(self, query: IncomingQuery, payload: bytes, *, now: float) -> None:
        """Send an answer, unless its time is over.

        Raises:
            TooLargeError: It is too long.
        """
        if now <= query.deadline_at:
            self._send(query, 0, payload, now=now)

    def room_bytes(self, query: IncomingQuery) -> int:
        """The longest payload that an answer to `query` can have."""
        empty = self._encode(query, 0, b"\x00" * 256)
        return self._config.response_bytes_max - len(empty) + 256

    def _encode(self, query: IncomingQuery, flags: int, payload: bytes) -> bytes:
        return encode_serf(QueryResponse(query.id.ltime, query.id.id, self._name, flags, payload))

    def _send(self, query: IncomingQuery, flags: int, payload: bytes, *, now: float) -> None:
        response = QueryResponse(query.id.ltime, query.id.id, self._name, flags, payload)
        encoded = encode_serf(response)
        if len(encoded) > self._config.response_bytes_max:
            raise TooLargeError(
                f"query response exceeds the limit of {self._config.response_bytes_max} bytes: "
                f"{len(encoded)} encoded"
            )
        if query.asker == self._address:
            self._asker.handle_response(response)
            return
        if not self._is_member_address(query.asker) and not self._strangers.take(now=now):
            self._drop(drops.ANSWER_TO_STRANGER, str(query.asker))
            return
        self._emit(SendPacket(query.asker, (encode_message(UserMessage(encoded)),)))
        self._send_detours(query, encoded)

    def _send_detours(self, query: IncomingQuery, encoded: bytes) -> None:
        """Have a few members pass the answer on, in case the direct way loses it (10.12)."""
        if not query.relay_factor or len(self._members) < query.relay_factor + 1:
            return
        relay = encode_serf(Relay(query.asker.packed, query.asker.port, query.source_node, encoded))
        if len(relay) > self._config.response_bytes_max:
            self._drop(drops.RELAY_UNFIT, f"{len(relay)} bytes")
            return
        able = [
            record.member
            for record in self._members
            if record.member.status is MemberStatus.ALIVE
            and pmax(record.member.vsn) >= PMAX_RELAY
            and record.member.name != self._name
        ]
        for member in self._rng.sample(able, min(query.relay_factor, len(able))):
            self._emit(SendPacket(member.address, (encode_message(UserMessage(relay)),)))

    def _drop(self, reason: str, detail: str) -> None:
        self._emit(MessageDropped(reason, detail))
