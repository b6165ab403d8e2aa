"""What an agent can tell an operator about its pool, beyond the list of members.

Why a member is seen as it is comes from the gossip library's memory; here it becomes sentences.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gossip import Gossip
from gossip.serf.events import Member
from gossip.swim.history import Accusation, Reason, Step
from gossip.types import MemberName
from svcmesh.doctor import Examination

_BECAUSE: Final = {
    None: "",
    Reason.TIMEOUT: ": no answer",
    Reason.REFUSED: ": its host refused the connection",
    Reason.HEARSAY: ": another member's state had it so",
    Reason.LEAVE: ": on purpose",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How one member is seen, and what has been said of it."""

    member: Member | None
    """None if it is not remembered any more."""
    timeline: tuple[tuple[float, Accusation], ...]
    """Oldest first, with wall-clock seconds."""


class PoolInsight:
    """Answers from one agent's view of the pool."""

    def __init__(self, gossip: Gossip, examine: Callable[[], Awaitable[Examination]]) -> None:
        self._gossip, self._examine = gossip, examine

    async def examine(self) -> Examination:
        """Try every member that has not left in every way; takes seconds."""
        return await self._examine()

    def why(self, name: str) -> Standing | None:
        """How a member is seen and why; None if nothing is known of it."""
        member = self._gossip.member(MemberName(name))
        timeline = tuple(self._gossip.accusations(MemberName(name)))
        return Standing(member, timeline) if member is not None or timeline else None


def verdict(gossip: Gossip, name: MemberName) -> str:
    """By whom and why a member was declared failed."""
    steps = gossip.accusations(name)
    return sentence(steps[-1][1]) if steps else "with too many others to remember why"


def sentence(step: Accusation) -> str:
    """One step of a timeline in words."""
    because = _BECAUSE[step.reason]
    match step.step:
        case Step.SUSPECTED:
            return f"suspected by {step.by}{because}"
        case Step.CONFIRMED:
            return f"suspected by {step.by} too{because}"
        case Step.ANSWERED:
            return f"answered or was silent when {step.by} dialled once more: full suspicion"
        case Step.REFUTED:
            return f"refuted by itself at incarnation {step.incarnation}"
        case Step.FAILED:
            return f"declared failed by {step.by}{because}"
        case Step.LEAVING:
            return "is leaving"
        case Step.LEFT:
            return f"left{because}"
        case Step.RETURNED:
            return f"returned at incarnation {step.incarnation}"
