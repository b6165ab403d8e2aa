"""Failure detection: whom to probe when, what to ask of whom, and pinging for others (8.2).

One round runs at a time. A failed one becomes an accusation, which `claims.py` judges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final, cast

from gossip.config import SwimConfig
from gossip.swim import drops
from gossip.swim.awareness import Awareness
from gossip.swim.carrier import Carrier
from gossip.swim.claims import U32_MAX, Claims
from gossip.swim.deadlines import Deadline, Deadlines
from gossip.swim.dialer import REFUSED, Dialer
from gossip.swim.effects import MessageDropped, OpenTcpPing
from gossip.swim.facts import Emit, PingAnswered
from gossip.swim.graves import Graves
from gossip.swim.probe import ProbeRound, ProbeStep
from gossip.swim.table import Entry, MemberTable
from gossip.swim.versions import PMAX_NACK, PMAX_TCP_PING, pmax
from gossip.types import Address, MemberName, MemberState, SeqNo
from gossip.wire.messages import Ack, IndirectPing, Nack, Ping, Suspect, make

RELAYED_PINGS_MAX = 1024
"""Indirect pings under way at once; more are dropped."""

_SUSPECT: Final = MemberState.SUSPECT  # looking into an enum takes long, for every round

NACK_SHARE: Final = 0.8
"""The part of the probe timeout after which a relay says that it got no answer (Lifeguard, IV-A).
A later ack is passed on all the same."""


@dataclass(slots=True, eq=False)
class _RelayedPing:
    """A ping on behalf of somebody, until its ack comes or `ProbeTimeout` is over."""

    requester: Address
    seq_no: SeqNo
    """The requester's."""
    deadline: Deadline


class Prober:
    """Runs the probe rounds and relays pings.

    Invariants: at most one round at a time; at most `RELAYED_PINGS_MAX` relayed pings, none older
    than the probe timeout.
    """

    def __init__(
        self,
        config: SwimConfig,
        *,
        table: MemberTable,
        graves: Graves,
        claims: Claims,
        awareness: Awareness,
        carrier: Carrier,
        dialer: Dialer,
        deadlines: Deadlines,
        stream_ids: Iterator[int],
        emit: Emit,
        ping_answered: PingAnswered,
    ) -> None:
        self._ping_answered = ping_answered
        self._config, self._table, self._graves = config, table, graves
        self._claims = claims
        self._awareness, self._carrier, self._dialer = awareness, carrier, dialer
        self._deadlines, self._stream_ids, self._emit = deadlines, stream_ids, emit
        self._seq_nos = cast("Iterator[SeqNo]", map(U32_MAX.__and__, count(1)))
        """From 1 on; from 0 again after the largest."""
        self._next_tick_at = 0.0
        self._round: ProbeRound | None = None
        self._timer = Deadline()
        """The round's next step while one runs, else the next tick."""
        self._failed: ProbeRound | None = None
        """The last round that failed."""
        self._relayed: dict[SeqNo, _RelayedPing] = {}

    def start(self, first_tick_at: float) -> None:
        """Probe every interval, beginning at `first_tick_at`."""
        self._next_tick_at = first_tick_at
        self._deadlines.arm(self._timer, first_tick_at, self._tick)

    def handle_stall(self, *, now: float) -> None:
        """Our own process did not run: the round under way gets that time back."""
        if self._round is not None:
            self._round.handle_stall(now=now)
            self._deadlines.arm(self._timer, self._round.deadline_at, self._handle_round_timer)

    def handle_ack(self, ack: Ack, *, now: float) -> None:
        """Take proof of life. Late and unknown ones are ordinary."""
        probe = self._round
        seq_no, payload = ack
        if probe is not None and seq_no == probe.seq_no:
            if payload and probe.is_direct():
                self._ping_answered(probe.target, payload, now - probe.begun_at)
            self._end_round(-1, now=now)
        elif (relayed := self._relayed.pop(seq_no, None)) is not None:
            self._deadlines.cancel(relayed.deadline)
            self._carrier.send(relayed.requester, Ack(relayed.seq_no))

    def handle_nack(self, nack: Nack) -> None:
        """A relay did its duty without success."""
        if self._round is not None and nack.seq_no == self._round.seq_no:
            self._round.handle_nack()
            return
        late = self._failed
        # A relay of memberlist's answers as the round ends: too late for the verdict, in time to
        # show that our own network works.
        if late is not None and nack.seq_no == late.seq_no and late.handle_nack():
            self._awareness.apply(-1)

    def handle_tcp_ack(self, stream_id: int, ack: Ack) -> None:
        """The fallback ping was answered."""
        probe = self._round
        if probe is not None and (probe.tcp_stream_id, probe.seq_no) == (stream_id, ack.seq_no):
            probe.handle_tcp_ack()
            if (target := self._table.get(probe.target)) is not None:
                target.tcp_reached = True

    def handle_tcp_failure(self, stream_id: int, reason: str) -> None:
        """A stream was refused, timed out or broke, perhaps the fallback ping's."""
        if self._round is not None and self._round.tcp_stream_id == stream_id:
            self._round.tcp_refused = reason == REFUSED

    def handle_indirect_ping(
        self, request: IndirectPing, *, target: Address, requester: Address, now: float
    ) -> None:
        """Ping `target` for `requester` and report back."""
        if len(self._relayed) >= RELAYED_PINGS_MAX:
            self._emit(MessageDropped(drops.INDIRECT_PINGS_MAX, str(requester)))
            return
        seq_no = next(self._seq_nos)

        def forget(_now: float) -> None:
            del self._relayed[seq_no]

        def give_up(_now: float) -> None:
            self._carrier.send(requester, Nack(request.seq_no))
            relayed.deadline = self._deadlines.call_at(forget_at, forget)

        forget_at = now + self._config.probe_timeout_s
        if request.nack:
            # Differs from memberlist, whose relays wait for the whole timeout: their nack then
            # arrives after the requester's verdict, and it blames itself for relays that did well.
            nack_at = now + NACK_SHARE * self._config.probe_timeout_s
            deadline = self._deadlines.call_at(nack_at, give_up)
        else:
            deadline = self._deadlines.call_at(forget_at, forget)
        relayed = _RelayedPing(requester, request.seq_no, deadline)
        self._relayed[seq_no] = relayed
        self._carrier.send(target, self._ping(seq_no, request.node))

    def _tick(self, now: float) -> None:
        # Ticks that passed while a round ran, or while we were asleep, are skipped. Adding at least
        # one interval keeps rounding from finding the same tick due for ever.
        interval_s = self._config.probe_interval_s
        missed = (now - self._next_tick_at) // interval_s if now > self._next_tick_at else 0.0
        self._next_tick_at += (missed + 1) * interval_s
        self._graves.forget_before(now - self._config.remember_gone_s)
        target = self._table.next_to_probe(
            forget_before=now - self._config.gossip_to_the_dead_s, forget=self._graves.bury
        )
        if target is None:
            self._deadlines.arm(self._timer, self._next_tick_at, self._tick)
        else:
            self._begin_round(target, now=now)

    def _begin_round(self, target: Entry, *, now: float) -> None:
        self._round = probe = ProbeRound(
            target.name,
            target.incarnation,
            next(self._seq_nos),
            timeout_s=self._config.probe_timeout_s,
            period_s=self._awareness.scaled_s(self._config.probe_interval_s),
            now=now,
        )
        if not target.tcp_reached:
            self._dialer.get_acquainted(target, now=now)
        ping = self._ping(probe.seq_no, target.name)
        if target.state is _SUSPECT and self._config.lifeguard:
            # The accusation rides along so that the accused can refute at once.
            self._carrier.send_exactly(target, ping, self._accusation(probe))
        else:
            self._carrier.send(target.address, ping)
        self._deadlines.arm(self._timer, probe.deadline_at, self._handle_round_timer)

    def _handle_round_timer(self, now: float) -> None:
        probe = self._round
        assert probe is not None
        match probe.handle_timer(now=now):
            case ProbeStep.ASK_OTHERS:
                self._ask_others(probe, now=now)
                self._deadlines.arm(self._timer, probe.deadline_at, self._handle_round_timer)
            case ProbeStep.PASSED_BY_TCP:
                self._emit(MessageDropped(drops.TCP_PING_ONLY, probe.target))
                self._end_round(-1, now=now)
            case ProbeStep.FAILED:
                self._failed = probe
                self._end_round(probe.failure_delta, now=now)
                self._claims.handle_suspect(self._accusation(probe), now=now)

    def _ask_others(self, probe: ProbeRound, *, now: float) -> None:
        target = self._table.get(probe.target)
        if target is None:
            return
        own_name = self._claims.local.node

        def may_relay(entry: Entry) -> bool:
            return entry.state == MemberState.ALIVE and entry.name not in (own_name, probe.target)

        relays = self._table.sample(self._config.indirect_count, may_relay)
        nackers = [r for r in relays if self._config.lifeguard and pmax(r.vsn) >= PMAX_NACK]
        probe.expect_nacks(len(nackers))
        local = self._claims.local
        for relay in relays:
            request = IndirectPing(
                probe.seq_no,
                target.addr,
                target.port,
                target.name,
                relay in nackers,
                local.addr,
                local.port,
                local.node,
            )
            self._carrier.send(relay.address, request)
        if self._config.tcp_pings and pmax(target.vsn) >= PMAX_TCP_PING:
            probe.tcp_stream_id = next(self._stream_ids)
            ping = self._ping(probe.seq_no, target.name)
            self._emit(OpenTcpPing(probe.tcp_stream_id, target.address, ping, probe.deadline_at))

    def _end_round(self, health_delta: int, *, now: float) -> None:
        self._round = None
        self._awareness.apply(health_delta)
        tick_at = self._next_tick_at
        self._deadlines.arm(self._timer, tick_at if tick_at > now else now, self._tick)

    def _accusation(self, probe: ProbeRound) -> Suspect:
        target = self._table.get(probe.target)
        is_refused = (
            self._config.crash_evidence
            and probe.tcp_refused
            and target is not None
            and target.tcp_reached
        )
        return Suspect(probe.incarnation, probe.target, self._claims.local.node, is_refused)

    def _ping(self, seq_no: SeqNo, target: MemberName) -> Ping:
        local = self._claims.local
        return make(Ping, (seq_no, target, local.addr, local.port, local.node))
