"""The fast lane for keys says what the ordinary way says, and reads nothing before it is fresh."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError
from tests.svcmesh.api.fakes import FakeAgent, config
from tests.svcmesh.api.test_hot import Wire, head_lines, wired

GET = b"GET /v1/kv/a HTTP/1.1\r\nHost: a\r\n\r\n"


def put(value: bytes, key: bytes = b"a") -> bytes:
    return b"PUT /v1/kv/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (
        key,
        len(value),
        value,
    )


def run(scenario: Callable[[FakeAgent, Wire], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        agent = FakeAgent()
        async with asyncio.timeout(60), wired(agent) as wire:
            await scenario(agent, wire)

    asyncio.run(main())


async def ask_both_ways(agent: FakeAgent, wire: Wire, request: bytes) -> tuple[bytes, bytes]:
    """The answer of the ordinary way, after that of the lane was found to be the same."""
    agent.store.is_direct = False
    slow = await wire.ask(request)
    agent.store.is_direct = True
    before = wire.lane_answers
    fast = await wire.ask(request)
    assert wire.lane_answers == before + 1
    assert head_lines(fast[0]) == head_lines(slow[0])
    assert fast[1] == slow[1]
    return slow


@pytest.mark.parametrize("value", [b"hello", b"", b"\x00\xff\r\n\r\n", b"x" * 10_000])
def test_it_answers_as_the_ordinary_way(value: bytes) -> None:
    async def scenario(agent: FakeAgent, wire: Wire) -> None:
        assert (await ask_both_ways(agent, wire, put(value)))[1] == b"true"
        entry = agent.store.state.keys.get("a")
        assert entry is not None
        assert entry.value == value
        await ask_both_ways(agent, wire, GET)

    run(scenario)


def test_a_failed_write_is_answered_as_by_the_ordinary_way() -> None:
    async def scenario(agent: FakeAgent, wire: Wire) -> None:
        await wire.ask(put(b"x"))
        agent.store.failure = OutcomeUnknownError("leadership was lost")
        head, body = await ask_both_ways(agent, wire, put(b"y"))
        assert head.startswith(b"HTTP/1.1 500 ")
        assert body == b"leadership was lost"

    run(scenario)


@pytest.mark.parametrize("request_", [GET, put(b"y")])
def test_without_a_leader_the_ordinary_way_says_so(request_: bytes) -> None:
    async def scenario(agent: FakeAgent, wire: Wire) -> None:
        await wire.ask(put(b"x"))
        agent.store.failure = NoLeaderError()
        head, body = await wire.ask(request_)
        assert head.startswith(b"HTTP/1.1 500 ")
        assert body == b"No cluster leader"
        assert wire.lane_answers == 0
        agent.store.failure = None
        await wire.ask(GET)
        assert wire.lane_answers == 1

    run(scenario)


def test_a_read_answers_what_is_there_when_it_is_fresh_and_not_when_it_was_asked() -> None:
    async def scenario(agent: FakeAgent, wire: Wire) -> None:
        await wire.ask(put(b"old"))
        agent.store.held = []
        wire.writer.write(GET)
        await wire.other_connection_has_been_served()
        (fresh,) = agent.store.held
        await agent.store.write_key("a", b"new")
        agent.store.held = None
        fresh()
        assert b'"bmV3"' in (await wire.read())[1]

    run(scenario)


def test_what_comes_while_an_answer_is_awaited_is_answered_after_it_and_in_order() -> None:
    async def scenario(agent: FakeAgent, wire: Wire) -> None:
        await wire.ask(put(b"x"))
        agent.store.held = []
        wire.writer.write(GET)
        await wire.other_connection_has_been_served()
        (fresh,) = agent.store.held
        wire.writer.write(put(b"y") + GET)
        wire.writer.write(b"GET /v1/status/peers HTTP/1.1\r\nHost: a\r\n\r\n")
        await wire.other_connection_has_been_served()
        agent.store.held = None
        fresh()
        bodies = [(await wire.read())[1] for _ in range(4)]
        assert b'"eA=="' in bodies[0]
        assert bodies[1] == b"true"
        assert b'"eQ=="' in bodies[2]
        assert bodies[3].startswith(b"[")

    run(scenario)


def test_a_body_that_comes_later_takes_the_lane_too() -> None:
    async def scenario(agent: FakeAgent, wire: Wire) -> None:
        for value in (b"first", b"second"):
            request = put(value)
            wire.writer.write(request[:-3])
            await wire.other_connection_has_been_served()
            wire.writer.write(request[-3:])
            assert (await wire.read())[1] == b"true"
            entry = agent.store.state.keys.get("a")
            assert entry is not None
            assert entry.value == value
        assert wire.lane_answers == 1

    run(scenario)


@pytest.mark.parametrize(
    "request_",
    [
        GET.replace(b"/a ", b"/a?raw "),
        GET.replace(b"/a ", b"/a?consistent "),
        GET.replace(b"/a ", b"/a?stale "),
        GET.replace(b"/a ", b"/b/../a "),
        GET.replace(b"/a ", b"//a "),
        GET.replace(b"/a ", b"/%61 "),
        GET.replace(b"/a ", b"/ "),
        GET.replace(b"/a ", b"/missing "),
        GET.replace(b"Host: a", b"Host: b"),
        put(b"x").replace(b"/a ", b"/a?cas=0 "),
        put(b"x").replace(b"/a ", b"/a?acquire=s "),
        put(b"x", key=b""),
        put(b"x" * 70_000),
    ],
)
def test_other_requests_take_the_ordinary_way(request_: bytes) -> None:
    async def scenario(_: FakeAgent, wire: Wire) -> None:
        await wire.ask(put(b"x"))
        await wire.ask(request_)
        assert wire.lane_answers == 0

    run(scenario)


def test_a_client_that_hangs_up_does_no_harm() -> None:
    async def scenario(agent: FakeAgent, wire: Wire) -> None:
        await wire.ask(put(b"x"))
        agent.store.held = []
        wire.writer.write(put(b"y"))
        await wire.other_connection_has_been_served()
        wire.writer.transport.abort()
        for _ in range(10):
            await asyncio.sleep(0)
        (apply,) = agent.store.held
        apply()
        entry = agent.store.state.keys.get("a")
        assert entry is not None
        assert entry.value == b"y"

    run(scenario)


def test_what_the_operator_restricts_is_restricted_here_too() -> None:
    async def main() -> None:
        agent = FakeAgent(config=config(hcl=('http_config { block_endpoints = ["/v1/kv"] }',)))
        async with asyncio.timeout(60), wired(agent) as wire:
            for _ in range(2):
                assert (await wire.ask(put(b"x")))[0].startswith(b"HTTP/1.1 403 ")

    asyncio.run(main())
