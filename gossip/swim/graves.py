"""Members that are gone and no longer counted, and at which incarnation they went.

The member table forgets the gone within a minute, because they weigh on every formula. Their
incarnations have to be remembered for longer: whoever missed a death hands the dead on as alive,
and nothing else contradicts that. In memberlist removed members come back that way for hours.
"""

from collections import OrderedDict

from gossip.swim.table import Entry
from gossip.types import MemberName


class Graves:
    """What was known of members when the table forgot them. Full, it forgets the oldest.

    Invariant: every entry is dead or left, and in no table.
    """

    def __init__(self, *, size_max: int) -> None:
        assert size_max >= 1
        self._size_max = size_max
        self._entries: OrderedDict[MemberName, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: MemberName) -> Entry | None:
        return self._entries.get(name)

    def bury(self, entry: Entry) -> None:
        """Remember an entry that the table has forgotten."""
        assert entry.is_gone
        self._entries[entry.name] = entry
        if len(self._entries) > self._size_max:
            self._entries.popitem(last=False)

    def exhume(self, name: MemberName) -> None:
        """Forget it here: the table has it again."""
        self._entries.pop(name, None)

    def forget_before(self, at: float) -> None:
        """Forget members that were gone before `at`."""
        while self._entries:
            name, entry = next(iter(self._entries.items()))
            if entry.changed_at >= at:
                return
            del self._entries[name]
