"""The prepared queries that this agent knows, by id and by name. No I/O.

A name has one holder, in any letter case. Two sides of a split may both give a name away; of the
queries that have it then, the one with the lowest (claim, id) is the holder on every agent, and the
others are kept without their name until it is free. Which instances a query selects is decided in
`svcmesh.queries`.
"""

from bisect import insort
from collections.abc import Iterator

from svcmesh.catalog.records import QueryRecord


class QueryRow:
    """One query, with the indexes of its first and its last change."""

    __slots__ = ("create_index", "modify_index", "record")

    def __init__(self, record: QueryRecord, index: int) -> None:
        self.record = record
        self.create_index = self.modify_index = index

    @property
    def is_template(self) -> bool:
        """Whether it stands for all names that begin with its own."""
        return bool(self.record.template_type)

    @property
    def name_key(self) -> str | None:
        """What it competes for; None: nothing, it has no name and is no template."""
        return self.record.name.lower() if self.record.name or self.is_template else None

    def __lt__(self, other: "QueryRow") -> bool:
        """Whether it has the better right to a name."""
        return (self.record.claim, self.record.id) < (other.record.claim, other.record.id)


class QueryTable:
    """Queries by id and name. Written by the view only."""

    def __init__(self) -> None:
        self._by_id: dict[str, QueryRow] = {}
        self._by_name: dict[str, list[QueryRow]] = {}
        """All that want a name, the holder first."""
        self._bound: dict[str, QueryRow] = {}
        """Those bound to a session, by their id."""

    def __len__(self) -> int:
        """The number of queries."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[QueryRow]:
        """Yield all queries, by id."""
        return (self._by_id[id_] for id_ in sorted(self._by_id))

    def get(self, query_id: str) -> QueryRow | None:
        """The query of this id, in any letter case."""
        return self._by_id.get(query_id.lower())

    def holder(self, name: str) -> QueryRow | None:
        """Who has a name; with the empty name, the template that takes every name."""
        rows = self._by_name.get(name.lower())
        return rows[0] if rows else None

    def template_for(self, name: str) -> QueryRow | None:
        """The template with the longest name that `name` begins with."""
        folded = name.lower()
        for end in range(len(folded), -1, -1):
            rows = self._by_name.get(folded[:end])
            if rows and rows[0].is_template:
                return rows[0]
        return None

    def bound(self) -> list[QueryRow]:
        """The queries that are bound to a session."""
        return list(self._bound.values())

    def put(self, record: QueryRecord, *, index: int) -> None:
        """Add or replace a query."""
        row = self._by_id.get(record.id)
        if row is None:
            row = self._by_id[record.id] = QueryRow(record, index)
        else:
            self._withdraw(row)
            row.record, row.modify_index = record, index
        if record.session:
            self._bound[record.id] = row
        if row.name_key is not None:
            insort(self._by_name.setdefault(row.name_key, []), row)

    def remove(self, query_id: str) -> None:
        """Forget a query, if it is there."""
        row = self._by_id.pop(query_id, None)
        if row is not None:
            self._withdraw(row)

    def _withdraw(self, row: QueryRow) -> None:
        self._bound.pop(row.record.id, None)
        key = row.name_key
        if key is None:
            return
        rows = self._by_name[key]
        rows.remove(row)
        if not rows:
            del self._by_name[key]
