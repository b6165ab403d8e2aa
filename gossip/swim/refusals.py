"""Crash evidence: members that were refused a connection by one suspect member.

A host refuses connections for a process that is gone, never for one that is slow or stopped, and a
network that loses packets refuses nothing. So refusals may shorten a suspicion; silence never does.
Who dials when, and what follows, is decided in `doubts.py`.
"""

from collections.abc import Iterable
from heapq import nsmallest
from typing import Final
from zlib import crc32

from gossip.swim.table import Entry
from gossip.types import Incarnation, MemberName

WITNESSES_ASKED: Final = 2
"""Members that dial an accused on hearing of the first refusal."""
REFUSALS_WANTED: Final = 2
"""Refusals that shorten a suspicion, our own among them."""
REFUSALS_MAX: Final = 4
"""Others' refusals beyond it are not counted, and so not gossiped."""


def choose_witnesses(
    accused: MemberName, incarnation: Incarnation, candidates: Iterable[Entry]
) -> list[Entry]:
    """Those of `candidates` that dial the accused: the same wherever the same are known.

    Everybody dialling would be a storm; chosen by a hash, the pool agrees without a word.
    """
    subject = b"%s %d " % (accused.encode(errors="surrogateescape"), incarnation)
    start = crc32(subject)

    def rank(entry: Entry) -> tuple[int, str]:
        return crc32(entry.name.encode(errors="surrogateescape"), start), entry.name

    return nsmallest(WITNESSES_ASKED, candidates, key=rank)


class Refusals:
    """Who was refused by one suspect member. Every suspicion has a new object.

    Invariant: `due_at` is known from the moment on at which our own refusal and somebody else's
    are, unless the evidence was found void.
    """

    __slots__ = ("_first_at", "_floor_s", "_is_void", "_own_name", "_witnesses")

    def __init__(self, own_name: MemberName, *, floor_s: float) -> None:
        self._own_name, self._floor_s = own_name, floor_s
        self._witnesses: set[MemberName] = set()
        self._first_at = 0.0
        self._is_void = False

    def __len__(self) -> int:
        return len(self._witnesses)

    @property
    def wants_own(self) -> bool:
        """Whether a refusal of our own would be news."""
        return not self._is_void and self._own_name not in self._witnesses

    @property
    def due_at(self) -> float | None:
        """When the suspect may be declared dead on this evidence."""
        is_shared = len(self._witnesses) >= REFUSALS_WANTED and self._own_name in self._witnesses
        return self._first_at + self._floor_s if is_shared and not self._is_void else None

    def note(self, witness: MemberName, *, now: float) -> bool:
        """Count a refusal that `witness` has seen itself; True if it is news."""
        is_own = witness == self._own_name
        if self._is_void or witness in self._witnesses:
            return False
        if not is_own and len(self._witnesses) >= REFUSALS_MAX:
            return False
        if not self._witnesses:
            self._first_at = now
        self._witnesses.add(witness)
        return True

    def void(self) -> None:
        """Somebody listens there again, or nobody refuses any more: silence decides from now on."""
        self._is_void = True
