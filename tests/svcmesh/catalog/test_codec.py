"""Bodies and messages on the wire: round trips, newer agents' fields, and everything else."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import Coordinate
from svcmesh.catalog.bodies import decode_body_untrusted, encode_body
from svcmesh.catalog.codec import decode_envelope_untrusted, encode_envelope
from svcmesh.catalog.digest import BUCKETS
from svcmesh.catalog.fields import EPOCH_MAX, NUMBER_MAX
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
from svcmesh.catalog.records import (
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

BYTES_MAX = 1 << 20

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
maps = st.dictionaries(texts, texts, max_size=3)
ports = st.integers(0, 65535)
numbers = st.integers(0, NUMBER_MAX)
hashes = st.integers(0, 2**64 - 1)
node_ids = st.one_of(
    st.uuids().map(lambda value: NodeId(str(value))),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16).map(NodeId),
)
origins = st.builds(Origin, node_ids, st.integers(0, EPOCH_MAX))
places = st.floats(-60, 60)
heights = st.floats(0, 60)
coordinates = st.builds(
    Coordinate,
    st.lists(places, min_size=8, max_size=8).map(tuple),
    heights,
    places,
    heights,
)
nodes = st.builds(
    NodeRecord,
    name=texts,
    address=texts,
    datacenter=texts,
    tagged_addresses=maps,
    meta=maps,
    id=texts,
    coordinate=st.one_of(st.none(), coordinates),
)
services = st.builds(
    ServiceRecord,
    id=texts,
    name=texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    port=ports,
    address=texts,
    tagged_addresses=st.dictionaries(texts, st.builds(TaggedAddress, texts, ports), max_size=2),
    meta=maps,
    weight_passing=ports,
    weight_warning=ports,
    enable_tag_override=st.booleans(),
)
checks = st.builds(
    CheckRecord,
    id=texts,
    name=texts,
    status=texts,
    output=texts,
    notes=texts,
    service_id=texts,
    service_name=texts,
    service_tags=st.lists(texts, max_size=3).map(tuple),
    type=texts,
    definition=texts,
)
given_texts = st.one_of(st.none(), st.lists(texts, max_size=3).map(tuple))
given_pairs = st.one_of(st.none(), maps.map(lambda given: tuple(sorted(given.items()))))
queries = st.builds(
    QueryRecord,
    id=texts,
    name=texts,
    claim=st.integers(0, 2**63 - 1),
    service=texts,
    session=texts,
    token=texts,
    template_type=texts,
    template_regexp=texts,
    removes_empty_tags=st.booleans(),
    nearest_n=st.integers(0, 2**63 - 1),
    datacenters=given_texts,
    are_targets=st.booleans(),
    only_passing=st.booleans(),
    ignored_checks=given_texts,
    near=texts,
    tags=given_texts,
    node_meta=given_pairs,
    service_meta=given_pairs,
    dns_ttl=texts,
)
bodies = st.one_of(nodes, services, checks, queries)


def key_of(body: Body, node: str) -> RecordKey:
    match body:
        case NodeRecord():
            return RecordKey(node, Kind.NODE, "")
        case ServiceRecord():
            return RecordKey(node, Kind.SERVICE, body.id)
        case CheckRecord():
            return RecordKey(node, Kind.CHECK, body.id)
        case QueryRecord():
            return RecordKey("", Kind.QUERY, body.id)


@st.composite
def pages(draw: st.DrawFn, *, is_external: bool) -> Page:
    seqs = sorted(draw(st.sets(st.integers(1, 2**40), max_size=3)))
    entries: list[Entry] = []
    for seq in seqs:
        body = draw(bodies)
        key = key_of(body, draw(texts) if is_external else "")
        clock = draw(numbers) if is_external else 0
        if draw(st.booleans()):
            entries.append(Entry(key, seq, encode_body(body), body, clock))
        else:
            entries.append(Entry(key, seq, None, None, clock))
    after = draw(st.integers(0, seqs[0] - 1)) if seqs else 0
    return Page(
        is_external=is_external,
        origin=draw(origins),
        base=draw(numbers),
        floor=draw(numbers),
        after=after,
        through=(seqs[-1] if seqs else 0) + draw(st.integers(0, 5)),
        is_full=draw(st.booleans()),
        entries=tuple(entries),
    )


any_page = st.one_of(pages(is_external=False), pages(is_external=True))
messages: st.SearchStrategy[CatalogMessage] = st.one_of(
    st.builds(Compare, hashes, st.lists(hashes, min_size=1, max_size=3).map(tuple)),
    st.just(Same()),
    st.builds(Buckets, st.lists(hashes, min_size=BUCKETS, max_size=BUCKETS).map(tuple)),
    st.builds(
        Summaries,
        st.lists(st.integers(0, BUCKETS - 1), unique=True, max_size=3).map(tuple),
        st.lists(
            st.builds(Summary, st.booleans(), origins, numbers, numbers, hashes, hashes), max_size=3
        ).map(tuple),
        st.booleans(),
    ),
    st.builds(
        Wants,
        st.lists(
            st.builds(Want, st.booleans(), origins, numbers, st.one_of(st.none(), numbers)),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(Pages, st.lists(any_page, max_size=2).map(tuple), st.booleans(), st.booleans()),
    st.builds(WantExternal, st.one_of(st.none(), origins), numbers),
    st.builds(
        ExternalPage,
        st.lists(pages(is_external=True), max_size=2).map(tuple),
        st.one_of(st.none(), origins),
        numbers,
    ),
    st.builds(Contested, st.sampled_from(["name", "id"]), texts),
)
envelopes = st.builds(Envelope, texts, node_ids, numbers, messages)


@given(bodies)
def test_bodies_survive_the_wire(body: Body) -> None:
    key = key_of(body, "")
    assert decode_body_untrusted(key.kind, key.id, encode_body(body)) == body


@given(bodies, st.lists(st.one_of(st.none(), st.integers(0, 9), texts), max_size=3))
def test_fields_that_a_newer_agent_added_to_a_body_are_ignored(
    body: Body, added: list[object]
) -> None:
    key = key_of(body, "")
    raw = msgpack.packb([*msgpack.unpackb(encode_body(body)), *added])
    assert decode_body_untrusted(key.kind, key.id, raw) == body


@given(st.sampled_from([*Kind, "future"]), texts, st.binary(max_size=60))
def test_arbitrary_bytes_are_a_body_or_none(kind: str, id: str, raw: bytes) -> None:
    body = decode_body_untrusted(kind, id, raw)
    assert body is None or key_of(body, "").kind == kind


def test_a_body_under_another_records_id_is_not_understood() -> None:
    raw = encode_body(ServiceRecord(id="a", name="web"))
    assert decode_body_untrusted(Kind.SERVICE, "b", raw) is None


@settings(max_examples=200)
@given(envelopes)
def test_messages_survive_the_wire(envelope: Envelope) -> None:
    payload = encode_envelope(envelope)
    assert payload[0] == 0x80
    assert decode_envelope_untrusted(payload, bytes_max=BYTES_MAX) == envelope


@given(envelopes)
def test_elements_that_a_newer_agent_added_to_a_message_are_ignored(envelope: Envelope) -> None:
    fields = msgpack.unpackb(encode_envelope(envelope)[1:])
    payload = b"\x80" + msgpack.packb([*fields, "new", [1, 2]])
    assert decode_envelope_untrusted(payload, bytes_max=BYTES_MAX) == envelope


@settings(max_examples=300)
@given(envelopes, st.integers(0, 400), st.binary(max_size=6), st.integers(0, 6))
def test_damaged_messages_raise_a_decode_error_or_nothing(
    envelope: Envelope, at: int, inserted: bytes, removed: int
) -> None:
    payload = encode_envelope(envelope)
    at = min(at, len(payload))
    damaged = payload[:at] + inserted + payload[at + removed :]
    try:
        decode_envelope_untrusted(damaged, bytes_max=BYTES_MAX)
    except DecodeError:
        # Any other exception fails the test.
        return


@given(hashes)
def test_a_comparison_with_nothing_settled_survives_the_wire(fingerprint: int) -> None:
    envelope = Envelope("n", NodeId("id"), 0, Compare(fingerprint))
    assert decode_envelope_untrusted(encode_envelope(envelope), bytes_max=BYTES_MAX) == envelope


def test_a_comparison_and_its_answer_are_small() -> None:
    sender = ("a-node-of-usual-length", NodeId("0f4a0e0e-1111-4222-8333-444455556666"))
    for message in (Compare(2**64 - 1), Same()):
        envelope = Envelope(*sender, 1_700_000_000_000, message)
        assert len(encode_envelope(envelope)) <= 64


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "catalog-not-ours"),
        (b"\x7f\x90", "catalog-not-ours"),
        (b"\x80", "catalog-malformed"),
        (b"\x80\x90", "catalog-malformed"),
        (b"\x80\xc1", "catalog-malformed"),
        (b"\x80" + msgpack.packb([2, "n", "id", 0, 2]), "catalog-version"),
        (b"\x80" + msgpack.packb([1, "n", "id", 0, 99]), "catalog-unknown-message"),
        (b"\x80" + msgpack.packb([1, "n", "", 0, 2]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "n", "x" * 65, 0, 2]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "x" * 1025, "id", 0, 2]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "n", "id", -1, 2]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "n", "id", 2**63, 2]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "n", "id", True, 2]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "n", "id", 0, 1, -1]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "n", "id", 0, 3, b"\x00" * 7]), "catalog-malformed"),
        (b"\x80" + msgpack.packb([1, "n", "id", 0, 2]) + b"\x00", "catalog-malformed"),
        (b"\x80" + b"\x90" * BYTES_MAX, "catalog-too-large"),
    ],
)
def test_what_is_no_message_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_envelope_untrusted(payload, bytes_max=BYTES_MAX)
    assert caught.value.reason == reason


def test_a_page_with_a_sequence_outside_its_range_is_refused() -> None:
    origin = Origin(NodeId("id"), 1)
    entry = Entry(RecordKey("", Kind.SERVICE, "x"), 9, None, None)
    page = Page(False, origin, 0, 0, 0, 8, False, (entry,))
    payload = encode_envelope(Envelope("n", NodeId("id"), 0, Pages((page,), False, False)))
    with pytest.raises(DecodeError):
        decode_envelope_untrusted(payload, bytes_max=BYTES_MAX)
