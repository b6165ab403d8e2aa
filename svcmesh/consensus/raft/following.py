"""The follower's side of one term: judging the leader's entries, and how far they are committed.

A new object for each term; nothing is reset. It decides, and the machine does. Whether a message is
of this term's leader is known before it comes here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from svcmesh.consensus.raft.log import RaftLog
from svcmesh.consensus.raft.messages import AppendReply, AppendRequest, ReadRequest
from svcmesh.consensus.raft.types import Entry, LogIndex, ReadId, Term


@dataclass(frozen=True, slots=True)
class Refused:
    """The leader's log and ours differ before these entries: what to answer at once."""

    reply: AppendReply


@dataclass(frozen=True, slots=True)
class Accepted:
    """What of the entries is to be appended, and what to answer when all of it is on disk."""

    news: Sequence[Entry]
    matched: LogIndex | None
    """Our log is the leader's up to here, then; None: nothing new is known."""
    reply: AppendReply


class Following:
    """What a follower knows of the leader's log in one term."""

    def __init__(self, term: Term, log: RaftLog) -> None:
        self._term, self._log = term, log
        self._matched = self._leader_commit = LogIndex(0)
        """Up to where our log is the leader's, and is committed as it told us."""

    def judge(self, append: AppendRequest) -> Accepted | Refused:
        """What becomes of an append: nothing at or below the commit index is ever replaced."""
        log = self._log
        if append.prev_index < log.commit:
            # Old, or from before a snapshot; what is committed is the same for everybody.
            return Accepted((), None, AppendReply(self._term, True, log.commit))
        if log.term(append.prev_index) != append.prev_term:
            hint_index, hint_term = log.hint(append.prev_index, append.prev_term)
            return Refused(AppendReply(self._term, False, append.prev_index, hint_index, hint_term))
        news = append.entries[log.conflict(append.entries) :]
        last_index = LogIndex(append.prev_index + len(append.entries))
        return Accepted(news, last_index, AppendReply(self._term, True, last_index))

    def note_matched(self, index: LogIndex) -> None:
        """Our log is the leader's up to `index` now."""
        self._matched = max(self._matched, index)

    def committable(self, told: LogIndex) -> LogIndex:
        """What is committed for certain when the leader says that its log is up to `told`."""
        self._leader_commit = max(self._leader_commit, told)
        return min(self._leader_commit, self._matched)


class AskedReads:
    """Reads that a server has asked its leader for, until they are answered."""

    def __init__(self, *, now: float) -> None:
        self._open: dict[ReadId, ReadRequest] = {}
        self._sent_at = now
        """When the last of them was."""

    def add(self, ask: ReadRequest, *, now: float) -> None:
        """One is sent now."""
        self._open[ask.id], self._sent_at = ask, now

    def take(self, id_: ReadId) -> bool:
        """One is answered; False when it is not waited for."""
        return self._open.pop(id_, None) is not None

    def take_all(self) -> list[ReadId]:
        """Nobody will answer any more; those that were open."""
        asked, self._open = self._open, {}
        return list(asked)

    def due_again(self, *, now: float, every_s: float) -> list[ReadRequest]:
        """Those to be sent once more: the request, or its answer, may be lost."""
        if not self._open or now < self._sent_at + every_s:
            return []
        self._sent_at = now
        return list(self._open.values())
