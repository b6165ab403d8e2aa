"""Who has the name of a prepared query, on every agent and whatever the order of arrival."""

from itertools import permutations

from svcmesh.catalog.changes import ExternalNode, OwnNode, RecordChanged
from svcmesh.catalog.queries import QueryTable
from svcmesh.catalog.records import Kind, NodeId, QueryRecord
from svcmesh.catalog.topics import QUERIES
from svcmesh.catalog.view import CatalogView
from tests.svcmesh.queries.records import query_record

PREFIX = "name_prefix_match"


def table(*records: QueryRecord) -> QueryTable:
    queries = QueryTable()
    for index, record in enumerate(records, 1):
        queries.put(record, index=index)
    return queries


def holder(queries: QueryTable, name: str) -> str | None:
    row = queries.holder(name)
    return None if row is None else row.record.id


def test_a_name_given_away_twice_has_the_earlier_claim_whatever_comes_first() -> None:
    early, late, later = (query_record("web", number=n) for n in (1, 2, 3))
    for order in permutations((early, late, later)):
        assert holder(table(*order), "WEB") == early.id


def test_equal_claims_are_decided_by_id() -> None:
    one, two = (query_record("web", number=n, claim=7) for n in (1, 2))
    assert holder(table(two, one), "web") == one.id


def test_a_name_that_becomes_free_goes_to_the_next() -> None:
    early, late = (query_record("web", number=n) for n in (1, 2))
    queries = table(early, late)
    queries.remove(early.id)
    assert holder(queries, "web") == late.id
    queries.put(query_record("other", number=2), index=9)
    assert holder(queries, "web") is None
    assert holder(queries, "other") == late.id


def test_the_longest_template_takes_a_name() -> None:
    every = query_record("", number=1, template_type=PREFIX)
    geo = query_record("Geo-", number=2, template_type=PREFIX)
    plain = query_record("geo-web", number=3)
    queries = table(every, geo, plain)
    found = {name: queries.template_for(name) for name in ("geo-web-1", "GEO-", "ge", "")}
    ids = {name: row.record.id for name, row in found.items() if row is not None}
    assert ids == {"geo-web-1": geo.id, "GEO-": geo.id, "ge": every.id, "": every.id}


def test_queries_without_a_name_do_not_compete() -> None:
    one, two = (query_record("", number=n, session="s") for n in (1, 2))
    queries = table(one, two)
    assert holder(queries, "") is None
    assert [row.record.id for row in queries] == [one.id, two.id]
    assert {row.record.id for row in queries.bound()} == {one.id, two.id}


def test_indexes_are_those_of_the_first_and_the_last_change() -> None:
    record = query_record("web")
    queries = table(record, query_record("web2"))
    row = queries.get(record.id.upper())
    assert row is not None
    assert (row.create_index, row.modify_index) == (1, 2)


def test_the_view_keeps_queries_and_tells_who_waits() -> None:
    view = CatalogView(local_node_id=NodeId("a"), datacenter="dc1", index_start=10)
    woken: list[int] = []
    view.watch((QUERIES,), lambda: woken.append(view.index))
    record = query_record("web")
    view.apply(RecordChanged(ExternalNode(""), Kind.QUERY, record.id, None, record))
    assert woken == [11]
    assert view.topic_index((QUERIES,)) == 11
    view.apply(RecordChanged(ExternalNode(""), Kind.QUERY, record.id, record, None))
    assert len(view.queries) == 0


def test_a_query_that_claims_to_belong_to_a_node_is_none() -> None:
    view = CatalogView(local_node_id=NodeId("a"), datacenter="dc1", index_start=10)
    record = query_record("web")
    for owner in (OwnNode(NodeId("b")), ExternalNode("db")):
        view.apply(RecordChanged(owner, Kind.QUERY, record.id, None, record))
    assert len(view.queries) == 0
    assert view.index == 10
