"""What the consistent store makes of the member table."""

import asyncio

import pytest

from gossip.serf.events import Member, MemberStatus
from gossip.types import Address, Incarnation, MemberName
from svcmesh.catalog import CatalogView
from svcmesh.catalog.records import NodeId
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
        view = CatalogView(local_node_id=NodeId(OUR_ID), datacenter="dc1", index_start=1)
        store = ConsistentStore(
            OUR_ID, view, lambda: [server(**tags)], is_server=False, expects=0, data_dir=None
        )
        (known,) = store.known_servers()
        assert (known.address, known.expects) == (("127.0.0.9", port), expects)
        await store.close()

    asyncio.run(scenario())
