"""One probe round: direct ping, then relays and TCP together, then a verdict (8.2; SWIM 3.1).

The round knows its instants and its witnesses. Who is probed, what is sent and what a verdict
leads to is decided in `prober.py`.
"""

from enum import Enum, auto

from gossip.swim.awareness import failed_probe_delta
from gossip.types import Incarnation, MemberName, SeqNo


class ProbeStep(Enum):
    """What a round's deadline asks for."""

    ASK_OTHERS = auto()
    """No ack so far: send indirect pings and try TCP."""
    PASSED_BY_TCP = auto()
    """The member lives, but UDP did not reach it."""
    FAILED = auto()


class ProbeRound:
    """Waits for proof of life of `target`. Every round is a new object: nothing is reset.

    Invariant: `deadline_at` is the end of the direct phase until others were asked, then that of
    the round.
    """

    # How every round begins; most end with the first ack, and never change these.
    tcp_stream_id: int | None = None
    tcp_refused = False
    """The fallback ping met a host where nobody listens."""
    _is_measured = True
    _others_asked = False
    _tcp_acked = False
    _nacks_expected = 0
    _nacks_received = 0

    def __init__(
        self,
        target: MemberName,
        incarnation: Incarnation,
        seq_no: SeqNo,
        *,
        timeout_s: float,
        period_s: float,
        now: float,
    ) -> None:
        """Begin with the direct ping at `now`; `period_s` is the whole round (8.2 step 1)."""
        self.target, self.incarnation, self.seq_no = target, incarnation, seq_no
        self.begun_at = now
        self.deadline_at = now + timeout_s
        self._timeout_s, self._others_s = timeout_s, period_s - timeout_s

    def is_direct(self) -> bool:
        """Whether an ack that comes now answers the direct ping: it measures the round trip."""
        return self._is_measured and not self._others_asked

    @property
    def failure_delta(self) -> int:
        """What this round's failure says about our own health."""
        return failed_probe_delta(
            nacks_expected=self._nacks_expected, nacks_received=self._nacks_received
        )

    def expect_nacks(self, count: int) -> None:
        """So many relays were asked that answer either way."""
        self._nacks_expected = count

    def handle_nack(self) -> bool:
        """A relay reached us, but not the target; False if no more nacks were owed."""
        self._nacks_received += 1
        return self._nacks_received <= self._nacks_expected

    def handle_tcp_ack(self) -> None:
        """The target answered by TCP. A UDP ack may still come until the round ends."""
        self._tcp_acked = True

    def handle_stall(self, *, now: float) -> None:
        """Our own process did not run: whatever was to come has the whole timeout again."""
        self.deadline_at = max(self.deadline_at, now + self._timeout_s)
        self._is_measured = False

    def handle_timer(self, *, now: float) -> ProbeStep:
        """Advance past the deadline, which has been reached."""
        assert now >= self.deadline_at
        if self._others_asked:
            return ProbeStep.PASSED_BY_TCP if self._tcp_acked else ProbeStep.FAILED
        self._others_asked = True
        # Counted from now, not from the start: if we woke up late, the verdict waits for the
        # others instead of blaming the target for our own slowness (Lifeguard).
        self.deadline_at = now + self._others_s
        return ProbeStep.ASK_OTHERS
