"""Intents about members that are not known yet: they may arrive before their member (10.4)."""

from dataclasses import dataclass

from gossip.types import LamportTime, MemberName
from gossip.wire.messages import JoinIntent, LeaveIntent


@dataclass(frozen=True, slots=True)
class _Noted:
    intent: JoinIntent | LeaveIntent
    at: float


class RecentIntents:
    """The newest intent for each unknown name.

    Invariants: at most `size_max` names; ordered by when they were noted, and the oldest goes
    first.
    """

    def __init__(self, *, size_max: int) -> None:
        self._size_max = size_max
        self._noted: dict[MemberName, _Noted] = {}

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, intent: JoinIntent | LeaveIntent, *, now: float) -> bool:
        """Remember an intent if it is newer than what is known for its name; True if so."""
        known = self._noted.get(intent.node)
        if known is not None:
            if intent.ltime <= known.intent.ltime:
                return False
            del self._noted[intent.node]
        elif len(self._noted) >= self._size_max:
            del self._noted[next(iter(self._noted))]
        self._noted[intent.node] = _Noted(intent, now)
        return True

    def join_ltime(self, name: MemberName) -> LamportTime | None:
        """The time of the join intent for `name`, if that is the newest."""
        noted = self._noted.get(name)
        return noted.intent.ltime if noted and isinstance(noted.intent, JoinIntent) else None

    def leave_ltime(self, name: MemberName) -> LamportTime | None:
        """The time of the leave intent for `name`, if that is the newest."""
        noted = self._noted.get(name)
        return noted.intent.ltime if noted and isinstance(noted.intent, LeaveIntent) else None

    def forget_before(self, instant: float) -> None:
        """Drop what was noted before `instant`."""
        while self._noted:
            name = next(iter(self._noted))
            if self._noted[name].at >= instant:
                return
            del self._noted[name]
