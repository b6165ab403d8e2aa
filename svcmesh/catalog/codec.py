"""Catalog messages as bytes (msgpack arrays behind the byte 0x80).

Fields have fixed places and unknown trailing elements are ignored, so a newer agent can add some. A
record of a kind that this agent does not understand is carried on unread (`bodies.py`). A decoder
returns a value or raises `DecodeError`.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgpack

from svcmesh.catalog.bodies import decode_body_untrusted
from svcmesh.catalog.digest import BUCKETS
from svcmesh.catalog.fields import Fields, Raw, checked, pack_id, unpack_untrusted
from svcmesh.catalog.log import Entry, Origin, RecordKey
from svcmesh.catalog.messages import (
    Buckets,
    CatalogMessage,
    Compare,
    Contested,
    Envelope,
    ExternalPage,
    Page,
    Pages,
    Same,
    Summaries,
    Summary,
    Want,
    WantExternal,
    Wants,
)
from svcmesh.catalog.records import RECORD_BYTES_MAX
from svcmesh.errors import DecodeError

CATALOG_BYTE: Final = 0x80
"""First byte of every catalog message: outside Serf's types."""

FORMAT_VERSION: Final = 1


def encode_envelope(envelope: Envelope) -> bytes:
    """The whole payload, first byte included."""
    number, fields = _message_fields(envelope.message)
    packed: bytes = msgpack.packb(
        [
            FORMAT_VERSION,
            envelope.sender,
            pack_id(envelope.sender_id),
            envelope.wall_ms,
            number,
            *fields,
        ],
        use_bin_type=True,
        unicode_errors="surrogateescape",
    )
    return bytes((CATALOG_BYTE,)) + packed


def _pack_hashes(hashes: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(8, "big") for value in hashes)


def _message_fields(message: CatalogMessage) -> tuple[int, list[object]]:
    match message:
        case Compare():
            return 1, [message.fingerprint, _pack_hashes(message.settled) or None]
        case Same():
            return 2, []
        case Buckets():
            return 3, [_pack_hashes(message.hashes)]
        case Summaries():
            rows = [
                [s.is_external, *_pack_origin(s.origin), s.through, s.floor, s.hash, s.loose]
                for s in message.summaries
            ]
            return 4, [bytes(message.buckets), rows, message.is_answer]
        case Wants():
            wants = [
                [w.is_external, *_pack_origin(w.origin), w.after, w.full_floor]
                for w in message.wants
            ]
            return 5, [wants]
        case Pages():
            pages = [pack_page(page) for page in message.pages]
            return 6, [pages, message.is_answer, message.pass_on]
        case WantExternal():
            return 7, [_pack_cursor(message.cursor), message.after]
        case ExternalPage():
            pages = [pack_page(page) for page in message.pages]
            return 8, [pages, _pack_cursor(message.next_cursor), message.next_after]
        case Contested():
            return 9, [message.what, message.holder]


def pack_page(page: Page) -> list[object]:
    """A page as msgpack takes it."""
    return [
        page.is_external,
        *_pack_origin(page.origin),
        page.base,
        page.floor,
        page.after,
        page.through,
        page.is_full,
        [
            [e.key.kind, e.key.id, e.seq, e.raw, e.key.node, e.clock]
            if page.is_external
            else [e.key.kind, e.key.id, e.seq, e.raw]
            for e in page.entries
        ],
    ]


def decode_envelope_untrusted(payload: bytes, *, bytes_max: int) -> Envelope:
    """Read a payload.

    Raises:
        DecodeError: It is not a catalog message of a version we know.
    """
    if len(payload) > bytes_max:
        raise DecodeError("catalog-too-large", str(len(payload)))
    if not payload or payload[0] != CATALOG_BYTE:
        raise DecodeError("catalog-not-ours")
    fields = unpack_untrusted(payload[1:])
    take = Fields(checked(fields, list))
    if take.number() != FORMAT_VERSION:
        raise DecodeError("catalog-version")
    sender, sender_id, wall_ms = take.name(), take.node_id(), take.number()
    number = take.number()
    decode = _DECODERS.get(number)
    if decode is None:
        raise DecodeError("catalog-unknown-message", str(number))
    return Envelope(sender, sender_id, wall_ms, decode(take))


def _decode_buckets(take: Fields) -> Buckets:
    hashes = take.hashes()
    if len(hashes) != BUCKETS:
        raise DecodeError("catalog-malformed", "buckets")
    return Buckets(hashes)


def _decode_summaries(take: Fields) -> Summaries:
    buckets = tuple(take.next(bytes))
    if any(bucket >= BUCKETS for bucket in buckets) or len(set(buckets)) < len(buckets):
        raise DecodeError("catalog-malformed", "buckets")
    rows = take.next(list)
    return Summaries(buckets, tuple(_decode_summary(row) for row in rows), take.next(bool))


def _decode_summary(row: Raw) -> Summary:
    take = Fields(checked(row, list))
    return Summary(
        is_external=take.next(bool),
        origin=take.origin(),
        through=take.number(),
        floor=take.number(),
        hash=take.number(8),
        loose=take.number(8),
    )


def _decode_wants(take: Fields) -> Wants:
    return Wants(tuple(_decode_want(row) for row in take.next(list)))


def _decode_want(row: Raw) -> Want:
    take = Fields(checked(row, list))
    return Want(take.next(bool), take.origin(), take.number(), take.optional_number())


def _decode_pages(take: Fields) -> Pages:
    pages = tuple(_decode_page(row) for row in take.next(list))
    return Pages(pages, take.next(bool), take.next(bool))


def _decode_page(row: Raw) -> Page:
    take = Fields(checked(row, list))
    is_external = take.next(bool)
    page = Page(
        is_external=is_external,
        origin=take.origin(),
        base=take.number(),
        floor=take.number(),
        after=take.number(),
        through=take.number(),
        is_full=take.next(bool),
        entries=tuple(_decode_entry(entry, is_external) for entry in take.next(list)),
    )
    if page.after > page.through or any(
        not page.after < entry.seq <= page.through for entry in page.entries
    ):
        raise DecodeError("catalog-malformed", "a sequence outside its page")
    return page


def _decode_entry(row: Raw, is_external: bool) -> Entry:
    take = Fields(checked(row, list))
    kind, record_id, seq = take.name(), take.text(), take.number()
    raw = take.next_or_none(bytes)
    node, clock = (take.text(), take.number()) if is_external else ("", 0)
    if max(len(record_id), len(raw or b""), len(node)) > RECORD_BYTES_MAX:
        raise DecodeError("catalog-malformed", "a record too large")
    body = None if raw is None else decode_body_untrusted(kind, record_id, raw)
    return Entry(RecordKey(node, kind, record_id), seq, raw, body, clock)


def _decode_want_external(take: Fields) -> WantExternal:
    return WantExternal(take.cursor(), take.number())


def _decode_external_page(take: Fields) -> ExternalPage:
    pages = tuple(_decode_page(row) for row in take.next(list))
    if not all(page.is_external for page in pages):
        raise DecodeError("catalog-malformed", "an own page among external ones")
    return ExternalPage(pages, take.cursor(), take.number())


def _decode_contested(take: Fields) -> Contested:
    match take.text():
        case "name":
            return Contested("name", take.name())
        case "id":
            return Contested("id", take.name())
        case other:
            raise DecodeError("catalog-malformed", f"contested {other[:32]!r}")


_DECODERS: Final[dict[int, Callable[[Fields], CatalogMessage]]] = {
    1: lambda take: Compare(take.number(8), take.hashes()),
    2: lambda _: Same(),
    3: _decode_buckets,
    4: _decode_summaries,
    5: _decode_wants,
    6: _decode_pages,
    7: _decode_want_external,
    8: _decode_external_page,
    9: _decode_contested,
}


def _pack_origin(origin: Origin) -> tuple[bytes | str, int]:
    return pack_id(origin.node_id), origin.epoch


def _pack_cursor(cursor: Origin | None) -> list[object] | None:
    return None if cursor is None else list(_pack_origin(cursor))
