"""What waits for the disk: votes and acknowledgements are given when they would survive a crash."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from svcmesh.consensus.raft.types import LogIndex, SaveToken


@dataclass(slots=True)
class _Pending:
    token: SaveToken
    last_index: LogIndex | None
    """Of the entries in this save; lowered when later ones replace them. None: it has none."""
    actions: list[Callable[[float], None]]
    """Called with the time by then."""


class Durability:
    """Saves under way, in the order of their tokens, and what is to be done after each.

    Invariant: `saved_index` is the last entry of the present log that is on disk, with all before.
    """

    def __init__(self, saved_index: LogIndex) -> None:
        self.saved_index = saved_index
        self._last_token = SaveToken(0)
        self._pending: deque[_Pending] = deque()

    def begin(self, *, first_index: LogIndex | None, last_index: LogIndex | None) -> SaveToken:
        """Note a save; entries of it replace those at and behind `first_index`."""
        if first_index is not None:
            before = LogIndex(first_index - 1)
            self.saved_index = min(self.saved_index, before)
            for pending in self._pending:
                if pending.last_index is not None:
                    pending.last_index = min(pending.last_index, before)
        self._last_token = SaveToken(self._last_token + 1)
        self._pending.append(_Pending(self._last_token, last_index, []))
        return self._last_token

    def when_saved(self, action: Callable[[float], None], *, now: float) -> None:
        """Do something when everything handed over so far is on disk; at once if it is."""
        if self._pending:
            self._pending[-1].actions.append(action)
        else:
            action(now)

    def complete(self, token: SaveToken, *, now: float) -> None:
        """Everything up to `token` is on disk."""
        while self._pending and self._pending[0].token <= token:
            pending = self._pending.popleft()
            if pending.last_index is not None:
                self.saved_index = max(self.saved_index, pending.last_index)
            for action in pending.actions:
                action(now)

    def reset(self, saved_index: LogIndex) -> None:
        """A snapshot has taken the log's place; entries under way no longer count."""
        self.saved_index = saved_index
        for pending in self._pending:
            pending.last_index = None
