"""A Raft server as a machine without I/O (Ongaro, "Consensus: Bridging Theory and Practice", 2014).

Elections with pre-vote and check-quorum, replication, reads by quorum and by lease, leadership
transfer, membership changes of one voter at a time. The leader's side of a term is `leading.py`'s,
the follower's is judged in `following.py`, votes are counted in `electing.py`; here are roles, what
each message leads to, and what waits for the disk.

| role | becomes | when |
| --- | --- | --- |
| follower | pre-candidate | it votes, and has not heard a leader for an election timeout |
| pre-candidate | candidate | a majority would vote for it |
| follower | candidate | the leader asks it to take over |
| candidate | leader | a majority has voted for it |
| any | follower | it hears of a higher term, or of the leader of its own |
| leader | follower | a majority is silent, or it was removed and that is committed |
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import assert_never

from svcmesh.consensus.raft.config import RaftConfig
from svcmesh.consensus.raft.durability import Durability
from svcmesh.consensus.raft.effects import (
    Committed,
    Effect,
    MembersChanged,
    ReadFailed,
    ReadReady,
    Role,
    RoleChanged,
    Save,
    Send,
    SnapshotInstalled,
)
from svcmesh.consensus.raft.electing import Candidacy
from svcmesh.consensus.raft.following import Accepted, AskedReads, Following, Refused
from svcmesh.consensus.raft.leading import ConfirmedRead, Leadership
from svcmesh.consensus.raft.log import RaftLog
from svcmesh.consensus.raft.messages import (
    AppendReply,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from svcmesh.consensus.raft.types import (
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    Membership,
    ReadId,
    SaveToken,
    ServerId,
    SnapshotMeta,
    Term,
)


@dataclass(frozen=True, slots=True)
class NotLeader:
    """Only a leader can do that."""

    leader: ServerId | None
    """Who may be; None when nobody is known."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The leader cannot do that now; why."""

    why: str


READ_ID_BITS = 62
"""Of the first id: so many that no two runs' reads have the same."""


class Raft:
    """One server.

    Every input takes `now` (monotonic seconds, never falling) and returns effects in order. What
    must survive a crash is asked for by `Save`; what depends on it comes after `handle_saved`.
    Nothing that a server sends makes an input raise.
    """

    def __init__(
        self,
        config: RaftConfig,
        own_id: ServerId,
        *,
        hard_state: HardState,
        snapshot: SnapshotMeta,
        entries: Iterable[Entry],
        now: float,
        rng: Random,
    ) -> None:
        """Take up what was on disk.

        Args:
            config: Timing and bounds.
            own_id: Our id, in the membership or not.
            hard_state: Term and vote of earlier runs.
            snapshot: Of the latest snapshot, or index 0 and the founding members.
            entries: The log, all of it on disk.
            now: Monotonic seconds.
            rng: Chooses election timeouts, and where the ids of this run's reads begin.
        """
        self.role = Role.FOLLOWER
        self.leader: ServerId | None = None
        self._config, self._id, self._rng = config, own_id, rng
        self._term, self._voted_for = hard_state.term, hard_state.voted_for
        self.log = RaftLog(snapshot, entries)
        self._durability = Durability(self.log.last_index)
        self._effects: list[Effect] = []
        self._candidacy: Candidacy | None = None
        """As a candidate, also a pre-candidate."""
        self._leadership: Leadership | None = None
        """As the leader."""
        self._following = Following(self._term, self.log)
        # An answer to a read of an earlier run must match none of this one's.
        self._read_id = ReadId(rng.getrandbits(READ_ID_BITS))
        self._asked = AskedReads(now=now)
        """As a follower."""
        # Before a restart we may have heard a leader, whose lease counts on our silence.
        self._heard_at = now if self._term else now - config.election_timeout_s
        self._election_at = self._next_election_at(now)

    # -- what is known --------------------------------------------------------------------------

    @property
    def term(self) -> Term:
        """The latest term that we have heard of."""
        return self._term

    @property
    def config(self) -> RaftConfig:
        """Its timing and bounds."""
        return self._config

    @property
    def hard_state(self) -> HardState:
        """What must be on disk besides the log."""
        return HardState(self._term, self._voted_for)

    @property
    def members(self) -> Membership:
        """In force, committed or not."""
        return self.log.members

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due."""
        leadership = self._leadership
        return self._election_at if leadership is None else leadership.next_deadline_at

    @property
    def saved_index(self) -> LogIndex:
        """The end of the log that is on our disk."""
        return self._durability.saved_index

    @property
    def leader_heard_at(self) -> float:
        """When we last heard a leader."""
        return self._heard_at

    def has_lease(self, applied: LogIndex, *, now: float) -> bool:
        """Whether we are the only leader for certain, and what is applied may be read.

        It may not before all that earlier leaders have acknowledged is applied: a server that
        starts, or lags, is elected with entries that its state machine has yet to see.
        """
        leadership = self._leadership
        return (
            leadership is not None
            and applied >= leadership.first_own_index
            and now < leadership.lease_ends_at(now)
        )

    def match_of(self, server: ServerId) -> LogIndex | None:
        """As the leader: how far a server's log is ours."""
        if server == self._id:
            return self.saved_index
        return None if self._leadership is None else self._leadership.match_of(server)

    def heard_at(self, server: ServerId) -> float | None:
        """As the leader: when a server last answered."""
        return None if self._leadership is None else self._leadership.heard_at(server)

    # -- inputs ---------------------------------------------------------------------------------

    def handle_timer(self, *, now: float) -> list[Effect]:
        """Do what is due. An early call does nothing."""
        leadership = self._leadership
        if leadership is not None:
            if leadership.has_lost_quorum(now):
                self._follow(self._term, None, now=now)
            else:
                leadership.handle_timer(now=now)
        elif now >= self._election_at:
            self._election_at = self._next_election_at(now)
            if self._id in self.log.members.voters:
                self._stand(is_pre=True, now=now)
        return self._take_effects()

    def handle_message(self, sender: ServerId, message: Message, *, now: float) -> list[Effect]:
        """Take a message from another server."""
        if self._admits(message, now=now):
            self._dispatch(sender, message, now=now)
        return self._take_effects()

    def handle_saved(self, token: SaveToken, *, now: float) -> list[Effect]:
        """Everything asked for up to this `Save` is on disk."""
        self._durability.complete(token, now=now)
        self._commit_as_leader(now=now)
        return self._take_effects()

    def propose(
        self, commands: Sequence[bytes], *, now: float
    ) -> tuple[LogIndex | NotLeader | Busy, list[Effect]]:
        """Append commands to the log; the index of the first.

        Each is committed when `Committed` reaches its index with our term still in that place.
        """
        refusal = self._refusal()
        if refusal is not None:
            return refusal, []
        first = LogIndex(self.log.last_index + 1)
        self._append_own(
            [
                Entry(LogIndex(first + n), self._term, EntryKind.COMMAND, command)
                for n, command in enumerate(commands)
            ],
            now=now,
        )
        return first, self._take_effects()

    def change_members(
        self, members: Membership, *, now: float
    ) -> tuple[LogIndex | NotLeader | Busy, list[Effect]]:
        """Put a membership in force that differs by one voter at most (thesis, 4.1)."""
        refusal = self._refusal()
        if refusal is not None:
            return refusal, []
        assert self._leadership is not None
        if not members.voters or members.voters_changed(self.log.members) > 1:
            return Busy("one voter at a time, and never none"), []
        if self.log.members_index > self.log.commit or not self._leadership.has_committed:
            return Busy("an earlier change of members is not committed yet"), []
        index = LogIndex(self.log.last_index + 1)
        entry = Entry(index, self._term, EntryKind.MEMBERS, members.encode())
        self._append_own([entry], now=now)
        return index, self._take_effects()

    def read(
        self, *, now: float, by_lease: bool = False
    ) -> tuple[ReadId | NotLeader, list[Effect]]:
        """Begin a read that sees everything acknowledged before it: `ReadReady` follows.

        A follower asks its leader. With `by_lease` the leader's lease is enough.
        """
        self._read_id = ReadId(self._read_id + 1)
        if self._leadership is not None:
            self._report_reads(
                self._leadership.read(self._id, self._read_id, by_lease=by_lease, now=now)
            )
        elif self.leader is not None:
            ask = ReadRequest(self._term, self._read_id, by_lease)
            self._asked.add(ask, now=now)
            self._send(self.leader, ask)
        else:
            return NotLeader(None), []
        return self._read_id, self._take_effects()

    def transfer(self, to: ServerId, *, now: float) -> tuple[bool | NotLeader, list[Effect]]:
        """Hand leadership over; False when `to` is no other voter."""
        if self._leadership is None:
            return NotLeader(self.leader), []
        return self._leadership.transfer(to, now=now), self._take_effects()

    def handle_snapshot_sent(
        self, to: ServerId, index: LogIndex, *, is_ok: bool, now: float
    ) -> list[Effect]:
        """The snapshot up to `index` has arrived at `to` and was taken, or not."""
        if self._leadership is not None:
            self._leadership.handle_snapshot_sent(to, index, is_ok=is_ok)
        return self._take_effects()

    def handle_snapshot(
        self, sender: ServerId, term: Term, snapshot: SnapshotMeta, *, now: float
    ) -> list[Effect]:
        """A whole snapshot has come from the leader of `term` and is on our disk.

        `SnapshotInstalled` tells that it is to be used.
        """
        if term < self._term or not self._hear_leader(sender, term, now=now):
            return []
        log = self.log
        if snapshot.index > log.commit:
            if log.term(snapshot.index) == snapshot.term:
                # We have all of it as entries.
                self._commit(snapshot.index)
            else:
                log.reset(snapshot)
                self._durability.reset(snapshot.index)
                self._effects.append(SnapshotInstalled(snapshot))
                self._effects.append(MembersChanged(log.members))
                self._save(())
        self._send_when_saved(sender, AppendReply(self._term, True, log.commit), now=now)
        return self._take_effects()

    def compact(self, index: LogIndex, *, trailing: int) -> SnapshotMeta:
        """Note that a snapshot up to `index`, which is applied, is on disk; forget what it covers.

        The last `trailing` entries stay for followers that lag a little.
        """
        log = self.log
        term = log.term(index)
        assert term is not None
        snapshot = SnapshotMeta(index, term, log.members_at(index))
        log.compact(snapshot, trailing=trailing)
        return snapshot

    def snapshot_meta(self, index: LogIndex) -> SnapshotMeta:
        """What a snapshot up to `index`, which is applied and held, stands for."""
        term = self.log.term(index)
        assert term is not None
        return SnapshotMeta(index, term, self.log.members_at(index))

    # -- messages -------------------------------------------------------------------------------

    def _admits(self, message: Message, *, now: float) -> bool:
        """Whether a message is to be handled; a higher term is entered first."""
        is_vote = isinstance(message, VoteRequest)
        if isinstance(message, VoteRequest) and not message.is_transfer:
            # A server that hears its leader takes no part in replacing it (thesis, 6.2, 9.6): the
            # lease rests on that, and nobody returning from a partition deposes anybody.
            hears = self._leadership is not None or (
                now < self._heard_at + self._config.election_timeout_s
            )
            if hears and message.term > self._term:
                return False
        if message.term > self._term:
            is_question = is_vote and isinstance(message, VoteRequest) and message.is_pre
            is_promise = isinstance(message, VoteReply) and message.is_pre and message.is_granted
            if not is_question and not is_promise:
                self._follow(message.term, None, now=now)
        return True

    def _dispatch(self, sender: ServerId, message: Message, *, now: float) -> None:
        match message:
            case VoteRequest():
                self._handle_vote_request(sender, message, now=now)
            case VoteReply():
                self._handle_vote_reply(sender, message, now=now)
            case AppendRequest():
                self._handle_append(sender, message, now=now)
            case AppendReply():
                if self._leadership is not None and message.term == self._term:
                    self._leadership.handle_append_reply(sender, message, now=now)
                    self._commit_as_leader(now=now)
            case Heartbeat():
                self._handle_heartbeat(sender, message, now=now)
            case HeartbeatReply():
                if self._leadership is not None and message.term == self._term:
                    self._report_reads(
                        self._leadership.handle_heartbeat_reply(sender, message, now=now)
                    )
            case TimeoutNow():
                if message.term == self._term and self._id in self.log.members.voters:
                    self._stand(is_pre=False, is_transfer=True, now=now)
            case ReadRequest():
                self._handle_read_request(sender, message, now=now)
            case ReadReply():
                self._handle_read_reply(sender, message)
            case _:
                assert_never(message)

    def _handle_vote_request(self, sender: ServerId, ask: VoteRequest, *, now: float) -> None:
        if ask.is_pre:
            may_have_it = ask.term > self._term
        else:
            may_have_it = ask.term == self._term and self._voted_for in (None, sender)
        is_granted = may_have_it and self.log.accepts(ask.last_index, ask.last_term)
        if not is_granted:
            self._send(sender, VoteReply(self._term, False, ask.is_pre))
            return
        if ask.is_pre:
            self._send(sender, VoteReply(ask.term, True, True))
            return
        if self._voted_for is None:
            self._voted_for = sender
            self._save(())
        self._election_at = self._next_election_at(now)
        self._send_when_saved(sender, VoteReply(self._term, True, False), now=now)

    def _handle_vote_reply(self, sender: ServerId, reply: VoteReply, *, now: float) -> None:
        candidacy = self._candidacy
        if candidacy is not None and candidacy.takes(reply):
            candidacy.add(sender)
            self._count_votes(now=now)

    def _handle_append(self, sender: ServerId, append: AppendRequest, *, now: float) -> None:
        if append.term < self._term:
            self._send(sender, AppendReply(self._term, False, LogIndex(0)))
            return
        if not self._hear_leader(sender, append.term, now=now):
            return
        match self._following.judge(append):
            case Refused(reply):
                self._send(sender, reply)
            case Accepted(news, matched, reply):
                if news:
                    self._append(news, now=now)
                if matched is not None:
                    self._following.note_matched(matched)
                    self._commit(self._following.committable(append.commit))
                self._send_when_saved(sender, reply, now=now)

    def _handle_heartbeat(self, sender: ServerId, beat: Heartbeat, *, now: float) -> None:
        if beat.term < self._term:
            # The reply's term makes it step down.
            self._send(sender, HeartbeatReply(self._term, beat.round))
            return
        if not self._hear_leader(sender, beat.term, now=now):
            return
        self._commit(min(beat.commit, self.log.last_index))
        self._send(sender, HeartbeatReply(self._term, beat.round))
        for ask in self._asked.due_again(now=now, every_s=self._config.heartbeat_s):
            self._send(sender, ask)

    def _handle_read_request(self, sender: ServerId, ask: ReadRequest, *, now: float) -> None:
        if ask.term != self._term or self._leadership is None:
            self._send(sender, ReadReply(self._term, ask.id, LogIndex(0)))
            return
        self._report_reads(self._leadership.read(sender, ask.id, by_lease=ask.by_lease, now=now))

    def _handle_read_reply(self, sender: ServerId, reply: ReadReply) -> None:
        if reply.term != self._term or not self._asked.take(reply.id):
            return
        if reply.index:
            self._commit(self._following.committable(reply.index))
            self._effects.append(ReadReady(reply.id, reply.index))
        else:
            self._effects.append(ReadFailed(reply.id))

    # -- roles ----------------------------------------------------------------------------------

    def _hear_leader(self, sender: ServerId, term: Term, *, now: float) -> bool:
        """`sender` leads `term`, which is ours or later; False when that cannot be."""
        if term == self._term and self._leadership is not None:
            return False
        self._heard_at = now
        if term > self._term or self.role is not Role.FOLLOWER or self.leader != sender:
            self._follow(term, sender, now=now)
        else:
            self._election_at = self._next_election_at(now)
        return True

    def _follow(self, term: Term, leader: ServerId | None, *, now: float) -> None:
        if term > self._term:
            self._enter_term(term, None)
        if self._leadership is not None:
            for read in self._leadership.open_reads():
                self._effects.append(ReadFailed(read))
            self._leadership = None
        self._candidacy = None
        self._become(Role.FOLLOWER, leader)
        self._election_at = self._next_election_at(now)

    def _stand(self, *, is_pre: bool, now: float, is_transfer: bool = False) -> None:
        if is_pre:
            self._become(Role.PRE_CANDIDATE, None)
            term = Term(self._term + 1)
        else:
            self._enter_term(Term(self._term + 1), self._id)
            self._become(Role.CANDIDATE, None)
            term = self._term
        self._candidacy = Candidacy(term, is_pre=is_pre, is_transfer=is_transfer)
        self._election_at = self._next_election_at(now)
        ask = self._candidacy.request(self.log)
        for server in self.log.members.voters:
            if server != self._id:
                self._send_when_saved(server, ask, now=now)
        self._durability.when_saved(
            lambda later: self._vote_for_ourselves(term, is_pre=is_pre, now=later), now=now
        )

    def _vote_for_ourselves(self, term: Term, *, is_pre: bool, now: float) -> None:
        candidacy = self._candidacy
        if candidacy is not None and (candidacy.term, candidacy.is_pre) == (term, is_pre):
            candidacy.add(self._id)
            self._count_votes(now=now)

    def _count_votes(self, *, now: float) -> None:
        candidacy = self._candidacy
        if candidacy is None or not candidacy.is_won(self.log.members):
            return
        if candidacy.is_pre:
            self._stand(is_pre=False, now=now)
        else:
            self._lead(now=now)

    def _lead(self, *, now: float) -> None:
        self._candidacy = None
        self._leadership = Leadership(
            self._config,
            self._id,
            self._term,
            self.log,
            send=self._send,
            # Not the list's own method: the list is another one after every input.
            ask_snapshot=lambda effect: self._effects.append(effect),
            now=now,
        )
        self._become(Role.LEADER, self._id)
        noop = Entry(LogIndex(self.log.last_index + 1), self._term, EntryKind.NOOP, b"")
        self._leadership.send_heartbeats(now=now)
        self._append_own([noop], now=now)

    def _enter_term(self, term: Term, voted_for: ServerId | None) -> None:
        self._term, self._voted_for = term, voted_for
        self._following = Following(term, self.log)
        self._save(())

    def _become(self, role: Role, leader: ServerId | None) -> None:
        before = (self.role, self.leader)
        self.role, self.leader = role, leader
        if before != (role, leader):
            self._effects += [ReadFailed(id_) for id_ in self._asked.take_all()]
            self._effects.append(RoleChanged(role, self._term, leader))

    # -- the log --------------------------------------------------------------------------------

    def _append_own(self, entries: Sequence[Entry], *, now: float) -> None:
        self._append(entries, now=now)
        assert self._leadership is not None
        self._leadership.replicate()
        self._commit_as_leader(now=now)

    def _append(self, entries: Sequence[Entry], *, now: float) -> None:
        before = self.log.members
        self.log.append(entries)
        self._save(tuple(entries))
        if self.log.members != before:
            if self._leadership is not None:
                self._leadership.follow_members(now=now)
            self._effects.append(MembersChanged(self.log.members))

    def _commit_as_leader(self, *, now: float) -> None:
        leadership = self._leadership
        if leadership is None:
            return
        self._commit(leadership.committable(self.saved_index))
        self._report_reads(leadership.handle_commit())
        is_removed = self._id not in self.log.members.voters
        if is_removed and self.log.members_index <= self.log.commit:
            self._follow(self._term, None, now=now)

    def _commit(self, through: LogIndex) -> None:
        if through > self.log.commit:
            self.log.commit = through
            self._effects.append(Committed(through))

    def _refusal(self) -> NotLeader | Busy | None:
        if self._leadership is None:
            return NotLeader(self.leader)
        if self._leadership.transferring_to is not None:
            return Busy("leadership is being handed over")
        return None

    # -- effects --------------------------------------------------------------------------------

    def _save(self, entries: tuple[Entry, ...]) -> None:
        token = self._durability.begin(
            first_index=entries[0].index if entries else None,
            last_index=entries[-1].index if entries else None,
        )
        self._effects.append(Save(token, self.hard_state, entries))

    def _send(self, to: ServerId, message: Message) -> None:
        self._effects.append(Send(to, message))

    def _send_when_saved(self, to: ServerId, message: Message, *, now: float) -> None:
        """Send when all that was saved so far is on disk, if this term is still ours by then."""
        term = self._term

        def send(_: float) -> None:
            if self._term == term:
                self._send(to, message)

        self._durability.when_saved(send, now=now)

    def _report_reads(self, reads: Iterable[ConfirmedRead]) -> None:
        for asker, id_, index in reads:
            if asker == self._id:
                self._effects.append(ReadReady(id_, index))
            else:
                self._send(asker, ReadReply(self._term, id_, index))

    def _next_election_at(self, now: float) -> float:
        return now + self._config.election_timeout_s * (1 + self._rng.random())

    def _take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
