"""The DNS front without its sockets: a packet in; a packet, silence or work for recursors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from dnsserver.answerer import Answerer
from dnsserver.answers import Answer, Awaited, NotOurs, Plan, Question
from dnsserver.cache import SCHEDULE_BYTES_MAX, AnswerCache, Entry, Key
from dnsserver.config import DnsConfig
from dnsserver.counters import DnsCounters
from dnsserver.directory import Directory, Stamp
from dnsserver.envelope import Room, encode_rejection, encode_slip, room_for
from dnsserver.errors import QueryRejectedError
from dnsserver.message import encode_response, stretch_encoder
from dnsserver.query import HEADER_BYTES, Query, decode_query_untrusted
from dnsserver.records import SERVFAIL, Record
from dnsserver.schedule import RowSchedule, Schedule
from dnsserver.shuffling import Mixture

ALIAS_RECORDS_MAX = 5
"""Most records that are brought along for a host name, without EDNS0."""
ALIAS_ROUNDS_MAX = 3
"""How often recursors are asked for the host names of one answer."""

_NOTHING: Mapping[bytes, Sequence[Record]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Forward:
    """A query that recursors are to be asked, as it is."""

    query: Query
    packet: bytes
    is_tcp: bool
    room: Room


@dataclass(frozen=True, slots=True)
class Resolve:
    """A query whose answer has host names that recursors are to be asked for."""

    query: Query
    is_tcp: bool
    targets: tuple[bytes, ...]
    """Host names in wire form."""
    resolved: Mapping[bytes, Sequence[Record]]
    """What they have said before."""
    seed: int
    """Makes the answer the same as before, but for what is known of the targets."""
    rounds_left: int


@dataclass(frozen=True, slots=True)
class LookUp:
    """A query whose answer others are to be asked for."""

    query: Query
    is_tcp: bool
    awaited: Awaited


Pending = Forward | Resolve | LookUp
"""What there is to do before a query can be answered."""


class Responder:
    """Answers packets from a directory; counts what it does."""

    def __init__(
        self, directory: Directory, config: DnsConfig, counters: DnsCounters, rng: Random
    ) -> None:
        self._config, self._counters, self._rng = config, counters, rng
        self._answerer = Answerer(directory, config, rng)
        self._cache = AnswerCache()

    def respond_udp(
        self, packet: bytes, now_utc: float, client: str = ""
    ) -> bytes | Pending | None:
        """Return the response to a datagram, None when there is none to give.

        `now_utc` is wall-clock seconds, the serial of the SOA; `client` the address that asks.
        """
        self._counters.udp_queries += 1
        response = self._kept_response(packet[2:], now_utc)
        if response is not None:
            return packet[:2] + response
        return self._respond(packet, is_tcp=False, now_utc=now_utc, client=client)

    def respond_tcp(
        self, packet: bytes, now_utc: float, client: str = ""
    ) -> bytes | Pending | None:
        """Do the same for a message over TCP, without its length; the response may be large."""
        self._counters.tcp_queries += 1
        response = self._kept_response((packet[2:],), now_utc)
        if response is not None:
            return packet[:2] + response
        return self._respond(packet, is_tcp=True, now_utc=now_utc, client=client)

    def _kept_response(self, key: Key, now_utc: float) -> bytes | None:
        """The fast path: these bytes were answered before, and nothing has changed."""
        entry = self._cache.young.get(key)
        if entry is None or not entry.stamp.is_current or now_utc >= entry.expires_at_utc:
            return None
        response = next(entry.responses, None)
        if response is not None:
            self._counters.responses[entry.rcode] += 1
            self._counters.shortened += entry.is_cut
        return response

    def slip(self, packet: bytes) -> bytes | None:
        """Return a response that says no more than to ask over TCP, None when there is none."""
        self._counters.udp_queries += 1
        try:
            query = decode_query_untrusted(packet)
        except QueryRejectedError as rejection:
            self._counters.rejected[rejection.reason] += 1
            return None
        self._counters.slipped += 1
        return encode_slip(query)

    def _respond(
        self, packet: bytes, *, is_tcp: bool, now_utc: float, client: str
    ) -> bytes | Pending | None:
        try:
            query = decode_query_untrusted(packet)
        except QueryRejectedError as rejection:
            self._counters.rejected[rejection.reason] += 1
            if rejection.rcode is None:
                return None
            self._counters.responses[rejection.rcode] += 1
            return encode_rejection(packet, rejection.rcode, rejection.question)
        return self._answer(query, packet, is_tcp=is_tcp, now_utc=now_utc, client=client)

    def resume(
        self, pending: Resolve, found: Mapping[bytes, Sequence[Record]], *, now_utc: float
    ) -> bytes | Pending:
        """Go on with an answer when recursors have been asked for its targets.

        `found` is what they said; a target without an entry is taken to be unknown to them.
        """
        room = self._room(pending.query, is_tcp=pending.is_tcp)
        resolved = {**pending.resolved, **dict.fromkeys(pending.targets, ()), **found}
        question = self._question(pending.query, room, now_utc=now_utc, resolved=resolved)
        plan = self._answerer.plan(question)
        if isinstance(plan, Awaited):
            # It is of another data center, and no longer at hand.
            return LookUp(pending.query, pending.is_tcp, plan)
        assert isinstance(plan, Plan), "neither zones nor names change"
        again = replace(pending, resolved=resolved, rounds_left=pending.rounds_left - 1)
        return self._draw_or_resolve(plan, room, again)

    def finish_look_up(self, pending: LookUp, plan: Plan) -> bytes:
        """Answer by what others have said. Host names in it are left to the client."""
        room = self._room(pending.query, is_tcp=pending.is_tcp)
        rng = Random(self._rng.getrandbits(64))
        answer = plan.draw(int(rng.random() * plan.beginnings), Mixture(rng))
        return self._finish(pending.query, answer, room)

    def fail(self, query: Query, room: Room) -> bytes:
        """Return the answer to a query that no recursor could answer."""
        return self._finish(query, Answer(rcode=SERVFAIL, is_authoritative=False), room)

    def _answer(
        self, query: Query, packet: bytes, *, is_tcp: bool, now_utc: float, client: str
    ) -> bytes | Pending:
        """Answer from the cache, or look the question up."""
        plain = query.plain()
        key = (plain.key(),) if is_tcp else plain.key()
        room = self._room(query, is_tcp=is_tcp)
        entry = self._cache.find(key, now_utc=now_utc)
        if entry is None:
            if query.edns is not None and query.edns.subnet_option:
                client = query.edns.subnet_address
            plan = self._answerer.plan(self._question(plain, room, now_utc=now_utc, client=client))
            if isinstance(plan, NotOurs):
                return Forward(query, packet, is_tcp, room)
            if isinstance(plan, Awaited):
                return self._look_up(query, room, now_utc=now_utc, client=client, is_tcp=is_tcp)
            if plan.stamp is None:
                return self._answer_once(
                    query, plan, room, is_tcp=is_tcp, now_utc=now_utc, client=client
                )
            entry = self._new_entry(plain, plan, plan.stamp, room, now_utc)
        response = entry.next_response()
        self._cache.keep(key, entry)
        response = _fitted(response, query, plain, entry)
        if len(response) > room.bytes_max:
            # Only what is echoed makes it too large.
            plan = self._answerer.plan(self._question(query, room, now_utc=now_utc, client=client))
            assert isinstance(plan, Plan), "it could be answered before"
            return self._answer_once(
                query, plan, room, is_tcp=is_tcp, now_utc=now_utc, client=client
            )
        self._counters.responses[entry.rcode] += 1
        self._counters.shortened += entry.is_cut
        return response

    def _new_entry(
        self, plain: Query, plan: Plan, stamp: Stamp, room: Room, now_utc: float
    ) -> Entry:
        def encode(beginning: int, mixture: Mixture) -> bytes:
            answer = plan.draw(beginning, mixture)
            response, is_cut = self._encode(plain, answer, room)
            entry.rcode, entry.is_cut = answer.rcode, is_cut
            entry.has_opt = answer.has_edns and plain.edns is not None
            entry.is_for_subnet = answer.is_for_subnet
            if answer.has_soa:
                # The serial is the time.
                entry.expires_at_utc = int(now_utc) + 1.0
            return response[2:]

        entry = Entry(stamp)
        if plan.row is None:
            entry.schedule = Schedule(
                plan.beginnings, encode, self._rng, bytes_max=SCHEDULE_BYTES_MAX
            )
        else:
            response = encode(0, Mixture(self._rng))
            stretch = stretch_encoder(response, plain, plan.row)
            entry.schedule = RowSchedule(
                plan.beginnings, stretch, self._rng, response_bytes=len(response)
            )
        return entry

    def _look_up(
        self, query: Query, room: Room, *, now_utc: float, client: str, is_tcp: bool
    ) -> bytes | Pending:
        """Have others asked, about the name as it was written."""
        plan = self._answerer.plan(self._question(query, room, now_utc=now_utc, client=client))
        match plan:
            case Awaited():
                return LookUp(query, is_tcp, plan)
            case Plan():
                return self._answer_once(
                    query, plan, room, is_tcp=is_tcp, now_utc=now_utc, client=client
                )
            case _:
                raise AssertionError("it was ours before")

    def _answer_once(
        self, query: Query, plan: Plan, room: Room, *, is_tcp: bool, now_utc: float, client: str
    ) -> bytes | Resolve:
        """Draw from a plan that is not kept; it was made for the plain query or for this one."""
        if query.name != query.name.lower():
            # Records are to have the name as it was asked.
            again = self._answerer.plan(self._question(query, room, now_utc=now_utc, client=client))
            assert isinstance(again, Plan), "letter case makes no difference"
            plan = again
        rounds = ALIAS_ROUNDS_MAX if self._config.has_recursors else 0
        seed = self._rng.getrandbits(64)
        return self._draw_or_resolve(plan, room, Resolve(query, is_tcp, (), {}, seed, rounds))

    def _draw_or_resolve(self, plan: Plan, room: Room, pending: Resolve) -> bytes | Resolve:
        rng = Random(pending.seed)
        answer = plan.draw(int(rng.random() * plan.beginnings), Mixture(rng))
        if answer.unresolved and pending.rounds_left > 0:
            return replace(pending, targets=tuple(dict.fromkeys(answer.unresolved)))
        return self._finish(pending.query, answer, room)

    def _finish(self, query: Query, answer: Answer, room: Room) -> bytes:
        response, is_cut = self._encode(query, answer, room)
        self._counters.responses[answer.rcode] += 1
        self._counters.shortened += is_cut
        return response

    def _encode(self, query: Query, answer: Answer, room: Room) -> tuple[bytes, bool]:
        return encode_response(
            query,
            answer,
            room,
            sets_tc=self._config.enable_truncate,
            has_recursors=self._config.has_recursors,
        )

    def _room(self, query: Query, *, is_tcp: bool) -> Room:
        return room_for(query, is_tcp=is_tcp, small_answers_max=self._config.small_answers_max)

    def _question(
        self,
        query: Query,
        room: Room,
        *,
        now_utc: float,
        resolved: Mapping[bytes, Sequence[Record]] = _NOTHING,
        client: str = "",
    ) -> Question:
        return Question(
            name=query.name,
            type=query.type,
            answers_max=room.answers_useful,
            takes_none=room.answers_max == 0,
            bytes_max=room.bytes_max,
            alias_records_max=ALIAS_RECORDS_MAX if query.edns is None else 0,
            serial=int(now_utc),
            resolved=resolved,
            client=client,
        )


def _fitted(response: bytes, query: Query, plain: Query, entry: Entry) -> bytes:
    """Make the response to the plain query, without its id, that to the query itself."""
    head = query.id.to_bytes(2, "big")
    if query.question != plain.question:
        # The same length; names in the answer point to it.
        end = HEADER_BYTES + len(query.question)
        response = response[: HEADER_BYTES - 2] + query.question + response[end - 2 :]
    if entry.has_opt and query.edns is not None and query.edns.subnet_option:
        options = query.edns.subnet_echo(is_for_subnet=entry.is_for_subnet)
        response = response[:-2] + len(options).to_bytes(2, "big") + options
    return head + response
