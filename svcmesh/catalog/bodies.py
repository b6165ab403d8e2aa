"""Bodies of catalog records as bytes: msgpack arrays.

Fields have fixed places and unknown trailing elements are ignored, so a newer agent can add some. A
body that this agent does not understand is carried on unread.
"""

from typing import Final

import msgpack

from gossip.wire.messages import Coordinate
from svcmesh.catalog.fields import ELEMENTS_MAX, Fields, Raw, checked, unpack_untrusted
from svcmesh.catalog.log import RecordKey
from svcmesh.catalog.records import (
    RECORD_BYTES_MAX,
    Body,
    CheckRecord,
    Kind,
    NodeRecord,
    QueryRecord,
    ServiceRecord,
    TaggedAddress,
)
from svcmesh.errors import DecodeError

U16_BYTES: Final = 2
"""Of ports and weights, which DNS writes as 16 bits."""


def encode_body(body: Body) -> bytes:
    """A record's body, in the field order of `decode_body_untrusted`."""
    fields: list[object]
    match body:
        case NodeRecord():
            fields = [
                body.name,
                body.address,
                body.datacenter,
                dict(sorted(body.tagged_addresses.items())),
                dict(sorted(body.meta.items())),
                body.id,
                _coordinate_fields(body.coordinate),
                list(body.given_empty) or None,
            ]
        case ServiceRecord():
            fields = [
                body.id,
                body.name,
                list(body.tags),
                body.port,
                body.address,
                {key: list(value) for key, value in sorted(body.tagged_addresses.items())},
                dict(sorted(body.meta.items())),
                body.weight_passing,
                body.weight_warning,
                body.enable_tag_override,
                list(body.given_empty) or None,
            ]
        case CheckRecord():
            fields = [
                body.id,
                body.name,
                body.status,
                body.output,
                body.notes,
                body.service_id,
                body.service_name,
                list(body.service_tags),
                body.type,
                body.definition,
            ]
        case QueryRecord():
            fields = [
                body.id,
                body.name,
                body.claim,
                body.service,
                body.session,
                body.token,
                body.template_type,
                body.template_regexp,
                body.removes_empty_tags,
                body.nearest_n,
                body.datacenters,
                body.only_passing,
                body.ignored_checks,
                body.near,
                body.tags,
                None if body.node_meta is None else dict(body.node_meta),
                None if body.service_meta is None else dict(body.service_meta),
                body.dns_ttl,
                body.are_targets,
            ]
    packed: bytes = msgpack.packb(fields, use_bin_type=True, unicode_errors="surrogateescape")
    return packed


def _coordinate_fields(where: Coordinate | None) -> list[object] | None:
    if where is None:
        return None
    return [list(where.vec), where.error, where.adjustment, where.height]


def replication_problem(body: Body) -> str | None:
    """Why other agents could not take this record in; None when they can."""
    raw = encode_body(body)
    if len(raw) > RECORD_BYTES_MAX:
        return f"may not exceed {RECORD_BYTES_MAX} bytes"
    key = body_key(body)
    if decode_body_untrusted(key.kind, key.id, raw) is None:
        return f"has at most {ELEMENTS_MAX} tags or map entries, and text in UTF-8"
    return None


def body_key(body: Body, *, node: str = "") -> RecordKey:
    """The key of a record with this body."""
    match body:
        case NodeRecord():
            return RecordKey(node, Kind.NODE, "")
        case ServiceRecord():
            return RecordKey(node, Kind.SERVICE, body.id)
        case CheckRecord():
            return RecordKey(node, Kind.CHECK, body.id)
        case QueryRecord():
            return RecordKey("", Kind.QUERY, body.id)


def decode_body_untrusted(kind: str, record_id: str, raw: bytes) -> Body | None:
    """Read a body; None when this agent does not understand it."""
    try:
        fields = unpack_untrusted(raw)
        if not isinstance(fields, list):
            return None
        take = Fields(fields)
        match kind:
            case Kind.NODE:
                return NodeRecord(
                    name=take.text(),
                    address=take.text(),
                    datacenter=take.text(),
                    tagged_addresses=take.text_map(),
                    meta=take.text_map(),
                    id=take.text(),
                    coordinate=take.optional_coordinate(),
                    given_empty=take.texts_if_any(),
                )
            case Kind.SERVICE:
                service = ServiceRecord(
                    id=take.text(),
                    name=take.text(),
                    tags=take.texts(),
                    port=take.number(U16_BYTES),
                    address=take.text(),
                    tagged_addresses=take.map_of(_tagged_address),
                    meta=take.text_map(),
                    weight_passing=take.number(U16_BYTES),
                    weight_warning=take.number(U16_BYTES),
                    enable_tag_override=take.next(bool),
                    given_empty=take.texts_if_any(),
                )
                return service if service.id == record_id else None
            case Kind.CHECK:
                check = CheckRecord(
                    id=take.text(),
                    name=take.text(),
                    status=take.text(),
                    output=take.text(),
                    notes=take.text(),
                    service_id=take.text(),
                    service_name=take.text(),
                    service_tags=take.texts(),
                    type=take.text(),
                    definition=take.text(),
                )
                return check if check.id == record_id else None
            case Kind.QUERY:
                query = _decode_query(take)
                return query if query.id == record_id else None
            case _:
                return None
    except DecodeError:
        return None


def _decode_query(take: Fields) -> QueryRecord:
    return QueryRecord(
        id=take.text(),
        name=take.text(),
        claim=take.number(),
        service=take.text(),
        session=take.text(),
        token=take.text(),
        template_type=take.text(),
        template_regexp=take.text(),
        removes_empty_tags=take.next(bool),
        nearest_n=take.number(),
        datacenters=take.given_texts(),
        only_passing=take.next(bool),
        ignored_checks=take.given_texts(),
        near=take.text(),
        tags=take.given_texts(),
        node_meta=take.given_text_pairs(),
        service_meta=take.given_text_pairs(),
        dns_ttl=take.text(),
        are_targets=take.next(bool),
    )


def _tagged_address(value: Raw) -> TaggedAddress:
    take = Fields(checked(value, list))
    return TaggedAddress(take.text(), take.number(U16_BYTES))
