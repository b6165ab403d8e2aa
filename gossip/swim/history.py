"""The memory of accusations: who said what about whom, when and why.

It only remembers; nothing is decided by it. Bounded in members and in steps of each.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gossip.types import Incarnation, MemberName

MEMBERS_MAX: Final = 1024
"""Members with a history; the one that was quiet for longest is forgotten first."""
STEPS_MAX: Final = 32
"""Steps kept of one member; the oldest go first."""


class Step(StrEnum):
    """What happened to a member's standing."""

    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    """Another member suspects it too, or for a better reason."""
    ANSWERED = "answered"
    """A last dial was not refused: refusals do not count any more."""
    REFUTED = "refuted"
    FAILED = "failed"
    """Declared dead."""
    LEAVING = "leaving"
    LEFT = "left"
    RETURNED = "returned"


class Reason(StrEnum):
    """Why somebody was accused or declared dead or gone."""

    TIMEOUT = "timeout"
    """It did not answer."""
    REFUSED = "refused"
    """Its host refused connections."""
    HEARSAY = "hearsay"
    """Another member's full state had it so."""
    LEAVE = "leave"
    """It said so itself, or an operator did for it (force-leave)."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """One step in the history of a member's standing."""

    at: float
    """Monotonic seconds."""
    step: Step
    by: MemberName
    """Who said so first-hand, the member itself included."""
    reason: Reason | None
    incarnation: Incarnation


class History:
    """What is remembered of every member's standing.

    Invariant: at most `MEMBERS_MAX` members, and `STEPS_MAX` steps of each.
    """

    def __init__(self) -> None:
        self._steps: OrderedDict[MemberName, deque[Accusation]] = OrderedDict()

    def note(
        self,
        about: MemberName,
        step: Step,
        *,
        by: MemberName,
        incarnation: Incarnation,
        now: float,
        reason: Reason | None = None,
    ) -> None:
        """Remember a step."""
        steps = self._steps.get(about)
        if steps is None:
            self._steps[about] = steps = deque(maxlen=STEPS_MAX)
            if len(self._steps) > MEMBERS_MAX:
                self._steps.popitem(last=False)
        else:
            self._steps.move_to_end(about)
        steps.append(Accusation(now, step, by, reason, incarnation))

    def of(self, name: MemberName) -> tuple[Accusation, ...]:
        """The steps of one member, oldest first; empty if nobody ever doubted it."""
        return tuple(self._steps.get(name, ()))
