"""Locks against a stand-in agent: getting, keeping, losing and leaving them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from random import Random

import pytest

from svcmesh.agentaccess import agent_access
from svcmesh.client import (
    AsyncClient,
    DeadlineExceededError,
    Lock,
    LockConfig,
    LockConflictError,
    LockLostError,
    WatchConfig,
)
from svcmesh.client.lockkeys import MUTEX_FLAGS, Attempt, Kv, MutexKey
from svcmesh.client.transport import Transport
from tests.svcmesh.client.fakes import EAGER, FakeAgent, agent_and_client, run, until


class Clock:
    """Goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def clocked(agent: FakeAgent, clock: Clock) -> AsyncIterator[Lock]:
    """A lock whose clock is ours; its agent is `agent`."""
    transport = Transport(agent_access(agent.address))
    keys = MutexKey(Kv(transport, timeout_s=1.0), "k")
    try:
        yield Lock(transport, keys, LockConfig(), WatchConfig(), wait_s=5.0, timeout_s=1.0,
                   rng=Random(1), clock=clock)  # fmt: skip
    finally:
        await transport.close()


def holder(agent: FakeAgent, key: str = "k") -> str | None:
    session: str | None = agent.keys[key]["Session"]
    return session


def test_a_lock_is_a_key_of_a_session_without_checks_and_leaves_none_behind() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            async with client.lock("k", value=b"me") as lock:
                ((session, about),) = agent.sessions.items()
                assert (about["NodeChecks"], about["TTL"]) == ([], "15s")
                assert (holder(agent), agent.keys["k"]["Flags"]) == (session, MUTEX_FLAGS)
                assert lock.is_held
                assert 13.0 < lock.remaining_s() <= 15.0
            assert not lock.is_held
            assert agent.sessions == {}
            assert holder(agent) is None
            async with client.lock("k", config=LockConfig(removes_key=True)):
                pass
            assert agent.keys == {}

    run(scenario())


def test_the_second_waits_for_the_first_and_has_a_larger_token() -> None:
    async def scenario() -> None:
        async with (
            agent_and_client() as (agent, client),
            AsyncClient(agent.address, config=EAGER) as other,
        ):
            got: list[int] = []

            async def second() -> None:
                async with other.lock("k") as lock:
                    got.append(lock.token)

            async with client.lock("k", config=LockConfig(removes_key=True)) as lock:
                first = lock.token
                waiting = asyncio.create_task(second())
                await until(lambda: any("index=" in each for each in agent.requests))
                assert got == []
            await waiting
            assert got[0] > first

    run(scenario())


def test_the_wait_has_an_end_and_leaves_no_session() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client), client.lock("k"):
            with pytest.raises(DeadlineExceededError):
                async with client.lock("k", wait_s=0.05):
                    pass
            assert len(agent.sessions) == 1

    run(scenario())


def test_a_cancelled_wait_leaves_no_session() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client), client.lock("k"):
            waiting = asyncio.create_task(client.lock("k").__aenter__())
            await until(lambda: len(agent.sessions) == 2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert len(agent.sessions) == 1

    run(scenario())


def test_a_lock_delay_is_waited_out() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.delayed.add("k")
            with pytest.raises(DeadlineExceededError):
                await client.lock("k", wait_s=0.05).__aenter__()
            asyncio.get_running_loop().call_later(0.1, agent.delayed.clear)
            async with client.lock("k", wait_s=5.0) as lock:
                assert lock.is_held

    run(scenario())


@pytest.mark.parametrize("how", ["session", "key"])
def test_a_lock_that_is_taken_away_is_known_to_be_lost(how: str) -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            with pytest.raises(LockLostError):  # noqa: PT012  # raised on leaving
                async with client.lock("k") as lock:
                    if how == "session":
                        agent.end_session(*agent.sessions)
                    else:
                        agent.keys.clear()
                        agent.touch()
                    await lock.lost.wait()
                    with pytest.raises(LockLostError):
                        lock.check()
                    with pytest.raises(LockLostError):
                        _ = lock.token
                    assert lock.remaining_s() == 0

    run(scenario())


def test_time_alone_ends_a_lock_while_the_agent_is_down() -> None:
    async def scenario() -> None:
        agent, clock = FakeAgent(), Clock()
        await agent.start()
        async with clocked(agent, clock) as lock:
            with pytest.raises(LockLostError):  # noqa: PT012  # raised on leaving
                async with lock:
                    await agent.stop()
                    clock.now += 14.0
                    assert 0 < lock.remaining_s() < 1
                    clock.now += 0.9
                    # At once, without a turn of the loop; before the servers' 15 s are over.
                    assert not lock.is_held
                    await lock.lost.wait()

    run(scenario())


def test_a_lock_that_was_got_too_late_is_got_again_with_another_session() -> None:
    async def scenario() -> None:
        agent, clock = FakeAgent(), Clock()
        await agent.start()
        async with clocked(agent, clock) as lock:
            attempt = lock._keys.attempt

            async def slow(session: str) -> Attempt:
                made = await attempt(session)
                if len(agent.requests) < 6:
                    # The answer has been on its way for longer than the session's TTL.
                    clock.now += 15.0
                return made

            lock._keys.attempt = slow  # type: ignore[method-assign]
            async with lock:
                assert lock.is_held
                assert sum("session/create" in each for each in agent.requests) == 2
                # The first one is not left to stand in our own way.
                assert list(agent.sessions) == [holder(agent)]
        await agent.stop()

    run(scenario())


def test_a_release_that_fails_is_tried_again() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            async with client.lock("k"):
                # As while the servers elect a leader.
                agent.refusals["/kv/"] = 500
                asyncio.get_running_loop().call_later(0.1, agent.refusals.clear)
            assert agent.sessions == {}
            assert holder(agent) is None

    run(scenario())


def test_renewals_keep_it_beyond_its_ttl() -> None:
    async def scenario() -> None:
        agent, clock = FakeAgent(), Clock()
        await agent.start()
        async with clocked(agent, clock) as lock, lock:
            for count in range(1, 6):
                clock.now += 6.0
                await until(lambda: sum("renew" in r for r in agent.requests) == count)  # noqa: B023
                await until(lambda: lock.remaining_s() > 14)
            assert lock.is_held
        await agent.stop()

    run(scenario())


def test_an_error_in_the_body_wins_over_the_loss_of_the_lock() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            with pytest.raises(ZeroDivisionError):  # noqa: PT012  # raised on leaving
                async with client.lock("k") as lock:
                    agent.end_session(*agent.sessions)
                    await lock.lost.wait()
                    raise ZeroDivisionError

    run(scenario())


def test_monitoring_gives_up_after_the_failures_that_are_allowed() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            with pytest.raises(LockLostError, match="monitoring failed"):  # noqa: PT012  # raised on leaving
                async with client.lock("k", config=LockConfig(monitor_retries=0)) as lock:
                    agent.refusals["/kv/"] = 500
                    agent.touch()
                    await lock.lost.wait()
                    agent.refusals.clear()

    run(scenario())


def test_a_key_of_something_else_is_left_alone_and_a_lock_is_entered_once() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.write("k", b"data")
            with pytest.raises(LockConflictError):
                await client.lock("k").__aenter__()
            assert agent.keys["k"]["Flags"] == 0
            assert agent.sessions == {}
            lock = client.lock("other")
            async with lock:
                pass
            with pytest.raises(LockLostError):
                await lock.__aenter__()

    run(scenario())


def test_a_semaphore_has_as_many_places_as_it_says_and_cleans_up() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            config = LockConfig(removes_key=True)
            async with (
                client.semaphore("s", 2, config=config) as first,
                client.semaphore("s", 2, config=config) as second,
            ):
                assert first.is_held
                assert second.is_held
                with pytest.raises(DeadlineExceededError):
                    await client.semaphore("s", 2, wait_s=0.05).__aenter__()
                with pytest.raises(LockConflictError):
                    await client.semaphore("s", 3).__aenter__()
            assert agent.keys == {}
            assert agent.sessions == {}

    run(scenario())


def test_a_place_of_a_holder_that_died_is_free() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.write("s/.lock", json.dumps({"Limit": 1, "Holders": {"dead": True}}).encode(),
                        flags=0xE0F69A2BAA414DE0)  # fmt: skip
            async with client.semaphore("s", 1, wait_s=5.0) as place:
                assert place.is_held

    run(scenario())
