"""What operators do to a group of three servers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from svcmesh.consensus.group import KnownServer, Presence
from svcmesh.consensus.service import ReadMode, StoreError
from svcmesh.consensus.store import Store
from svcmesh.rpc import RpcPool
from svcmesh.runtime.operating import GroupOperator
from svcmesh.runtime.servers import ServerGroup
from svcmesh.runtime.store import StoreService
from tests.svcmesh.runtime.test_consensus import IDS, Group, group, until

PRESENCE = {IDS[0]: Presence.ALIVE, IDS[1]: Presence.ALIVE, IDS[2]: Presence.FAILED}


def known_servers() -> list[KnownServer]:
    return [
        KnownServer(id_, f"n-{id_}", (f"127.0.0.{number}", 8300), 0, PRESENCE[id_])
        for number, id_ in enumerate(IDS)
    ]


@asynccontextmanager
async def operating() -> AsyncIterator[tuple[Group, GroupOperator]]:
    """At the leader of three."""
    async with group(None) as servers:
        first = await servers.grow()
        store, pool = Store(), RpcPool()
        service = StoreService(pool, list, consensus=first, store=store, rng=Random(1))
        looked_after = ServerGroup(first, store, pool, known_servers, expects=3)
        yield servers, GroupOperator(service, looked_after, known_servers)
        await pool.close()


def run(scenario: Callable[[Group, GroupOperator], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), operating() as (servers, operator):
            await scenario(servers, operator)

    asyncio.run(main())


def test_the_configuration_names_servers_as_gossip_knows_them() -> None:
    async def scenario(_: Group, operator: GroupOperator) -> None:
        found = await operator.configuration(ReadMode.DEFAULT)
        assert [(s["id"], s["name"], s["address"]) for s in found["servers"]] == [
            (id_, f"n-{id_}", f"127.0.0.{number}:8300") for number, id_ in enumerate(IDS)
        ]
        assert [s["id"] for s in found["servers"] if s["is_leader"]] == [IDS[0]]

    run(scenario)


def test_a_server_that_failed_is_ill_and_the_tolerance_is_gone() -> None:
    async def scenario(_: Group, operator: GroupOperator) -> None:
        while True:
            found = await operator.health()
            # On a busy machine the answer of another may be late now and then.
            if [s["is_healthy"] for s in found["servers"]] == [True, True, False]:
                break
            await asyncio.sleep(0.01)
        assert (found["is_healthy"], found["tolerance"]) == (False, 0)

    run(scenario)


@pytest.mark.parametrize(("kind", "value"), [("id", IDS[2]), ("address", "127.0.0.2:8300")])
def test_a_removed_server_is_out_when_that_is_answered(kind: str, value: str) -> None:
    async def scenario(servers: Group, operator: GroupOperator) -> None:
        await operator.remove(kind, value)
        leader = await servers.leader()
        assert set(leader.raft.members.voters) == {IDS[0], IDS[1]}
        assert leader.raft.log.members_index <= leader.raft.log.commit
        with pytest.raises(StoreError, match=f'{kind} "{value}" was not found in the Raft conf'):
            await operator.remove(kind, value)

    run(scenario)


def test_leadership_goes_to_whom_it_is_given_and_to_nobody_who_is_none() -> None:
    async def scenario(servers: Group, operator: GroupOperator) -> None:
        for wrong in ("nobody", IDS[0]):
            with pytest.raises(StoreError):
                await operator.transfer(wrong)
        assert await operator.transfer(IDS[2])
        await until(lambda: servers.network.servers[IDS[2]].is_leader)

    run(scenario)


def test_leadership_goes_to_one_that_is_alive_when_nobody_is_named() -> None:
    async def scenario(servers: Group, operator: GroupOperator) -> None:
        assert await operator.transfer("")
        await until(lambda: servers.network.servers[IDS[1]].is_leader)

    run(scenario)


def test_a_question_of_no_form_is_refused() -> None:
    async def scenario(_: Group, operator: GroupOperator) -> None:
        for body in (None, ["remove"], ["nothing", [], 0], ["remove", ["id"], 0]):
            with pytest.raises(Exception, match=r"expected|unknown operation"):
                await operator.handle(body, 1.0)

    run(scenario)
