"""Hypothesis strategies for every message."""

from hypothesis import strategies as st

from gossip.types import Incarnation, LamportTime, MemberName, SeqNo
from gossip.wire import messages as m

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
ltimes = st.integers(0, (1 << 64) - 1).map(LamportTime)
blobs = st.binary(max_size=300)
addresses = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
texts = blobs.map(lambda raw: raw.decode("utf-8", "surrogateescape"))
names = st.binary(max_size=255).map(lambda raw: MemberName(raw.decode("utf-8", "surrogateescape")))
given_names = names.filter(bool)
metas = st.binary(max_size=512)
vsns = st.binary(min_size=6, max_size=6)
seq_nos = u32.map(SeqNo)
incarnations = u32.map(Incarnation)

pings = st.builds(m.Ping, seq_nos, names, st.just(b"") | addresses, u16, names)
acks = st.builds(m.Ack, seq_nos, st.none() | blobs)
packet_messages = st.one_of(
    pings,
    st.builds(
        m.IndirectPing,
        seq_nos,
        addresses,
        u16,
        names,
        st.booleans(),
        st.just(b"") | addresses,
        u16,
        names,
    ),
    acks,
    st.builds(m.Nack, seq_nos),
    st.builds(m.Suspect, incarnations, names, names),
    st.builds(m.Dead, incarnations, names, names),
    st.builds(m.Alive, incarnations, given_names, addresses, u16, metas, vsns),
    st.builds(m.UserMessage, blobs),
)

nodes = st.builds(
    m.PushPullNode,
    given_names,
    addresses,
    u16,
    metas,
    incarnations,
    st.integers(0, 3),
    st.just(b"") | vsns,
)
push_pulls = st.builds(
    m.PushPull, st.booleans(), st.lists(nodes, max_size=5).map(tuple), st.binary(max_size=2000)
)
user_messages = st.builds(m.UserMessage, st.binary(max_size=2000))
requests = st.one_of(pings, push_pulls, user_messages)
replies = st.one_of(acks, push_pulls, st.builds(m.ErrorReply, texts))

tag_sets = st.dictionaries(texts, texts, max_size=4)
entries = st.builds(m.UserEventEntry, texts, blobs)
serf_messages = st.one_of(
    st.builds(m.LeaveIntent, ltimes, names, st.booleans()),
    st.builds(m.JoinIntent, ltimes, names),
    st.builds(
        m.SerfState,
        ltimes,
        st.dictionaries(names, ltimes, max_size=5),
        st.lists(names, max_size=5).map(tuple),
        ltimes,
        st.lists(
            st.builds(m.UserEventSlot, ltimes, st.lists(entries, max_size=3).map(tuple)),
            max_size=3,
        ).map(tuple),
        ltimes,
    ),
    st.builds(m.UserEvent, ltimes, texts, blobs, st.booleans()),
    st.builds(
        m.Query,
        ltimes,
        u32,
        addresses,
        u16,
        names,
        st.lists(blobs, max_size=3).map(tuple),
        u32,
        u8,
        st.integers(-(1 << 63), (1 << 63) - 1),
        texts,
        blobs,
    ),
    st.builds(m.QueryResponse, ltimes, u32, names, u32, blobs),
    st.builds(m.ConflictResponse, names, addresses, u16, tag_sets, st.integers(0, 4), vsns),
    st.builds(m.KeyRequest, blobs),
    st.builds(m.KeyResponse, st.booleans(), texts, st.lists(texts, max_size=3).map(tuple), texts),
    st.builds(m.Relay, addresses, u16, names, blobs),
)
