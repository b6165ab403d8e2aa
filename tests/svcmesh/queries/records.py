"""Prepared queries to test with."""

from typing import Any

from svcmesh.catalog.records import QueryRecord


def query_record(name: str = "q", *, number: int = 1, **fields: Any) -> QueryRecord:  # noqa: ANN401
    """A query on `web`; its id is made of `number`."""
    values = {"service": "web", "claim": number, **fields}
    return QueryRecord(id=f"00000000-0000-0000-0000-{number:012}", name=name, **values)
