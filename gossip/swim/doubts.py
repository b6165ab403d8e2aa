"""The running suspicions: how long each suspect member has, and what shortens that (8.5).

Two clocks may run for a suspect. Lifeguard's says how long it may be silent (`suspicion.py`). The
other one needs crash evidence (`refusals.py`), compatible with members that know nothing of it:

    the first refusal is heard of           the chosen witnesses dial, and report a refusal
    we and another member were refused      after the floor we dial once more
    that is refused                         the suspect is declared dead
    anything else comes of it               the evidence is void, Lifeguard's time goes on

Whom to believe, and what a declaration leads to, is decided in `claims.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gossip.config import SwimConfig
from gossip.swim.carrier import Carrier
from gossip.swim.deadlines import Deadline, Deadlines
from gossip.swim.dialer import Dialer
from gossip.swim.hearing import Hearing
from gossip.swim.history import History, Step
from gossip.swim.refusals import Refusals, choose_witnesses
from gossip.swim.suspicion import Suspicion, confirmations_wanted, suspicion_s_min
from gossip.swim.table import Entry, MemberTable
from gossip.types import MemberName, MemberState
from gossip.wire.messages import Suspect


@dataclass(slots=True, eq=False)
class _Doubt:
    entry: Entry
    suspicion: Suspicion
    refusals: Refusals
    timeout: Deadline | None = None
    verdict: Deadline | None = None
    """Armed once the evidence is complete."""
    silent_until: float = 0.0
    """Its silence counts for nothing before: we did not listen."""


class Doubts:
    """Every suspicion under way.

    `accuse(suspect, now)` reports a refusal of our own, `declare(entry, refused, now)` the end of
    a suspicion. Invariant: a suspicion runs exactly while its member is suspect.
    """

    def __init__(
        self,
        config: SwimConfig,
        own_name: MemberName,
        *,
        table: MemberTable,
        carrier: Carrier,
        dialer: Dialer,
        history: History,
        hearing: Hearing,
        deadlines: Deadlines,
        accuse: Callable[[Suspect, float], None],
        declare: Callable[[Entry, bool, float], None],
    ) -> None:
        self._config, self._own_name, self._table = config, own_name, table
        self._carrier, self._dialer, self._deadlines = carrier, dialer, deadlines
        self._history, self._hearing = history, hearing
        self._accuse, self._declare = accuse, declare
        self._doubts: dict[MemberName, _Doubt] = {}
        self._resting: set[MemberName] = set()

    def __contains__(self, name: MemberName) -> bool:
        return name in self._doubts

    def begin(self, entry: Entry, suspect: Suspect, *, now: float) -> None:
        """Doubt a member on this accusation."""
        suspicion = self._new_suspicion(suspect.from_node, now=now)
        refusals = Refusals(self._own_name, floor_s=self._config.crash_floor_s)
        self._doubts[entry.name] = doubt = _Doubt(entry, suspicion, refusals)
        self._arm_timeout(doubt, suspicion.deadline_at)
        self._hear_refusal(doubt, suspect, now=now)

    def hear(self, suspect: Suspect, *, now: float) -> bool:
        """Take another accusation of a member in doubt; True if it is news."""
        doubt = self._doubts[suspect.node]
        confirms = doubt.suspicion.confirm(suspect.from_node)
        if confirms:
            at = max(doubt.suspicion.deadline_at, doubt.silent_until)
            if self._config.fair_hearing:
                # Differs from memberlist, which declares at once what it has doubted for long:
                # members that were cut off together agree before the suspect has heard of it.
                at = max(at, now + self._config.probe_interval_s)
            self._arm_timeout(doubt, at)
        return self._hear_refusal(doubt, suspect, now=now) or confirms

    def grant(self, lost_s: float, *, now: float) -> None:
        """Give every suspect back time in which we would not have heard it."""
        for doubt in self._doubts.values():
            doubt.suspicion.grant(lost_s, now=now)
            self._arm_timeout(doubt, max(doubt.suspicion.deadline_at, doubt.silent_until))

    def postpone(self, *, until: float) -> None:
        """Declare nobody dead for silence before `until`."""
        for doubt in self._doubts.values():
            if doubt.timeout is not None and doubt.timeout.at < until:
                self._arm_timeout(doubt, until)
            doubt.silent_until = until

    def end(self, name: MemberName) -> None:
        """The member has refuted, or is gone."""
        if (doubt := self._doubts.pop(name, None)) is not None:
            for deadline in (doubt.timeout, doubt.verdict):
                if deadline is not None:
                    self._deadlines.cancel(deadline)

    def investigate(self, entry: Entry, *, now: float) -> None:
        """A datagram to a member was refused: see whether connections are, too.

        A firewall may refuse datagrams while the member is well, so that alone proves nothing.
        """
        doubt = self._doubts.get(entry.name)
        is_known = doubt is not None and not doubt.refusals.wants_own
        if not self._config.crash_evidence or is_known or entry.name in self._resting:
            return
        self._resting.add(entry.name)
        rested_at = now + self._config.probe_timeout_s
        self._deadlines.call_at(rested_at, lambda _now: self._resting.discard(entry.name))
        self._witness(entry, now=now)

    def _hear_refusal(self, doubt: _Doubt, suspect: Suspect, *, now: float) -> bool:
        if not suspect.refused or not self._config.crash_evidence:
            return False
        is_first = len(doubt.refusals) == 0
        if not doubt.refusals.note(suspect.from_node, now=now):
            return False
        if is_first:
            self._ask_witnesses(doubt.entry, suspect, now=now)
        self._arm_verdict(doubt, now=now)
        return True

    def _ask_witnesses(self, accused: Entry, suspect: Suspect, *, now: float) -> None:
        candidates = (
            entry
            for entry in self._table
            if entry.state == MemberState.ALIVE
            and entry.name not in (accused.name, suspect.from_node)
        )
        for chosen in choose_witnesses(accused.name, accused.incarnation, candidates):
            if suspect.from_node == self._own_name:
                # They would hear of it by gossip; told directly they are sooner.
                self._carrier.send_exactly(chosen, suspect)
            elif chosen.name == self._own_name:
                self._witness(accused, now=now)

    def _witness(self, entry: Entry, *, now: float) -> None:
        incarnation = entry.incarnation

        def report(is_refused: bool, now: float) -> None:
            if is_refused:
                self._accuse(Suspect(incarnation, entry.name, self._own_name, True), now)

        self._dialer.dial(entry, now=now, then=report)

    def _arm_verdict(self, doubt: _Doubt, *, now: float) -> None:
        due_at = doubt.refusals.due_at
        if due_at is None or doubt.verdict is not None:
            return

        def judge(is_refused: bool, now: float) -> None:
            if self._doubts.get(doubt.entry.name) is not doubt:
                return
            if is_refused:
                self._declare(doubt.entry, True, now)
                return
            doubt.refusals.void()
            entry = doubt.entry
            self._history.note(
                entry.name,
                Step.ANSWERED,
                by=self._own_name,
                incarnation=entry.incarnation,
                now=now,
            )

        def dial_once_more(now: float) -> None:
            self._dialer.dial(doubt.entry, now=now, then=judge)

        doubt.verdict = self._deadlines.call_at(due_at, dial_once_more)

    def _new_suspicion(self, accuser: MemberName, *, now: float) -> Suspicion:
        config, count = self._config, len(self._table)
        s_min = suspicion_s_min(
            count, mult=config.suspicion_mult, probe_interval_s=config.probe_interval_s
        )
        wanted = confirmations_wanted(count, mult=config.suspicion_mult) if config.lifeguard else 0
        return Suspicion(
            accuser,
            wanted=wanted,
            s_min=s_min,
            s_max=s_min * config.suspicion_max_mult,
            now=now,
        )

    def _arm_timeout(self, doubt: _Doubt, at: float) -> None:
        if doubt.timeout is not None:
            self._deadlines.cancel(doubt.timeout)

        def expire(now: float) -> None:
            # Beyond Lifeguard: confirmations shorten the wait of those who would hear a refutation.
            is_unfair = self._config.fair_hearing and self._hearing.is_deaf(now)
            if is_unfair and at < doubt.suspicion.latest_at:
                self._arm_timeout(doubt, doubt.suspicion.latest_at)
            else:
                self._declare(doubt.entry, False, now)

        doubt.timeout = self._deadlines.call_at(at, expire)
