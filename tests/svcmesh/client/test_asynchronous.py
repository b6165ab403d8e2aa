"""The asyncio client against a stand-in agent on loopback, with pauses that are next to nothing."""

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from svcmesh.client import (
    AgentUnreachableError,
    AsyncClient,
    ClientClosedError,
    DeadlineExceededError,
    HealthStatus,
    Nearest,
    NoInstanceError,
    PreparedQuery,
    Registration,
    RequestRefusedError,
    ServiceQuery,
)
from tests.svcmesh.client.fakes import EAGER, FakeAgent, agent_and_client, run, until

WEB = Registration("web", port=80, ttl_s=1.0)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


# -- asking -------------------------------------------------------------------------------------


def test_a_prepared_query_is_executed() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.put("web-1")
            agent.put("web-2")
            outcome = await client.execute("web")
            assert [found.id for found in outcome.instances] == ["web-1", "web-2"]
            assert (outcome.service, outcome.datacenter, outcome.failovers) == ("web", "dc1", 0)
            query = PreparedQuery("elsewhere", limit=1, near="_agent", datacenter="dc1")
            outcome = await client.execute(query)
            assert [found.id for found in outcome.instances] == ["web-1"]
            assert (outcome.datacenter, outcome.failovers) == ("dc2", 2)
            assert agent.requests[-1] == (
                "GET /v1/query/elsewhere/execute?limit=1&near=_agent&dc=dc1"
            )
            with pytest.raises(RequestRefusedError) as caught:
                await client.execute("nope")
            assert (caught.value.status, caught.value.is_final) == (404, True)

    run(scenario())


def test_services_and_instances_are_read() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.put("web-1", Tags=["a"])
            assert await client.services() == {"web": ("a",)}
            (found,) = await client.instances("web")
            assert (found.id, found.authority) == ("web-1", "127.0.0.9:80")

    run(scenario())


def test_without_an_agent_a_call_fails_with_the_reason() -> None:
    async def scenario() -> None:
        async with AsyncClient(f"127.0.0.1:{unused_port()}", config=EAGER) as client:
            with pytest.raises(AgentUnreachableError) as raised:
                await client.services()
            assert isinstance(raised.value.__cause__, OSError)

    run(scenario())


def test_a_silent_agent_costs_no_more_than_the_deadline() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            async with AsyncClient(address, config=EAGER) as client:
                with pytest.raises(DeadlineExceededError):
                    await client.services(timeout_s=0.05)

    run(scenario())


def test_a_refusal_has_its_status_and_text() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.refusals["/health/"] = 403
            with pytest.raises(RequestRefusedError) as raised:
                await client.instances("web")
            assert (raised.value.status, raised.value.text) == (403, "refused")

    run(scenario())


# -- watching -----------------------------------------------------------------------------------


def test_a_watch_gives_what_is_there_and_every_change_and_nothing_else() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            watch = client.watch("web")
            assert await anext(watch) == ()
            agent.put("db-1", "db")
            agent.touch()
            following = asyncio.create_task(anext(watch))
            await asyncio.sleep(0.02)
            assert not following.done()
            agent.put("web-1")
            assert [one.id for one in await following] == ["web-1"]
            agent.remove("web-1")
            assert await anext(watch) == ()

    run(scenario())


def test_a_slow_reader_gets_the_latest_state_only() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            watch = client.watch("web")
            await anext(watch)
            for n in range(5):
                agent.put(f"web-{n}")
            assert len(await anext(watch)) == 5

    run(scenario())


def test_a_watch_outlives_its_agent() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.put("web-1")
            watch = client.watch("web")
            await anext(watch)
            following = asyncio.create_task(anext(watch))
            await agent.stop()
            await until(lambda: watch.failure is not None)
            agent.forget()
            agent.put("web-2")
            await agent.start()
            assert [one.id for one in await following] == ["web-2"]
            assert watch.failure is None

    run(scenario())


def test_an_agent_that_is_not_ready_is_asked_again_and_a_wrong_question_is_not() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            watch = client.watch("web")
            agent.refusals["/health/"] = 500
            following = asyncio.create_task(anext(watch))
            await until(lambda: len(agent.requests) > 2)
            agent.refusals["/health/"] = 400
            with pytest.raises(RequestRefusedError):
                await following

    run(scenario())


def test_a_watch_may_be_cancelled_and_resumed() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            watch = client.watch("web")
            await anext(watch)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(watch)
            agent.put("web-1")
            assert len(await anext(watch)) == 1

    run(scenario())


def test_closing_the_client_ends_its_iterators() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            seen = []

            async def follow() -> None:
                seen.extend([instances async for instances in client.watch("web")])

            following = asyncio.create_task(follow())
            await until(lambda: len(agent.requests) == 2)
            await client.close()
            await following
            assert seen == [()]
            with pytest.raises(ClientClosedError):
                await client.services()

    run(scenario())


def test_the_query_goes_to_the_agent_with_the_index() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            watch = client.watch(ServiceQuery("a/b", tags=("x",)))
            await anext(watch)
            agent.put("1", "a/b")
            assert agent.requests == ["GET /v1/health/service/a%2Fb?tag=x"]
            following = asyncio.create_task(anext(watch))
            await until(lambda: len(agent.requests) >= 2)
            assert agent.requests[1] == "GET /v1/health/service/a%2Fb?tag=x&index=100&wait=20s"
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    run(scenario())


# -- registering --------------------------------------------------------------------------------


def test_a_service_is_registered_as_long_as_the_context_lasts() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            async with client.register(WEB) as registration:
                assert registration.is_registered
                assert agent.statuses == {"service:web-80": "passing"}
            assert agent.services == {}

    run(scenario())


def test_signs_of_life_go_out_and_carry_the_status() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client), client.register(WEB) as registration:
            await registration.set_status(HealthStatus.WARNING, "slow")
            await until(lambda: agent.statuses["service:web-80"] == "warning")
            signs = [one for one in agent.requests if "/check/update/" in one]
            await until(lambda: sum("/check/update/" in r for r in agent.requests) > len(signs) + 1)

    run(scenario())


def test_an_agent_that_comes_back_without_the_service_gets_it_again() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client), client.register(WEB) as registration:
            await registration.set_status(HealthStatus.WARNING, "slow")
            await until(lambda: agent.statuses["service:web-80"] == "warning")
            await agent.stop()
            agent.forget()
            await until(lambda: registration.failure is not None)
            await agent.start()
            await until(lambda: "web-80" in agent.services)
            assert agent.statuses["service:web-80"] == "warning"
            assert registration.failure is None

    run(scenario())


def test_without_a_ttl_it_is_seen_to_that_the_agent_remembers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("svcmesh.client.registering.SIGN_S_MAX", 0.02)

    async def scenario() -> None:
        registration = Registration("web", ttl_s=None)
        async with agent_and_client() as (agent, client), client.register(registration) as kept:
            assert agent.statuses == {}
            with pytest.raises(ValueError, match="without a TTL"):
                await kept.set_status(HealthStatus.PASSING)
            agent.forget()
            await until(lambda: "web" in agent.services)

    run(scenario())


def test_without_an_agent_registering_fails_or_waits_as_asked() -> None:
    async def scenario() -> None:
        agent = FakeAgent()
        agent.port = unused_port()
        async with AsyncClient(agent.address, config=EAGER) as client:
            with pytest.raises(AgentUnreachableError):
                async with client.register(WEB):
                    raise AssertionError("not entered")
            async with client.register(WEB, waits=False) as registration:
                assert not registration.is_registered
                await agent.start()
                await until(lambda: registration.is_registered)
            assert agent.services == {}
            await agent.stop()

    run(scenario())


def test_leaving_while_the_agent_is_down_keeps_the_programs_own_error() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):

            async def program() -> None:
                async with client.register(WEB):
                    await agent.stop()
                    raise KeyError("mine")

            with pytest.raises(KeyError, match="mine"):
                await program()

    run(scenario())


# -- picking ------------------------------------------------------------------------------------


def test_a_picker_follows_the_service() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.put("web-1")
            async with client.picker("web") as picker:
                with picker.use() as endpoint:
                    assert endpoint.id == "web-1"
                assert not picker.freshness.is_stale
                agent.put("web-2", port=81)
                await until(lambda: len(picker.instances) == 2)
                agent.remove("web-1")
                await until(lambda: [one.id for one in picker.instances] == ["web-2"])

    run(scenario())


def test_while_the_agent_is_down_the_last_instances_are_served_and_marked_stale() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.put("web-1")
            async with client.picker("web") as picker:
                as_of_utc = picker.freshness.as_of_utc
                await agent.stop()
                await until(lambda: picker.freshness.is_stale)
                assert picker.pick().id == "web-1"
                assert picker.freshness.as_of_utc == as_of_utc
                assert isinstance(picker.freshness.failure, AgentUnreachableError)
                await agent.start()
                await until(lambda: not picker.freshness.is_stale)

    run(scenario())


def test_a_process_can_start_while_the_agent_is_down(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = replace(EAGER, cache_dir=tmp_path)
        async with agent_and_client(config) as (agent, client):
            agent.put("web-1")
            async with client.picker("web"):
                await until(lambda: list(tmp_path.glob("web-*.json")))
            await agent.stop()
            async with client.picker("web") as picker:
                assert picker.pick().id == "web-1"
                assert picker.freshness.is_stale
                assert picker.freshness.as_of_utc is not None
                agent.put("web-2")
                await agent.start()
                await until(lambda: len(picker.instances) == 2)

    run(scenario())


def test_without_anything_to_go_by_entering_a_picker_has_a_deadline() -> None:
    async def scenario() -> None:
        async with AsyncClient(f"127.0.0.1:{unused_port()}", config=EAGER) as client:
            with pytest.raises(DeadlineExceededError) as raised:
                async with client.picker("web", timeout_s=0.05):
                    raise AssertionError("not entered")
            assert isinstance(raised.value.__cause__, AgentUnreachableError)
            async with client.picker("web", waits=False) as picker:
                with pytest.raises(NoInstanceError):
                    picker.pick()

    run(scenario())


def test_a_question_that_is_refused_is_told_on_entering() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.refusals["/health/"] = 400
            with pytest.raises(RequestRefusedError):
                async with client.picker("web"):
                    raise AssertionError("not entered")

    run(scenario())


def test_a_picker_survives_a_refusal_that_comes_later() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.put("web-1")
            async with client.picker("web") as picker:
                agent.refusals["/health/"] = 403
                agent.touch()
                await until(lambda: isinstance(picker.freshness.failure, RequestRefusedError))
                assert picker.pick().id == "web-1"
                del agent.refusals["/health/"]
                agent.put("web-2", port=81)
                await until(lambda: not picker.freshness.is_stale and len(picker.instances) == 2)

    run(scenario())


def test_the_nearest_goes_by_the_coordinates_of_the_nodes() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            for name, x in (("n1", 0.0), ("n2", 0.050), ("n3", 0.010)):
                coord = {"Vec": [x], "Height": 0.0, "Adjustment": 0.0}
                agent.coordinates.append({"Node": name, "Coord": coord})
            agent.put("far", Node="n2")
            agent.put("near", Node="n3", port=81)
            async with client.picker("web", Nearest()) as picker:
                await until(lambda: {picker.pick().id for _ in range(20)} == {"near"})

    run(scenario())


def test_the_nearest_is_on_our_own_node_when_there_are_no_coordinates() -> None:
    async def scenario() -> None:
        async with agent_and_client() as (agent, client):
            agent.refusals["/coordinate/"] = 501
            agent.put("other", Node="n2")
            agent.put("own", Node="n1", port=81)
            async with client.picker("web", Nearest()) as picker:
                await until(lambda: {picker.pick().id for _ in range(20)} == {"own"})

    run(scenario())
