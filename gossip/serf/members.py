"""Serf's view of the members: statuses from SWIM's facts and from intents (10.4 to 10.7).

    status     SWIM: joined   SWIM: gone       join intent   leave intent
    unknown    alive (1)      -                noted         noted
    alive      alive          failed (2)       alive         leaving
    leaving    alive          left             alive         leaving
    failed     alive          -                failed        left
    left       alive          -                left          left

(1) or leaving, when a leave intent was noted. (2) or left, when the member itself said so to SWIM.
An intent counts only if it is newer than the member's status time; what happens to intents about
ourselves is decided in `machine.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

from gossip.config import SerfConfig
from gossip.errors import DecodeError
from gossip.serf import drops
from gossip.serf.events import (
    Effect,
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
)
from gossip.serf.intents import RecentIntents
from gossip.serf.lost import LostPeers
from gossip.swim.effects import MessageDropped
from gossip.swim.history import History, Reason, Step
from gossip.types import Address, LamportTime, MemberName, MemberState
from gossip.wire.messages import JoinIntent, LeaveIntent, PushPullNode
from gossip.wire.serf_values import decode_tags_untrusted

_DEPARTED = (MemberStatus.LEAVING, MemberStatus.LEFT)


@dataclass(slots=True)
class Record:
    """One member. `member` is what the user sees, replaced whenever it changes."""

    member: Member
    status_ltime: LamportTime
    gone_at: float = inf
    """When it failed or left; meaningful while it is in one of the two lists."""


class Members:
    """Every member not yet forgotten, and which of them failed or left.

    `lost` are the peers to look for: those that failed, also after they are listed no more.

    Invariants: exactly the failed and left ones are in the list of their status, which is ordered
    by when they went. The number of members is bounded by letting the longest gone go early.
    """

    def __init__(
        self,
        config: SerfConfig,
        *,
        members_max: int,
        history: History,
        emit: Callable[[Effect], None],
    ) -> None:
        self._config, self._members_max = config, members_max
        self._history, self._emit = history, emit
        self.lost = LostPeers(size_max=config.lost_peers_max)
        self.revision = 0
        """Raised with whatever a push/pull says of the members: who there is, of what status time,
        and who left."""
        self._records: dict[MemberName, Record] = {}
        self._failed: dict[MemberName, Record] = {}
        self._left: dict[MemberName, Record] = {}
        self._intents = RecentIntents(size_max=config.recent_intents_max)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    @property
    def failed_count(self) -> int:
        return len(self._failed)

    @property
    def present_count(self) -> int:
        """How many have neither failed nor left."""
        return len(self._records) - len(self._failed) - len(self._left)

    @property
    def left_count(self) -> int:
        return len(self._left)

    @property
    def left_names(self) -> tuple[MemberName, ...]:
        return tuple(self._left)

    def get(self, name: MemberName) -> Record | None:
        return self._records.get(name)

    def news_of(
        self, ltimes: Mapping[MemberName, LamportTime]
    ) -> list[tuple[MemberName, LamportTime]]:
        """Those of a peer's status times that are later than ours, or of unknown members.

        A large pool says all of them in each exchange, and nearly all are known.
        """
        recall = self._records.get
        return [
            (name, ltime)
            for name, ltime in ltimes.items()
            if (record := recall(name)) is None or ltime > record.status_ltime
        ]

    def handle_joined(self, node: PushPullNode, *, now: float) -> bool:
        """SWIM sees a member alive that was unknown or gone; True if it was missed."""
        record = self._records.get(node.name)
        status, ltime = MemberStatus.ALIVE, LamportTime(0)
        if record is not None:
            self._unlist(node.name)
            ltime = record.status_ltime
        elif (left_ltime := self._intents.leave_ltime(node.name)) is not None:
            status, ltime = MemberStatus.LEAVING, left_ltime
        else:
            ltime = self._intents.join_ltime(node.name) or ltime
        member = self._member_of(node, status)
        was_missed = self.lost.find(member.name, member.address, now=now)
        self._records[node.name] = Record(member, ltime)
        self.revision += 1
        self._emit(MemberJoined(member))
        while len(self._records) > self._members_max and self._forget_longest_gone():
            pass
        return was_missed

    def adopt(self, members: Iterable[Member]) -> None:
        """Know members as they are, of no intent; those that are known stay."""
        self.revision += 1
        no_intent = LamportTime(0)
        for member in members:
            if member.name not in self._records:
                self._records[member.name] = Record(member, no_intent)

    def handle_updated(self, node: PushPullNode) -> None:
        """SWIM has new metadata of a present member."""
        record = self._records.get(node.name)
        if record is None:
            self._emit(MessageDropped(drops.UNKNOWN_MEMBER, node.name))
            return
        record.member = self._member_of(node, record.member.status)
        self._emit(MemberUpdated(record.member))

    def handle_gone(self, node: PushPullNode, *, now: float) -> None:
        """SWIM sees a member dead or left: whether it said so to us decides how it is listed."""
        record = self._records.get(node.name)
        if record is None:
            self._emit(MessageDropped(drops.UNKNOWN_MEMBER, node.name))
            return
        self.revision += 1
        record.gone_at = now
        # Differs from Serf, which lists whom it has not heard intend it as failed, on some members
        # and not on others (hashicorp/consul#3706): SWIM's word of a departure is its own word too.
        has_left = node.state == MemberState.LEFT or record.member.status == MemberStatus.LEAVING
        if has_left and record.member.status in (MemberStatus.LEAVING, MemberStatus.ALIVE):
            record.member = self._member_of(node, MemberStatus.LEFT)
            self._left[node.name] = record
            self._emit(MemberLeft(record.member))
        elif record.member.status == MemberStatus.ALIVE:
            record.member = self._member_of(node, MemberStatus.FAILED)
            self._failed[node.name] = record
            self.lost.lose(node.name, record.member.address, now=now)
            self._emit(MemberFailed(record.member))

    def handle_join_intent(self, intent: JoinIntent, *, now: float) -> bool:
        """Apply a join intent; True if it is news to hand on (10.5)."""
        record = self._records.get(intent.node)
        if record is None:
            return self._intents.note(intent, now=now)
        if intent.ltime <= record.status_ltime:
            return False
        record.status_ltime = intent.ltime
        self.revision += 1
        if record.member.status == MemberStatus.LEAVING:
            record.member = replace(record.member, status=MemberStatus.ALIVE)
        return True

    def handle_leave_intent(self, intent: LeaveIntent, *, now: float) -> bool:
        """Apply a leave intent; True if it is news to hand on (10.6).

        With `prune`, a member that has gone is forgotten at once; for one that is still alive the
        caller waits and calls `prune`.
        """
        record = self._records.get(intent.node)
        if record is None:
            self.lost.forget(intent.node)
            return self._intents.note(intent, now=now)
        if intent.ltime <= record.status_ltime:
            return False
        record.status_ltime = intent.ltime
        self.revision += 1
        self.lost.forget(intent.node)
        match record.member.status:
            case MemberStatus.ALIVE:
                self._note(Step.LEAVING, record.member, now=now)
                record.member = replace(record.member, status=MemberStatus.LEAVING)
                return True
            case MemberStatus.FAILED:
                self._note(Step.LEFT, record.member, now=now)
                self._unlist(intent.node)
                record.member = replace(record.member, status=MemberStatus.LEFT)
                # Differs from Serf: a tombstone's time counts from when it became one.
                record.gone_at = now
                self._left[intent.node] = record
                self._emit(MemberLeft(record.member))
            case MemberStatus.NONE:
                return False
            case MemberStatus.LEAVING | MemberStatus.LEFT:
                pass
        if intent.prune:
            self.prune(intent.node)
        return True

    def prune(self, name: MemberName) -> None:
        """Forget a member that leaves or left; one that has come back since stays."""
        record = self._records.get(name)
        if record is not None and record.member.status in _DEPARTED:
            self._erase(name)

    def reap(self, *, now: float) -> None:
        """Forget who has been gone too long, and intents whose member never came (10.7)."""
        for gone, timeout_s in (
            (self._failed, self._config.reconnect_timeout_s),
            (self._left, self._config.tombstone_timeout_s),
        ):
            while gone and now - next(iter(gone.values())).gone_at > timeout_s:
                self._erase(next(iter(gone)))
        self._intents.forget_before(now - self._config.recent_intent_timeout_s)

    def _note(self, step: Step, member: Member, *, now: float) -> None:
        self._history.note(
            member.name,
            step,
            by=member.name,
            reason=Reason.LEAVE,
            incarnation=member.incarnation,
            now=now,
        )

    def _member_of(self, node: PushPullNode, status: MemberStatus) -> Member:
        try:
            return _member_untrusted(node, status)
        except DecodeError as error:
            self._emit(MessageDropped(error.reason, node.name))
        address = Address.from_packed(node.addr, node.port)
        return Member(node.name, address, {}, status, node.incarnation, node.vsn)

    def _forget_longest_gone(self) -> bool:
        oldest = [next(iter(gone.values())) for gone in (self._failed, self._left) if gone]
        if not oldest:
            return False
        self._erase(min(oldest, key=lambda record: record.gone_at).member.name)
        return True

    def _erase(self, name: MemberName) -> None:
        self._unlist(name)
        self.revision += 1
        self._emit(MemberReaped(self._records.pop(name).member))

    def _unlist(self, name: MemberName) -> None:
        self._failed.pop(name, None)
        self._left.pop(name, None)


@lru_cache(maxsize=8192)
def _member_untrusted(node: PushPullNode, status: MemberStatus) -> Member:
    """What a user sees of a node.

    Remembered, so that views of one member that are equal are one object: a simulated pool of
    thousands has millions of them.
    """
    address = Address.from_packed(node.addr, node.port)
    tags = decode_tags_untrusted(node.meta)
    return Member(node.name, address, tags, status, node.incarnation, node.vsn)
