"""Instances on their way from one data center to another: rows as msgpack carries them, and back.

An instance is [name of its node, the node's id or nil, the node's record, its own record, its
checks and those of its node, and the indexes of them all], records being as the catalog has them.
What comes back are rows like those of the view, which belong to no view.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from svcmesh.catalog.bodies import decode_body_untrusted, encode_body
from svcmesh.catalog.records import (
    CheckRecord,
    Kind,
    NodeId,
    NodeRecord,
    QueryRecord,
    ServiceRecord,
)
from svcmesh.catalog.view_rows import CheckRow, NodeRow, ServiceRow
from svcmesh.errors import DecodeError

Packed = list[Any]
"""What msgpack carries."""


REASON: Final = "query-instances"


def pack_query(record: QueryRecord) -> Packed:
    """A query, to be executed elsewhere."""
    return [record.id, encode_body(record)]


def unpack_query_untrusted(packed: object) -> QueryRecord:
    """The query again.

    Raises:
        DecodeError: It is none.
    """
    match packed:
        case [str() as query_id, bytes() as raw]:
            record = decode_body_untrusted(Kind.QUERY, query_id, raw)
        case _:
            record = None
    if not isinstance(record, QueryRecord):
        raise DecodeError("query-malformed")
    return record


def pack_rows(rows: Iterable[ServiceRow]) -> Iterator[Packed]:
    """Instances with their nodes and checks, one by one."""
    return map(_pack_row, rows)


def unpack_rows_untrusted(packed: object) -> Iterator[ServiceRow]:
    """Instances that another data center has sent, one by one.

    Raises:
        DecodeError: They are none; also while they are iterated.
    """
    if not isinstance(packed, list):
        raise DecodeError(REASON, "expected a list")
    return map(_unpack_row, packed)


def _pack_row(row: ServiceRow) -> Packed:
    node = row.node
    checks = [
        [check.record.id, encode_body(check.record), check.create_index, check.modify_index]
        for check in chain(node.node_checks, row.checks)
    ]
    return [
        node.name,
        node.node_id,
        encode_body(node.body),
        [node.create_index, node.modify_index],
        row.record.id,
        encode_body(row.record),
        [row.create_index, row.modify_index],
        checks,
    ]


def _unpack_row(packed: object) -> ServiceRow:
    match packed:
        case [
            str() as name, str() | None as node_id, bytes() as raw_node, list() as node_indexes,
            str() as service_id, bytes() as raw_service, list() as indexes, list() as checks,
        ]:  # fmt: skip
            record = decode_body_untrusted(Kind.NODE, "", raw_node)
            service = decode_body_untrusted(Kind.SERVICE, service_id, raw_service)
        case _:
            raise DecodeError(REASON, "expected an instance")
    if not isinstance(record, NodeRecord) or not isinstance(service, ServiceRecord):
        raise DecodeError(REASON, "no node or no service")
    node = NodeRow(None if node_id is None else NodeId(node_id), name.lower())
    node.name, node.record, node.is_shown = name, record, True
    node.create_index, node.modify_index = _indexes(node_indexes)
    row = node.services[service_id] = ServiceRow(node, service)
    row.create_index, row.modify_index = _indexes(indexes)
    for check in checks:
        _add_check(node, check)
    return row


def _add_check(node: NodeRow, packed: object) -> None:
    match packed:
        case [str() as check_id, bytes() as raw, created, modified]:
            record = decode_body_untrusted(Kind.CHECK, check_id, raw)
        case _:
            raise DecodeError(REASON, "expected a check")
    if not isinstance(record, CheckRecord):
        raise DecodeError(REASON, "no check")
    check = node.checks[check_id] = CheckRow(node, record)
    check.create_index, check.modify_index = _indexes([created, modified])
    held = node.checks_by_service
    held[record.service_id] = (*held.get(record.service_id, ()), check)


def _indexes(packed: Sequence[object]) -> tuple[int, int]:
    match packed:
        case [int() as created, int() as modified]:
            return created, modified
        case _:
            raise DecodeError(REASON, "expected two indexes")
