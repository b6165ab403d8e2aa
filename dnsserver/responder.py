"""The DNS front without its sockets: a packet in, a packet or silence out."""

from random import Random

from dnsserver.answers import Answerer, Question
from dnsserver.config import DnsConfig
from dnsserver.counters import DnsCounters
from dnsserver.directory import Directory
from dnsserver.errors import QueryRejectedError
from dnsserver.message import encode_rejection, encode_response, room_for
from dnsserver.query import Query, decode_query_untrusted

ALIAS_RECORDS_MAX = 5
"""Most records that are brought along for a host name in our zones, without EDNS0."""


class Responder:
    """Answers packets from a directory; counts what it does."""

    def __init__(
        self, directory: Directory, config: DnsConfig, counters: DnsCounters, rng: Random
    ) -> None:
        self._config, self._counters = config, counters
        self._answerer = Answerer(directory, config, rng)

    def respond(self, packet: bytes, *, is_tcp: bool, now_utc: float) -> bytes | None:
        """Return the response to one message, None when there is none to give.

        Args:
            packet: The message, for TCP without its length.
            is_tcp: Whether the response may be large.
            now_utc: Wall-clock seconds, the serial of the SOA.
        """
        self._counters.count_query(is_tcp=is_tcp)
        try:
            query = decode_query_untrusted(packet)
        except QueryRejectedError as rejection:
            self._counters.rejected[rejection.reason] += 1
            if rejection.rcode is None:
                return None
            self._counters.responses[rejection.rcode] += 1
            return encode_rejection(packet, rejection.rcode, rejection.question)
        return self._answer(query, is_tcp=is_tcp, serial=int(now_utc))

    def _answer(self, query: Query, *, is_tcp: bool, serial: int) -> bytes:
        room = room_for(query, is_tcp=is_tcp, small_answers_max=self._config.small_answers_max)
        question = Question(
            name=query.name,
            type=query.type,
            answers_max=room.answers_useful,
            bytes_max=room.bytes_max,
            alias_records_max=ALIAS_RECORDS_MAX if query.edns is None else 0,
            serial=serial,
        )
        answer = self._answerer.answer(question)
        response, is_cut = encode_response(
            query, answer, room, sets_tc=self._config.enable_truncate
        )
        self._counters.responses[answer.rcode] += 1
        self._counters.shortened += is_cut
        return response
