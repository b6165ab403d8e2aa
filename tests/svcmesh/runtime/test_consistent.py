"""What the consistent store makes of members, and of whoever calls its methods."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip.serf.events import Member, MemberStatus
from gossip.types import Address, Incarnation, MemberName
from svcmesh.catalog import CatalogView
from svcmesh.catalog.records import NodeId
from svcmesh.rpc import RpcError
from svcmesh.runtime.consistent import ConsistentStore

OUR_ID = "00000000-0000-4000-8000-000000000001"
OTHER_ID = "00000000-0000-4000-8000-000000000002"


def server(**tags: str) -> Member:
    return Member(
        name=MemberName("n2"),
        address=Address("127.0.0.9", 8301),
        tags={"role": "consul", "id": OTHER_ID, "svcmesh": "0.1.0", **tags},
        status=MemberStatus.ALIVE,
        incarnation=Incarnation(1),
        vsn=bytes.fromhex("010502020504"),
    )


def made(*members: Member, is_server: bool) -> ConsistentStore:
    view = CatalogView(local_node_id=NodeId(OUR_ID), datacenter="dc1", index_start=1)
    return ConsistentStore(
        OUR_ID, view, lambda: members, is_server=is_server, expects=0, data_dir=None
    )


@pytest.mark.parametrize(
    ("tags", "port", "expects"),
    [
        ({"port": "8333", "expect": "3"}, 8333, 3),
        ({"port": "\u00b2", "expect": "\u00b2"}, 8300, 0),
        ({"port": "9" * 100, "expect": "9" * 100}, 8300, 0),
        ({"port": "0"}, 8300, 0),
        ({"bootstrap": "1"}, 8300, 1),
    ],
)
def test_a_member_may_call_itself_a_server_with_any_tags(
    tags: dict[str, str], port: int, expects: int
) -> None:
    async def scenario() -> None:
        store = made(server(**tags), is_server=False)
        (known,) = store.known_servers()
        assert (known.address, known.expects) == (("127.0.0.9", port), expects)
        await store.close()

    asyncio.run(scenario())


LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
    | st.sampled_from(["default", "stale", "kv.get", "kv.list", "txn.read", "\u00b2", ""])
    | st.sampled_from([b"", b"\x80", b"\xc1"])
)  # fmt: skip
BODIES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=7), max_leaves=12) | (
    st.tuples(
        st.sampled_from(["kv.get", "kv.list", "kv.keys", "kv.at", "kv.changes", "txn.read"]),
        st.lists(LEAVES | st.lists(LEAVES), max_size=3),
        st.sampled_from(["stale", "default"]),
        st.integers(0, 2**64 - 1),
        st.floats(),
        st.integers(),
    ).map(list)
)


@given(st.lists(BODIES, min_size=1, max_size=30))
@example([[], {}, [["x"]], ["kv.list", [5], "stale", 0, 0, 0], ["x", 2**64 - 1]])
@settings(max_examples=25, deadline=None)
def test_whatever_a_method_is_called_with_it_answers_or_refuses(bodies: list[object]) -> None:
    async def scenario() -> None:
        store = made(is_server=True)
        for method in store.methods.calls.values():
            for body in bodies:
                # Nothing has been written: no question has anything to wait for.
                with suppress(RpcError):
                    await method(body, 0.01)
        await store.close()

    asyncio.run(scenario())
