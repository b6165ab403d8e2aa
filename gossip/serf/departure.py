"""A graceful leave, step by step (10.6).

step              is over when
SPREADING_INTENT  the leave intent was handed on often enough, or at the timeout
SPREADING_LEAVE   SWIM's own word of it was, or at the timeout
PROPAGATING       the others had time to hand it on among themselves; we still answer
FINISHED          never: the shell may close
"""

from enum import IntEnum, auto

from gossip.config import SerfConfig


class LeaveStep(IntEnum):
    """Where a leave stands; steps are only ever taken forwards."""

    SPREADING_INTENT = auto()
    SPREADING_LEAVE = auto()
    PROPAGATING = auto()
    FINISHED = auto()


class Departure:
    """Times one leave. What each step sends is decided by the machine.

    Invariant: `deadline_at` is None exactly when the leave has finished.
    """

    def __init__(self, config: SerfConfig, *, now: float) -> None:
        self._config = config
        self.step = LeaveStep.SPREADING_INTENT
        self.deadline_at: float | None = now + config.broadcast_timeout_s

    def advance(self, *, now: float, is_spread: bool) -> bool:
        """Take the next step if this one is over: its word `is_spread`, or its time is up."""
        if self.deadline_at is None or (not is_spread and now < self.deadline_at):
            return False
        self.step = LeaveStep(self.step + 1)
        match self.step:
            case LeaveStep.SPREADING_LEAVE:
                self.deadline_at = now + self._config.broadcast_timeout_s
            case LeaveStep.PROPAGATING:
                self.deadline_at = now + self._config.leave_propagate_delay_s
            case _:
                self.deadline_at = None
        return True
