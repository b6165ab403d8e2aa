"""What a leader knows of one other server: how far its log goes, and how to send it more.

| state | sends | left when |
| --- | --- | --- |
| PROBE | one append, then waits for an answer | one is accepted, or a snapshot is needed |
| REPLICATE | one behind the other, `inflight_max` of them | one is refused |
| SNAPSHOT | nothing | the snapshot has arrived, or failed to |
"""

from enum import Enum
from math import inf

from svcmesh.consensus.raft.types import LogIndex


class Flow(Enum):
    """How entries are sent."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One server as its leader sees it. Invariant: `match < next`."""

    def __init__(self, *, next_index: LogIndex, now: float) -> None:
        self.match = LogIndex(0)
        """Its log is ours up to here, on its disk."""
        self.next = next_index
        """The first entry to send."""
        self.flow = Flow.PROBE
        self.heard_at = now
        """When it last answered anything in this term; the leadership's start at first."""
        self.acked_sent_at = -inf
        """When the latest heartbeat that it has answered was sent."""
        self.acked_round = 0
        self._is_waiting = False
        self._inflight = 0

    def may_send(self, inflight_max: int) -> bool:
        """Whether an append may go out now."""
        if self.flow is Flow.PROBE:
            return not self._is_waiting
        return self.flow is Flow.REPLICATE and self._inflight < inflight_max

    def note_sent(self, last_index: LogIndex, *, has_entries: bool) -> None:
        """An append up to `last_index` has gone out."""
        if self.flow is Flow.PROBE:
            self._is_waiting = True
        elif has_entries:
            self._inflight += 1
            self.next = LogIndex(last_index + 1)

    def note_accepted(self, index: LogIndex) -> bool:
        """It has our log up to `index`; True when that is more than was known."""
        self._inflight = max(0, self._inflight - 1)
        is_news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, LogIndex(self.match + 1))
        if self.flow is Flow.PROBE or (self.flow is Flow.SNAPSHOT and is_news):
            self._enter(Flow.REPLICATE)
        return is_news

    def note_refused(self, prev_index: LogIndex, next_index: LogIndex) -> bool:
        """It has not our entry at `prev_index`; False when the answer is out of date."""
        if prev_index <= self.match or self.flow is Flow.SNAPSHOT:
            return False
        if self.flow is Flow.PROBE and prev_index != self.next - 1:
            return False
        self.next = max(LogIndex(self.match + 1), min(next_index, LogIndex(prev_index)))
        self._enter(Flow.PROBE)
        return True

    def note_heartbeat(self) -> None:
        """It answers: what it has not answered may be lost, so one more append may go."""
        self._is_waiting = False
        self._inflight = max(0, self._inflight - 1)

    def note_snapshot_sending(self) -> None:
        """A snapshot is on its way."""
        self._enter(Flow.SNAPSHOT)

    def note_snapshot_sent(self, index: LogIndex, *, is_ok: bool) -> None:
        """The snapshot has arrived, or not; go on behind it, or try again."""
        if self.flow is not Flow.SNAPSHOT:
            return
        if is_ok:
            self.next = max(self.next, LogIndex(index + 1))
        self._enter(Flow.PROBE)

    def _enter(self, flow: Flow) -> None:
        self.flow = flow
        self._is_waiting, self._inflight = False, 0
        if flow is Flow.REPLICATE:
            self.next = LogIndex(self.match + 1)
