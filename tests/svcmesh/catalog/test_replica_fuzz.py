"""Whatever a peer sends, a replica neither raises nor floods nor loses its own records."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from svcmesh.catalog.bodies import encode_body
from svcmesh.catalog.changes import CatalogEffect, SendCatalog
from svcmesh.catalog.codec import encode_envelope
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.digest import BUCKETS
from svcmesh.catalog.fields import NUMBER_MAX
from svcmesh.catalog.log import Entry, Origin, RecordKey
from svcmesh.catalog.messages import (
    FROM_THE_START,
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
from svcmesh.catalog.records import Kind, NodeId
from svcmesh.catalog.replica import Replica
from tests.svcmesh.catalog.replicas import Shown, node_record, service

OURS, PEER, OTHER = NodeId("a" * 8), NodeId("b" * 8), NodeId("c" * 8)
SEQ_MAX = 12

node_ids = st.sampled_from([OURS, PEER, OTHER, NodeId("*"), NodeId("stranger")])
origins = st.builds(Origin, node_ids, st.integers(0, 4))
small = st.integers(0, SEQ_MAX)
numbers = st.one_of(small, st.just(NUMBER_MAX))
hashes = st.sampled_from([0, 1, 2**64 - 1])
bodies = st.one_of(st.none(), st.integers(1, 3).map(lambda port: service("s", port)))


@st.composite
def pages(draw: st.DrawFn, is_external: bool | None = None) -> Page:
    external = draw(st.booleans()) if is_external is None else is_external
    after = draw(small)
    through = draw(st.integers(after, SEQ_MAX))
    entries = []
    for seq in (
        draw(st.lists(st.integers(after + 1, through), max_size=4)) if through > after else ()
    ):
        id, kind = draw(st.sampled_from("stu")), draw(st.sampled_from([Kind.SERVICE, "new"]))
        body = draw(bodies)
        raw = None if body is None else draw(st.sampled_from([encode_body(body), b"\xc1", b""]))
        key = RecordKey("db" if external else "", kind, id)
        entries.append(Entry(key, seq, raw, None, draw(numbers) if external else 0))
    return Page(
        external,
        draw(origins),
        draw(numbers),
        draw(numbers),
        after,
        through,
        draw(st.booleans()),
        tuple(entries),
    )


messages: st.SearchStrategy[CatalogMessage] = st.one_of(
    st.builds(Compare, hashes),
    st.just(Same()),
    st.builds(Buckets, st.lists(hashes, min_size=BUCKETS, max_size=BUCKETS).map(tuple)),
    st.builds(
        Summaries,
        st.lists(st.integers(0, BUCKETS - 1), unique=True, max_size=3).map(tuple),
        st.lists(
            st.builds(Summary, st.booleans(), origins, numbers, numbers, hashes, hashes), max_size=4
        ).map(tuple),
        st.booleans(),
    ),
    st.builds(
        Wants,
        st.lists(
            st.builds(
                Want,
                st.booleans(),
                origins,
                numbers,
                st.sampled_from([None, 0, 3, FROM_THE_START]),
            ),
            max_size=4,
        ).map(tuple),
    ),
    st.builds(Pages, st.lists(pages(), max_size=3).map(tuple), st.booleans(), st.booleans()),
    st.builds(WantExternal, st.one_of(st.none(), origins), numbers),
    st.builds(
        ExternalPage,
        st.lists(pages(is_external=True), max_size=3).map(tuple),
        st.one_of(st.none(), origins),
        numbers,
    ),
    st.builds(Contested, st.sampled_from(["name", "id"]), st.sampled_from([PEER, OURS, "n0"])),
)


def started_replica() -> tuple[Replica, list[CatalogEffect]]:
    config = ReplicaConfig(tombstone_s=3.0, records_per_origin_max=3, external_records_max=3)
    replica = Replica(
        config, name="n0", node_id=OURS, epoch=2, expects_peers=True, now=0.0, rng=Random(1)
    )
    effects = replica.put_own(node_record("n0"), now=0.0)
    effects += replica.put_own(service("own"), now=0.0)
    effects += replica.member_alive("peer", PEER, is_peer=True, now=0.0)
    effects += replica.member_alive("other", OTHER, is_peer=True, now=0.0)
    return replica, effects


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(messages, st.sampled_from(["peer", "other"]), st.sampled_from([0.0, 0.3, 12.0])),
        max_size=25,
    )
)
def test_no_sequence_of_messages_breaks_a_replica(
    script: list[tuple[CatalogMessage, str, float]],
) -> None:
    replica, effects = started_replica()
    shown = Shown()
    now = 0.0
    for message, sender, pause_s in script:
        sender_id = PEER if sender == "peer" else OTHER
        payload = encode_envelope(Envelope(sender, sender_id, 0, message))
        answer = replica.handle_message_untrusted(payload, now=now, wall_ms=0)
        assert sum(isinstance(effect, SendCatalog) for effect in answer) <= 4
        effects += answer
        end = now + pause_s
        while replica.next_deadline_at <= end:
            assert replica.next_deadline_at >= now
            now = replica.next_deadline_at
            effects += replica.handle_timer(now=now, wall_ms=0)
            assert replica.next_deadline_at > now
        now = end
    # `Shown` checks that every change starts from what was reported before.
    for effect in effects:
        shown.apply(effect)
    assert {key.id for key in replica.own_records()} == {"", "own"}
    for node_id in (PEER, OTHER):
        assert len(replica.records(node_id)) <= 3
    assert len(replica.external_records()) <= 3


@settings(max_examples=300, deadline=None)
@given(messages, st.binary(max_size=4), st.randoms(use_true_random=False))
def test_no_damaged_message_breaks_a_replica(
    message: CatalogMessage, garbage: bytes, rng: Random
) -> None:
    replica, _ = started_replica()
    payload = bytearray(encode_envelope(Envelope("peer", PEER, 0, message)))
    position = rng.randrange(len(payload) + 1)
    payload[position : position + rng.randrange(3)] = garbage
    replica.handle_message_untrusted(bytes(payload), now=1.0, wall_ms=0)
    replica.handle_timer(now=5.0, wall_ms=0)
    assert {key.id for key in replica.own_records()} == {"", "own"}
