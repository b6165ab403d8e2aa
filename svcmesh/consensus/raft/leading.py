"""One term of leadership: replication, commit, reads, the lease, and handing over.

A new object for each term; nothing is reset. It decides and asks the machine to send.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from svcmesh.consensus.raft.config import RaftConfig
from svcmesh.consensus.raft.effects import SendSnapshot
from svcmesh.consensus.raft.log import RaftLog
from svcmesh.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    TimeoutNow,
)
from svcmesh.consensus.raft.progress import Flow, Progress
from svcmesh.consensus.raft.types import LogIndex, ReadId, ServerId, Term

ConfirmedRead = tuple[ServerId, ReadId, LogIndex]
"""Who asked, under which id, and what has to be applied before it may be read."""

Number = TypeVar("Number", int, float)

ROUNDS_MAX = 256
"""Heartbeat rounds whose instant is remembered; older answers renew no lease."""


@dataclass(slots=True)
class _Read:
    asker: ServerId
    id: ReadId
    index: LogIndex
    round: int


class Leadership:
    """The leader's side of one term.

    `send` and `ask_snapshot` carry out what is decided here. `now` is monotonic seconds.
    Invariant: there is a `Progress` for exactly the other servers of the membership in force.
    """

    def __init__(
        self,
        config: RaftConfig,
        own_id: ServerId,
        term: Term,
        log: RaftLog,
        *,
        send: Callable[[ServerId, Message], None],
        ask_snapshot: Callable[[SendSnapshot], None],
        now: float,
    ) -> None:
        self.transferring_to: ServerId | None = None
        self.heartbeat_at = now
        self._config, self._id, self._term, self._log = config, own_id, term, log
        self._send, self._ask_snapshot = send, ask_snapshot
        self.first_own_index = LogIndex(log.last_index + 1)
        """All that was acknowledged before this term is in the log below it."""
        self._progress: dict[ServerId, Progress] = {}
        self._round = 0
        self._round_sent_at: dict[int, float] = {}
        self._reads: deque[_Read] = deque()
        self._began_at = now
        self._transfer_ends_at = 0.0
        self._has_asked_to_take_over = self._has_no_lease = False
        self.follow_members(now=now)

    # -- what the machine asks ----------------------------------------------------------------

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due."""
        return self.heartbeat_at

    @property
    def has_committed(self) -> bool:
        """Whether an entry of this term is committed: before, we do not know what is."""
        return self._log.commit >= self.first_own_index

    def lease_ends_at(self, now: float) -> float:
        """Until when no other leader can have been elected, as far as a majority has answered.

        Rests on the clocks: see `RaftConfig.lease_s`. Once a server was asked to take over there is
        no lease for the rest of the term: that election does not wait, and may come late.
        """
        if self._has_no_lease:
            return self._began_at
        return self._majority(lambda p: p.acked_sent_at, own=now) + self._config.lease_s

    def has_lost_quorum(self, now: float) -> bool:
        """Whether a majority has been silent for an election timeout (thesis, 6.2)."""
        heard_at = self._majority(lambda p: p.heard_at, own=now)
        return now - heard_at > self._config.election_timeout_s

    def match_of(self, server: ServerId) -> LogIndex | None:
        """How far a server's log is known to be ours; None for one that is no member."""
        progress = self._progress.get(server)
        return None if progress is None else progress.match

    def heard_at(self, server: ServerId) -> float | None:
        """When a server last answered."""
        progress = self._progress.get(server)
        return None if progress is None else progress.heard_at

    def committable(self, saved_index: LogIndex) -> LogIndex:
        """The highest index on a majority's disks, if it is of this term; else `commit`.

        Entries of earlier terms are never committed by counting (thesis, 3.6.2).
        """
        if self._log.commit == self._log.last_index:
            return self._log.commit
        index = LogIndex(self._majority(lambda p: p.match, own=saved_index))
        if index > self._log.commit and self._log.term(index) == self._term:
            return index
        return self._log.commit

    # -- inputs -------------------------------------------------------------------------------

    def follow_members(self, *, now: float) -> None:
        """Take the log's membership for ours."""
        others = [s for s in self._log.members.servers if s != self._id]
        next_index = LogIndex(self._log.last_index + 1)
        self._progress = {
            s: self._progress.get(s) or Progress(next_index=next_index, now=now) for s in others
        }
        if self.transferring_to not in self._progress:
            self.transferring_to = None

    def handle_timer(self, *, now: float) -> None:
        """Give signs of life when they are due."""
        if self.transferring_to is not None and now >= self._transfer_ends_at:
            self.transferring_to = None
        if now >= self.heartbeat_at:
            self.send_heartbeats(now=now)

    def send_heartbeats(self, *, now: float) -> int:
        """Start a round of heartbeats; its number."""
        self.heartbeat_at = now + self._config.heartbeat_s
        self._round += 1
        self._round_sent_at[self._round] = now
        self._round_sent_at.pop(self._round - ROUNDS_MAX, None)
        for server, progress in self._progress.items():
            commit = min(progress.match, self._log.commit)
            self._send(server, Heartbeat(self._term, commit, self._round))
        return self._round

    def replicate(self) -> None:
        """Send everybody what it has not."""
        for server in self._progress:
            self._replicate_to(server)

    def handle_append_reply(self, sender: ServerId, reply: AppendReply, *, now: float) -> None:
        """Learn how far a follower's log goes, and send on."""
        progress = self._progress.get(sender)
        if progress is None:
            return
        progress.heard_at = now
        if reply.is_ok:
            if reply.index > self._log.last_index:
                return
            progress.note_accepted(reply.index)
        else:
            next_index = LogIndex(self._last_common(reply) + 1)
            progress.note_refused(reply.index, next_index)
        self._replicate_to(sender)
        self._ask_to_take_over()

    def handle_heartbeat_reply(
        self, sender: ServerId, reply: HeartbeatReply, *, now: float
    ) -> list[ConfirmedRead]:
        """Renew the lease; the reads that a majority has now confirmed."""
        progress = self._progress.get(sender)
        if progress is None or reply.round > self._round:
            return []
        progress.heard_at = now
        sent_at = self._round_sent_at.get(reply.round)
        if sent_at is not None:
            progress.acked_sent_at = max(progress.acked_sent_at, sent_at)
        progress.acked_round = max(progress.acked_round, reply.round)
        progress.note_heartbeat()
        if progress.match < self._log.last_index:
            self._replicate_to(sender, looks_for_gaps=True)
        return list(self._confirmed_reads())

    def handle_snapshot_sent(self, to: ServerId, index: LogIndex, *, is_ok: bool) -> None:
        """A snapshot has arrived there, or failed to."""
        progress = self._progress.get(to)
        if progress is not None:
            progress.note_snapshot_sent(index, is_ok=is_ok)
            if is_ok:
                self._replicate_to(to)

    def read(
        self, asker: ServerId, id_: ReadId, *, by_lease: bool, now: float
    ) -> list[ConfirmedRead]:
        """Begin a read, ours or a follower's; the reads that are confirmed now.

        It is when a majority answers heartbeats sent from now on, or at once by the lease.
        """
        if by_lease and self.has_committed and now < self.lease_ends_at(now):
            return [(asker, id_, self._log.commit)]
        self._reads.append(_Read(asker, id_, self._log.commit, self.send_heartbeats(now=now)))
        return list(self._confirmed_reads())

    def handle_commit(self) -> list[ConfirmedRead]:
        """The commit index has risen: reads that waited for this term's first may be confirmed."""
        return list(self._confirmed_reads())

    def open_reads(self) -> list[ReadId]:
        """Our own reads without an answer."""
        return [read.id for read in self._reads if read.asker == self._id]

    def transfer(self, to: ServerId, *, now: float) -> bool:
        """Hand leadership over; False when `to` cannot take it. Proposals pause meanwhile."""
        if to not in self._progress or to not in self._log.members.voters:
            return False
        self.transferring_to, self._has_asked_to_take_over = to, False
        self._transfer_ends_at = now + self._config.election_timeout_s
        self._replicate_to(to)
        self._ask_to_take_over()
        return True

    # -- inside -------------------------------------------------------------------------------

    def _majority(self, of: Callable[[Progress], Number], *, own: Number) -> Number:
        """The highest value that a majority of the voters has reached."""
        values = [
            own if server == self._id else of(self._progress[server])
            for server in self._log.members.voters
        ]
        values.sort()
        return values[-self._log.members.quorum]

    def _replicate_to(self, server: ServerId, *, looks_for_gaps: bool = False) -> None:
        """Send what may be sent; `looks_for_gaps`: also ask whether what was sent has arrived."""
        progress = self._progress[server]
        config, log = self._config, self._log
        while progress.may_send(config.inflight_max):
            has_all = progress.next > log.last_index
            if has_all and progress.flow is Flow.REPLICATE and not looks_for_gaps:
                return
            prev_index = LogIndex(progress.next - 1)
            prev_term = log.term(prev_index)
            if progress.next < log.first_index or prev_term is None:
                progress.note_snapshot_sending()
                self._ask_snapshot(SendSnapshot(server, self._term))
                return
            entries = log.slice(
                progress.next,
                bytes_max=config.append_bytes_max,
                entries_max=config.append_entries_max,
            )
            looks_for_gaps = False
            last_index = entries[-1].index if entries else prev_index
            progress.note_sent(last_index, has_entries=bool(entries))
            request = AppendRequest(self._term, prev_index, prev_term, entries, log.commit)
            self._send(server, request)

    def _last_common(self, reply: AppendReply) -> LogIndex:
        """The last place where our log and one that ends as the reply says may be the same."""
        index = min(reply.hint_index, self._log.last_index)
        while index >= self._log.first_index:
            term = self._log.term(index)
            if term is None or term <= reply.hint_term:
                break
            index = LogIndex(index - 1)
        return index

    def _confirmed_reads(self) -> Iterator[ConfirmedRead]:
        if not self._reads or not self.has_committed:
            return
        confirmed = self._majority(lambda p: p.acked_round, own=self._round)
        while self._reads and self._reads[0].round <= confirmed:
            read = self._reads.popleft()
            # One that began before this term's first commit could miss what that commits.
            yield read.asker, read.id, max(read.index, self.first_own_index)

    def _ask_to_take_over(self) -> None:
        to = self.transferring_to
        if to is None or self._has_asked_to_take_over:
            return
        if self._progress[to].match == self._log.last_index:
            self._has_asked_to_take_over = self._has_no_lease = True
            self._send(to, TimeoutNow(self._term))
