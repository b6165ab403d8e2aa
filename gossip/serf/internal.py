"""Queries that members ask each other on their own account: names beginning `_serf_` (10.13).

Reachability needs nothing but the ack. Key queries are told, for the shell to carry out. A conflict
of names is put to the vote: whom does everybody else know by our name (10.9)?
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gossip.errors import DecodeError, TooLargeError
from gossip.serf import drops
from gossip.serf.events import (
    Effect,
    IncomingQuery,
    KeyOperation,
    KeyQueryReceived,
    Member,
    MemberStatus,
    NameVoteFinished,
)
from gossip.serf.members import Members
from gossip.serf.queries import Answerer
from gossip.swim.effects import MessageDropped
from gossip.types import Address, MemberName
from gossip.wire.messages import ConflictResponse, KeyRequest
from gossip.wire.serf import decode_serf_untrusted, encode_serf

PING: Final = "_serf_ping"
CONFLICT: Final = "_serf_conflict"
_UNKNOWN_MEMBER: Final = b"\x06\xc0"
"""A conflict response that knows nobody of that name."""

_STATUS_NUMBERS: Final = {
    MemberStatus.NONE: 0,
    MemberStatus.ALIVE: 1,
    MemberStatus.LEAVING: 2,
    MemberStatus.LEFT: 3,
    MemberStatus.FAILED: 4,
}


class InternalQueries:
    """Answers them. It keeps no state of its own."""

    def __init__(
        self,
        own_name: MemberName,
        *,
        members: Members,
        answerer: Answerer,
        emit: Callable[[Effect], None],
    ) -> None:
        self._name, self._members = own_name, members
        self._answerer, self._emit = answerer, emit

    def handle(self, query: IncomingQuery, *, now: float) -> None:
        """Answer one, or have it carried out."""
        if query.name == PING:
            return
        if query.name == CONFLICT:
            self._answer_conflict(query, now=now)
            return
        try:
            operation = KeyOperation(query.name)
            request = decode_serf_untrusted(query.payload)
        except DecodeError as error:
            self._emit(MessageDropped(error.reason, query.name))
            return
        except ValueError:
            self._emit(MessageDropped(drops.UNKNOWN_INTERNAL_QUERY, query.name))
            return
        if not isinstance(request, KeyRequest):
            self._emit(MessageDropped(drops.UNEXPECTED_TYPE, query.name))
            return
        self._emit(KeyQueryReceived(query, operation, request.key))

    def _answer_conflict(self, query: IncomingQuery, *, now: float) -> None:
        name = MemberName(query.payload.decode("utf-8", "surrogateescape"))
        if name == self._name:
            # The one who asks, or the one it is about: neither has a vote.
            return
        record = self._members.get(name)
        payload = _UNKNOWN_MEMBER if record is None else _known(record.member)
        try:
            self._answerer.answer(query, payload, now=now)
        except TooLargeError as error:
            self._emit(MessageDropped(drops.ANSWER_TOO_LARGE, str(error)))


@dataclass(slots=True)
class NameVote:
    """One vote on who has our name."""

    address: Address
    answers: int = 0
    matching: int = 0

    def take_untrusted(self, payload: bytes) -> None:
        """Count the answer of a member; what is no answer does not count."""
        if payload == _UNKNOWN_MEMBER:
            self.answers += 1
            return
        try:
            response = decode_serf_untrusted(payload)
        except DecodeError:
            return
        if isinstance(response, ConflictResponse):
            self.answers += 1
            claimed = (response.addr, response.port)
            self.matching += claimed == (self.address.packed, self.address.port)

    def finish(self) -> NameVoteFinished:
        """The result."""
        is_ours = self.matching >= self.answers // 2 + 1
        return NameVoteFinished(is_ours, self.matching, self.answers)


def _known(member: Member) -> bytes:
    return encode_serf(
        ConflictResponse(
            member.name,
            member.address.packed,
            member.address.port,
            member.tags,
            _STATUS_NUMBERS[member.status],
            member.vsn,
        )
    )
