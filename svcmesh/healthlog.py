"""What happened to health, as this agent saw it: the last changes of checks' states.

It is fed with what changes the catalog view, and costs nothing for a check that keeps its state.
Which of it answers a question is `explaining.py`'s to say. No I/O.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from svcmesh.catalog.changes import (
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    Owner,
    OwnNode,
    RecordChanged,
    ViewChange,
)
from svcmesh.catalog.records import CheckRecord, HealthStatus, NodeId
from svcmesh.catalog.view_rows import SERF_CHECK_ID

ENTRIES_MAX: Final = 10_000
"""A few megabytes; under a flood of changes, the last minutes."""

OUTPUT_LETTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class HealthEntry:
    """One change of one check's state."""

    at_utc: float
    """Unix time, by this agent's clock."""
    owner: Owner
    check_id: str
    service_id: str
    old: str
    """Empty: it was not known before."""
    new: str
    """Empty: it is gone."""
    output: str
    was_there: bool
    """Whether it was in this state when this agent started: `at_utc` only says when we learnt."""


class HealthLog:
    """The last changes, oldest first. Invariant: at most `ENTRIES_MAX`."""

    def __init__(self, *, started_utc: float) -> None:
        self.started_utc = started_utc
        self._entries: deque[HealthEntry] = deque(maxlen=ENTRIES_MAX)

    @property
    def since_utc(self) -> float:
        """From when on nothing is missing."""
        is_full = len(self._entries) == ENTRIES_MAX
        return self._entries[0].at_utc if is_full else self.started_utc

    def note(self, change: ViewChange, *, is_synced: bool, now_utc: float) -> None:
        """Take in a change; until `is_synced`, what appears was there before us."""
        match change:
            case RecordChanged():
                self._note_record(change, is_synced=is_synced, now_utc=now_utc)
            case NodeHealthChanged():
                self._note_member(change.node_id, change.is_alive, now_utc=now_utc)
            case NodeBound(is_alive=False):
                self._note_member(change.node_id, False, was_there=not is_synced, now_utc=now_utc)
            case NodeBound() | NodeUnbound():
                # A node that comes up or goes has no check that changes its state.
                return

    def of(self, owner: Owner, check_id: str) -> Iterator[HealthEntry]:
        """What happened to one check, the latest first."""
        return (
            entry
            for entry in reversed(self._entries)
            if entry.check_id == check_id and entry.owner == owner
        )

    def _note_record(self, change: RecordChanged, *, is_synced: bool, now_utc: float) -> None:
        old, new = change.old, change.new
        record = new or old
        if not isinstance(record, CheckRecord):
            return
        before = old.status if isinstance(old, CheckRecord) else ""
        after = new.status if isinstance(new, CheckRecord) else ""
        # Most checks pass from the start: that is not worth remembering.
        if before == after or (not before and after == HealthStatus.PASSING):
            return
        self._entries.append(
            HealthEntry(
                now_utc,
                change.owner,
                change.id,
                record.service_id,
                before,
                after,
                record.output[:OUTPUT_LETTERS_MAX],
                not before and not is_synced,
            )
        )

    def _note_member(
        self, node_id: NodeId, is_alive: bool, *, now_utc: float, was_there: bool = False
    ) -> None:
        states = (HealthStatus.CRITICAL, HealthStatus.PASSING)
        old, new = states if is_alive else states[::-1]
        self._entries.append(
            HealthEntry(now_utc, OwnNode(node_id), SERF_CHECK_ID, "", old, new, "", was_there)
        )
