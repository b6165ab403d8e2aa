"""When a server founds a group."""

import asyncio
from collections.abc import Sequence

import pytest

from svcmesh.consensus.disk import MemoryDisk
from svcmesh.consensus.group import KnownServer, Presence
from svcmesh.consensus.raft import ServerId
from svcmesh.consensus.store import Store
from svcmesh.rpc import RpcPool
from svcmesh.runtime.consensus import Consensus
from svcmesh.runtime.servers import PeerTransport, ServerGroup
from tests.svcmesh.runtime.test_consensus import until

OWN = ServerId("own")


def known(server: str, *, expects: int) -> KnownServer:
    return KnownServer(ServerId(server), server, ("127.0.0.9", 1), expects, Presence.ALIVE)


async def leads_after_a_look(expects: int, servers: Sequence[KnownServer]) -> bool:
    store, pool = Store(), RpcPool()
    transport = PeerTransport(OWN, pool, lambda _: None)
    consensus = Consensus(OWN, store, MemoryDisk(), transport)
    try:
        await ServerGroup(consensus, store, pool, lambda: servers, expects=expects).look()
        if not consensus.has_state:
            return False
        # The vote for itself has to be on disk.
        await until(lambda: consensus.is_leader)
        return True
    finally:
        await consensus.close()
        await pool.close()


def test_a_server_in_dev_leads_at_once_though_its_tags_do_not_say_that_it_founds() -> None:
    assert asyncio.run(leads_after_a_look(1, [known("own", expects=0)]))


@pytest.mark.parametrize(
    ("expects", "servers"),
    [
        (0, [known("own", expects=0)]),
        (3, [known("own", expects=3)]),
        # Somebody with a lower id is to do it.
        (2, [known("own", expects=2), known("a", expects=2)]),
        # Who cannot be asked may have been in a group before.
        (2, [known("own", expects=2), known("z", expects=2)]),
    ],
)
def test_who_is_not_to_found_a_group_waits(expects: int, servers: list[KnownServer]) -> None:
    assert not asyncio.run(leads_after_a_look(expects, servers))
