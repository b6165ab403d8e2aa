"""The external space as a value: logs by writer, and who won each key.

One entry wins each key: the highest (clock, origin, sequence), tombstones included. An entry that
loses its key vanishes from its log, so every entry in a log is the winner of its key.
"""

from bisect import bisect_left, insort

from svcmesh.catalog.digest import item_value
from svcmesh.catalog.log import HASH_MASK, Entry, Log, Origin, RecordKey

VERSION_MASK = 2**63 - 1


class ExternalSpace:
    """Logs by writer, and who won each key."""

    def __init__(self) -> None:
        self.logs: dict[Origin, Log] = {}
        self.winners: dict[RecordKey, tuple[Entry, Origin]] = {}
        self.content_hash = 0
        """Of every live record."""
        self.version_hash = 0
        """63 bits over the versions of all logs, as of their last `settle`."""
        self._versions: dict[Origin, int] = {}
        self._order: list[Origin] = []

    def log(self, origin: Origin, *, floor: int = 0) -> Log:
        """One writer's log, a new one for a new writer."""
        log = self.logs.get(origin)
        if log is None:
            log = self.logs[origin] = Log(origin, floor=floor)
            insort(self._order, origin)
        return log

    @property
    def version(self) -> dict[Origin, int]:
        """Up to where every log that has begun is complete."""
        return {origin: log.through for origin, log in self.logs.items() if log.through}

    def entries(self, origin: Origin) -> list[Entry]:
        """A writer's entries by sequence, none of a writer that is unknown."""
        log = self.logs.get(origin)
        return [] if log is None else list(log.entries())

    def origins_from(self, cursor: Origin | None) -> list[Origin]:
        """Writers in order, from one on."""
        return self._order[0 if cursor is None else bisect_left(self._order, cursor) :]

    def put(self, log: Log, entry: Entry) -> Entry | None:
        """Store an entry if it wins its key; the former winner, or the entry itself if it lost."""
        former = self.winners.get(entry.key)
        if former is not None:
            old, origin = former
            if (old.clock, origin, old.seq) >= (entry.clock, log.origin, entry.seq):
                return entry
            if log.at(entry.seq) is not None:
                return entry
            self.logs[origin].remove(old)
            self._count(old, -1)
        if log.put(entry) is entry:
            return entry
        self._count(entry, 1)
        self.winners[entry.key] = (entry, log.origin)
        return None if former is None else former[0]

    def remove(self, log: Log, entry: Entry) -> None:
        """Let an entry vanish, its key held by nobody."""
        log.remove(entry)
        del self.winners[entry.key]
        self._count(entry, -1)

    def settle(self, log: Log) -> int:
        """Take in a log's version after a change; its value in the digest."""
        value = item_value(log.origin, log.through, log.loose_hash)
        shift = value - self._versions.get(log.origin, 0)
        self.version_hash = (self.version_hash + shift) & VERSION_MASK
        self._versions[log.origin] = value
        return value

    def forget_deletes(self, *, before: float, keep_max: int) -> list[tuple[Origin, RecordKey]]:
        """Drop tombstones received before an instant, and those beyond a number for each log.

        Returned are their keys, and whose they were.
        """
        forgotten: list[tuple[Origin, RecordKey]] = []
        for log in self.logs.values():
            if log.tombstones:
                for entry in log.forget_deletes(before=before, keep_max=keep_max):
                    del self.winners[entry.key]
                    forgotten.append((log.origin, entry.key))
        return forgotten

    def _count(self, entry: Entry, sign: int) -> None:
        if entry.raw is not None:
            self.content_hash = (self.content_hash + sign * entry.hash) & HASH_MASK
