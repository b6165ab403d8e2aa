"""Push/pull: exchanging whole states by stream, to join and to repair (6.1, 8.7, 8.8).

The upper layer's part goes through unread. What the entries change is decided in `claims.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from random import Random
from typing import Final

from gossip.config import SwimConfig
from gossip.swim import drops
from gossip.swim.claims import Claims
from gossip.swim.deadlines import Deadlines
from gossip.swim.effects import MessageDropped, OpenPushPull, PushPullFinished
from gossip.swim.facts import Admit, Emit, UserStateReceived
from gossip.swim.table import Entry, MemberTable
from gossip.swim.versions import merge_obstacle
from gossip.types import Address, MemberState
from gossip.wire.messages import ErrorReply, PushPull, PushPullNode


def push_pull_scale(node_count: int) -> int:
    """How many intervals lie between two exchanges: more members share the work (8.8)."""
    return 1 if node_count <= 32 else ceil(log2(node_count) - 5) + 1


Expects = Callable[[Sequence[PushPullNode]], bool]
"""Whether those who answered are whom we meant to reach."""

ANOTHER_POOL: Final = "another pool listens there"
"""How an exchange ends whose answer was not `expects`."""


@dataclass(frozen=True, slots=True)
class _OpenExchange:
    to: Address
    own_join: bool
    """It was asked for by `join`, not by the periodic exchange or a reconnect."""
    is_look: bool
    """It only asks who is there: our state follows if they are admitted and expected."""
    expects: Expects | None = None


class Exchanges:
    """Starts, answers and merges push/pulls. The shell reports each one that it was asked for."""

    def __init__(
        self,
        config: SwimConfig,
        *,
        table: MemberTable,
        claims: Claims,
        user_state: Callable[[], bytes],
        deadlines: Deadlines,
        stream_ids: Iterator[int],
        rng: Random,
        emit: Emit,
        admit: Admit | None,
    ) -> None:
        self._config, self._table, self._claims = config, table, claims
        self._user_state, self._deadlines = user_state, deadlines
        self._stream_ids, self._rng = stream_ids, rng
        self._emit, self._admit = emit, admit
        self._open: dict[int, _OpenExchange] = {}

    def start(self, *, now: float) -> None:
        """Exchange with a random member every interval, the first time at random within it."""
        if self._config.push_pull_interval_s > 0:
            delay_s = self._rng.random() * self._config.push_pull_interval_s
            self._deadlines.call_at(now + delay_s, self._tick)

    def open(
        self,
        to: Address,
        *,
        join: bool,
        own_join: bool,
        now: float,
        expects: Expects | None = None,
    ) -> int:
        """Ask the shell for an exchange; the id of its stream."""
        stream_id = next(self._stream_ids)
        # Differs from memberlist: with an admission hook, or somebody to be found, we look before
        # we tell. Else a pool that we refuse, or that got an old address, would list us as theirs.
        is_look = expects is not None or (own_join and self._admit is not None)
        state = PushPull(join, ()) if is_look else self._local_state(join=join)
        self._start(stream_id, _OpenExchange(to, own_join, is_look, expects), state, now=now)
        return stream_id

    def handle_request(
        self, request: PushPull, *, source: Address, now: float
    ) -> PushPull | ErrorReply:
        """Merge a peer's state; the reply is our state from before that."""
        if (why := self._refusal(request, source=source)) is not None:
            # Differs from Consul, which gives its state to whom it refuses: the other side would
            # list us, and its operator not learn why we do not list it.
            return ErrorReply(why)
        reply = self._local_state(join=request.join, objections_to=request.nodes)
        self._merge(request, own_join=False, source=source, gossip_at=None, now=now)
        return reply

    def handle_reply(self, stream_id: int, reply: PushPull, *, now: float) -> None:
        """Merge the answer to an exchange of ours."""
        exchange = self._open.pop(stream_id, None)
        if exchange is None:
            self._emit(MessageDropped(drops.UNKNOWN_STREAM, str(stream_id)))
            return
        for entry in self._table.at(exchange.to):
            entry.tcp_reached = True
        error = self._refusal(reply, source=exchange.to)
        if error is None and exchange.expects is not None and not exchange.expects(reply.nodes):
            error = ANOTHER_POOL
        if error is None and exchange.is_look:
            state = self._local_state(join=reply.join)
            self._start(stream_id, replace(exchange, is_look=False), state, now=now)
            return
        if error is None:
            error = self._merge(
                reply,
                own_join=exchange.own_join,
                source=exchange.to,
                gossip_at=exchange.to,
                now=now,
            )
        self._emit(PushPullFinished(stream_id, exchange.to, error))

    def handle_failure(self, stream_id: int, reason: str) -> None:
        """An exchange of ours came to nothing. Other streams' failures are not ours to report."""
        exchange = self._open.pop(stream_id, None)
        if exchange is not None:
            self._emit(PushPullFinished(stream_id, exchange.to, reason))

    def _start(
        self, stream_id: int, exchange: _OpenExchange, state: PushPull, *, now: float
    ) -> None:
        self._open[stream_id] = exchange
        deadline_at = now + self._config.tcp_timeout_s
        self._emit(OpenPushPull(stream_id, exchange.to, state, deadline_at))

    def _tick(self, now: float) -> None:
        own_name = self._claims.local.node

        def is_partner(entry: Entry) -> bool:
            return entry.state == MemberState.ALIVE and entry.name != own_name

        for partner in self._table.sample(1, is_partner):
            self.open(partner.address, join=False, own_join=False, now=now)
        interval_s = self._config.push_pull_interval_s * push_pull_scale(len(self._table))
        self._deadlines.call_at(now + interval_s, self._tick)

    def _local_state(self, *, join: bool, objections_to: Iterable[PushPullNode] = ()) -> PushPull:
        objections = self._claims.objections(objections_to)
        nodes = self._table.nodes()
        return PushPull(join, (*nodes, *objections) if objections else nodes, self._user_state())

    def _refusal(self, remote: PushPull, *, source: Address) -> str | None:
        """Why the admission hook does not want a pool that joins, or is joined."""
        if remote.join and self._admit is not None and (why := self._admit(remote.nodes)):
            self._emit(MessageDropped(drops.MERGE_NOT_ADMITTED, f"{source}: {why}"))
            return why
        return None

    def _merge(
        self,
        remote: PushPull,
        *,
        own_join: bool,
        source: Address,
        gossip_at: Address | None,
        now: float,
    ) -> str | None:
        """Apply a remote state, or say why not; `gossip_at` is where its sender listens."""
        if not self._claims.has_heard(remote.nodes):
            if (why := merge_obstacle(self._table, remote.nodes)) is not None:
                self._emit(MessageDropped(drops.MERGE_INCOMPATIBLE, f"{source}: {why}"))
                return why
            self._claims.handle_state(remote.nodes, now=now, source=gossip_at)
        if remote.user_state:
            self._emit(UserStateReceived(remote.user_state, own_join))
        return None
