"""What servers say to each other (Raft thesis, figure 3.1 and chapters 3, 4, 6, 9).

Who sent a message is known from the connection it came by, and not part of it.
"""

from dataclasses import dataclass

from svcmesh.consensus.raft.types import Entry, LogIndex, ReadId, Term

NO_INDEX = LogIndex(0)
NO_TERM = Term(0)


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """Asks for a vote, or with `is_pre` whether it would be given (thesis, 9.6)."""

    term: Term
    """The term to be elected for; with `is_pre` the sender has not entered it."""
    last_index: LogIndex
    last_term: Term
    is_pre: bool
    is_transfer: bool = False
    """The leader has asked for this election, so hearing it is no reason to refuse."""


@dataclass(frozen=True, slots=True)
class VoteReply:
    term: Term
    """Of the request when granted, else the sender's own."""
    is_granted: bool
    is_pre: bool


@dataclass(frozen=True, slots=True)
class AppendRequest:
    term: Term
    prev_index: LogIndex
    prev_term: Term
    entries: tuple[Entry, ...]
    commit: LogIndex


@dataclass(frozen=True, slots=True)
class AppendReply:
    term: Term
    is_ok: bool
    index: LogIndex
    """When ok: the sender's log is the leader's up to here, on disk. Else the refused
    `prev_index`; 0 when the request was of an old term."""
    hint_index: LogIndex = NO_INDEX
    """When refused: the place to try next."""
    hint_term: Term = NO_TERM
    """The sender's term at `hint_index`."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    term: Term
    commit: LogIndex
    """At most what the receiver is known to have."""
    round: int
    """Rises with every round of heartbeats of one leader; the reply has it too."""


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    term: Term
    round: int


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """The leader asks the receiver to take over at once (thesis, 3.10)."""

    term: Term


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A follower asks how far it must have applied the log to read what is fresh (thesis, 6.4)."""

    term: Term
    id: ReadId
    """The sender's, never used before, not by an earlier run either: answers may be late."""
    by_lease: bool
    """The leader's lease will do; else a majority has to confirm that it leads still."""


@dataclass(frozen=True, slots=True)
class ReadReply:
    term: Term
    id: ReadId
    index: LogIndex
    """Committed when the request was taken; 0: refused, the sender does not lead."""


Message = (
    VoteRequest
    | VoteReply
    | AppendRequest
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | TimeoutNow
    | ReadRequest
    | ReadReply
)
