"""Catalog records and messages as bytes (msgpack arrays behind the byte 0x80).

Fields have fixed places and unknown trailing elements are ignored, so a newer agent can add some. A
record of a kind, or with a body, that this agent does not understand is carried on unread. Every
length is bounded by the message at hand. A decoder returns a value or raises `DecodeError`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

import msgpack

from gossip.serf import is_believable
from gossip.wire.messages import Coordinate
from svcmesh.catalog.digest import BUCKETS
from svcmesh.catalog.log import Entry, Origin, RecordKey
from svcmesh.catalog.records import (
    RECORD_BYTES_MAX,
    Body,
    CheckRecord,
    Kind,
    NodeId,
    NodeRecord,
    QueryRecord,
    ServiceRecord,
    TaggedAddress,
)
from svcmesh.errors import DecodeError

CATALOG_BYTE: Final = 0x80
"""First byte of every catalog message: outside Serf's types."""

FORMAT_VERSION: Final = 1
NAME_BYTES_MAX: Final = 1024

NUMBER_MAX: Final = 2**63 - 1

EPOCH_MAX: Final = 2**60
"""An epoch above is not one: it leaves room to outrank any that was seen."""

ELEMENTS_MAX: Final = 8192
"""Of one array or map. Deep nests of large ones would cost far more than their bytes."""
U16_BYTES: Final = 2
"""Of ports and weights, which DNS writes as 16 bits."""

FROM_THE_START: Final = NUMBER_MAX
"""As `Want.full_floor`: a full transfer that is to begin, whatever the server's floor."""

KNOWN_IDS_MAX: Final = 4096
"""Node ids whose other form is remembered: each message names two, and there are few."""

# What msgpack hands out is checked here, value by value.
Raw = Any
T = TypeVar("T")


# -- bodies ---------------------------------------------------------------------------------


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
        fields = _unpack(raw)
        if not isinstance(fields, list):
            return None
        take = _Fields(fields)
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
                    given_empty=take.texts_or_none(),
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
                    given_empty=take.texts_or_none(),
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


def _decode_query(take: "_Fields") -> QueryRecord:
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
    take = _Fields(_checked(value, list))
    return TaggedAddress(take.text(), take.number(U16_BYTES))


# -- messages -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compare:
    """Do you have what I have? Answered by `Same` or `Buckets`."""

    fingerprint: int
    settled: tuple[int, ...] = ()
    """Fingerprints that differ from ours with nothing to exchange, as we found out before."""


@dataclass(frozen=True, slots=True)
class Same:
    """The fingerprints are equal."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Fingerprints by bucket, for the receiver to find where we differ."""

    hashes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What its sender has of one origin."""

    is_external: bool
    origin: Origin
    through: int
    floor: int
    hash: int
    """Of an own log's live records."""
    loose: int
    """Hash of what it has past the first gap; 0: nothing."""


@dataclass(frozen=True, slots=True)
class Summaries:
    """All of the sender's summaries in `buckets`; empty `buckets`: an announcement of some.

    An answer covers those of the buckets asked about that its byte budget allows.
    """

    buckets: tuple[int, ...]
    summaries: tuple[Summary, ...]
    is_answer: bool


@dataclass(frozen=True, slots=True)
class Want:
    """Ask for one origin's records above `after`; where the first gap begins, for loose ones."""

    is_external: bool
    origin: Origin
    after: int
    full_floor: int | None
    """Within a full transfer: the floor it began at."""


@dataclass(frozen=True, slots=True)
class Wants:
    wants: tuple[Want, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """All of the sender's records of an origin with `after` < sequence <= `through`."""

    is_external: bool
    origin: Origin
    base: int
    floor: int
    after: int
    through: int
    is_full: bool
    """Part of a transfer from the start, deletes left out: to be built aside."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Pages:
    """Records, as a rumor or as the answer to `Wants`."""

    pages: tuple[Page, ...]
    is_answer: bool
    pass_on: bool


@dataclass(frozen=True, slots=True)
class WantExternal:
    """Ask for the whole external space, from the origin after `cursor` (None: from the start)."""

    cursor: Origin | None
    after: int


@dataclass(frozen=True, slots=True)
class ExternalPage:
    """A part of the whole external space, in the order of origins; `next_cursor` None ends it."""

    pages: tuple[Page, ...]
    next_cursor: Origin | None
    next_after: int


@dataclass(frozen=True, slots=True)
class Contested:
    """Your name (or id) is held by somebody else here."""

    what: Literal["name", "id"]
    holder: str
    """Who: a node id when `what` is "name", a name when it is "id"."""


CatalogMessage = (
    Compare | Same | Buckets | Summaries | Wants | Pages | WantExternal | ExternalPage | Contested
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and who says it. `wall_ms` is the sender's wall clock."""

    sender: str
    sender_id: NodeId
    wall_ms: int
    message: CatalogMessage


def encode_envelope(envelope: Envelope) -> bytes:
    """The whole payload, first byte included."""
    number, fields = _message_fields(envelope.message)
    packed: bytes = msgpack.packb(
        [
            FORMAT_VERSION,
            envelope.sender,
            _pack_id(envelope.sender_id),
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
    fields = _unpack(payload[1:])
    take = _Fields(_checked(fields, list))
    if take.number() != FORMAT_VERSION:
        raise DecodeError("catalog-version")
    sender, sender_id, wall_ms = take.name(), take.node_id(), take.number()
    number = take.number()
    decode = _DECODERS.get(number)
    if decode is None:
        raise DecodeError("catalog-unknown-message", str(number))
    return Envelope(sender, sender_id, wall_ms, decode(take))


def _decode_buckets(take: "_Fields") -> Buckets:
    hashes = take.hashes()
    if len(hashes) != BUCKETS:
        raise DecodeError("catalog-malformed", "buckets")
    return Buckets(hashes)


def _decode_summaries(take: "_Fields") -> Summaries:
    buckets = tuple(take.next(bytes))
    if any(bucket >= BUCKETS for bucket in buckets) or len(set(buckets)) < len(buckets):
        raise DecodeError("catalog-malformed", "buckets")
    rows = take.next(list)
    return Summaries(buckets, tuple(_decode_summary(row) for row in rows), take.next(bool))


def _decode_summary(row: Raw) -> Summary:
    take = _Fields(_checked(row, list))
    return Summary(
        is_external=take.next(bool),
        origin=take.origin(),
        through=take.number(),
        floor=take.number(),
        hash=take.number(8),
        loose=take.number(8),
    )


def _decode_wants(take: "_Fields") -> Wants:
    return Wants(tuple(_decode_want(row) for row in take.next(list)))


def _decode_want(row: Raw) -> Want:
    take = _Fields(_checked(row, list))
    return Want(take.next(bool), take.origin(), take.number(), take.optional_number())


def _decode_pages(take: "_Fields") -> Pages:
    pages = tuple(_decode_page(row) for row in take.next(list))
    return Pages(pages, take.next(bool), take.next(bool))


def _decode_page(row: Raw) -> Page:
    take = _Fields(_checked(row, list))
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
    take = _Fields(_checked(row, list))
    kind, record_id, seq = take.name(), take.text(), take.number()
    raw = take.next_or_none(bytes)
    node, clock = (take.text(), take.number()) if is_external else ("", 0)
    if max(len(record_id), len(raw or b""), len(node)) > RECORD_BYTES_MAX:
        raise DecodeError("catalog-malformed", "a record too large")
    body = None if raw is None else decode_body_untrusted(kind, record_id, raw)
    return Entry(RecordKey(node, kind, record_id), seq, raw, body, clock)


def _decode_want_external(take: "_Fields") -> WantExternal:
    return WantExternal(take.cursor(), take.number())


def _decode_external_page(take: "_Fields") -> ExternalPage:
    pages = tuple(_decode_page(row) for row in take.next(list))
    if not all(page.is_external for page in pages):
        raise DecodeError("catalog-malformed", "an own page among external ones")
    return ExternalPage(pages, take.cursor(), take.number())


def _decode_contested(take: "_Fields") -> Contested:
    match take.text():
        case "name":
            return Contested("name", take.name())
        case "id":
            return Contested("id", take.name())
        case other:
            raise DecodeError("catalog-malformed", f"contested {other[:32]!r}")


_DECODERS: Final[dict[int, Callable[["_Fields"], CatalogMessage]]] = {
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


@lru_cache(maxsize=KNOWN_IDS_MAX)
def _uuid_text(raw: bytes) -> NodeId:
    return NodeId(str(UUID(bytes=raw)))


@lru_cache(maxsize=KNOWN_IDS_MAX)
def _pack_id(node_id: NodeId) -> bytes | str:
    """16 bytes for a canonical UUID, else the text."""
    try:
        parsed = UUID(node_id)
    except ValueError:
        return node_id
    return parsed.bytes if str(parsed) == node_id else node_id


def _pack_origin(origin: Origin) -> tuple[bytes | str, int]:
    return _pack_id(origin.node_id), origin.epoch


def _pack_cursor(cursor: Origin | None) -> list[object] | None:
    return None if cursor is None else list(_pack_origin(cursor))


def _unpack(raw: bytes) -> Raw:
    size = len(raw)
    try:
        return msgpack.unpackb(
            raw,
            raw=False,
            strict_map_key=True,
            # Text that is not UTF-8 is nobody's: it could not be shown.
            unicode_errors="strict",
            max_str_len=size,
            max_bin_len=size,
            max_array_len=ELEMENTS_MAX,
            max_map_len=ELEMENTS_MAX,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise DecodeError("catalog-malformed", type(error).__name__) from error


def _checked(value: Raw, kind: type[T]) -> T:
    if type(value) is not kind:
        raise _unexpected(kind)
    return value


def _unexpected(kind: type[object]) -> DecodeError:
    return DecodeError("catalog-malformed", f"expected {kind.__name__}")


class _Fields:
    """Takes the elements of an array one after the other, each of the type that belongs there."""

    __slots__ = ("_next", "_values")

    def __init__(self, values: list[Raw]) -> None:
        self._values, self._next = values, 0

    def next(self, kind: type[T]) -> T:
        value = self._any()
        if type(value) is not kind:
            raise _unexpected(kind)
        return value

    def next_or_none(self, kind: type[T]) -> T | None:
        value = self._any()
        return None if value is None else _checked(value, kind)

    def number(self, size_bytes: int = 0) -> int:
        """A number from 0; at most 2^63 - 1 unless its size is given."""
        value = self._any()
        if type(value) is not int:
            raise _unexpected(int)
        if value < 0 or value > (NUMBER_MAX if not size_bytes else (1 << 8 * size_bytes) - 1):
            raise DecodeError("catalog-malformed", "a number out of range")
        return value

    def optional_number(self) -> int | None:
        if self._next < len(self._values) and self._values[self._next] is None:
            self._next += 1
            return None
        return self.number()

    def optional_coordinate(self) -> Coordinate | None:
        values = self.next_or_none(list) if self._next < len(self._values) else None
        if values is None:
            return None
        inner = _Fields(values)
        vec = tuple(_checked(part, float) for part in inner.next(list))
        where = Coordinate(vec, inner.next(float), inner.next(float), inner.next(float))
        if not is_believable(where):
            raise DecodeError("catalog-malformed", "a coordinate out of range")
        return where

    def texts_or_none(self) -> tuple[str, ...]:
        values = self.next_or_none(list) or ()
        return tuple(_checked(value, str) for value in values)

    def given_texts(self) -> tuple[str, ...] | None:
        """Texts; nil for texts that were never given."""
        values = self.next_or_none(list)
        return None if values is None else tuple(_checked(value, str) for value in values)

    def given_text_pairs(self) -> tuple[tuple[str, str], ...] | None:
        """Texts by name, by name; nil as above."""
        values = self.next_or_none(dict)
        if values is None:
            return None
        pairs = ((_checked(k, str), _checked(v, str)) for k, v in values.items())
        return tuple(sorted(pairs))

    def text(self) -> str:
        value = self._any()
        if type(value) is not str:
            raise _unexpected(str)
        return value

    def name(self) -> str:
        value = self.text()
        if len(value) > NAME_BYTES_MAX:
            raise DecodeError("catalog-malformed", "a name too long")
        return value

    def node_id(self) -> NodeId:
        value = self._any()
        if type(value) is bytes and len(value) == 16:
            return _uuid_text(value)
        if type(value) is str and 0 < len(value) <= 64:
            return NodeId(value)
        raise DecodeError("catalog-malformed", "expected a node id")

    def origin(self) -> Origin:
        node_id, epoch = self.node_id(), self.number()
        if epoch > EPOCH_MAX:
            raise DecodeError("catalog-malformed", "an epoch out of range")
        return Origin(node_id, epoch)

    def cursor(self) -> Origin | None:
        value = self.next_or_none(list)
        return None if value is None else _Fields(value).origin()

    def hashes(self) -> tuple[int, ...]:
        """64-bit numbers, back to back; nil for none."""
        raw = self.next_or_none(bytes) or b""
        if len(raw) % 8 or len(raw) > 8 * BUCKETS:
            raise DecodeError("catalog-malformed", "hashes")
        return tuple(int.from_bytes(raw[i : i + 8], "big") for i in range(0, len(raw), 8))

    def texts(self) -> tuple[str, ...]:
        return tuple(_checked(value, str) for value in self.next(list))

    def text_map(self) -> dict[str, str]:
        return self.map_of(lambda value: _checked(value, str))

    def map_of(self, read: Callable[[Raw], T]) -> dict[str, T]:
        return {_checked(key, str): read(value) for key, value in self.next(dict).items()}

    def _any(self) -> Raw:
        try:
            value = self._values[self._next]
        except IndexError:
            raise DecodeError("catalog-malformed", "too short") from None
        self._next += 1
        return value
