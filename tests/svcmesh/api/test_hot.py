"""Requests that repeat: their answers are the ordinary ones, and never older than the catalog."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from svcmesh.api import HttpServer
from svcmesh.api.framing import Responses, frame_untrusted
from svcmesh.api.hot import CACHE_BYTES_MAX, HotAnswers
from svcmesh.api.listeners import TcpAddress
from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import NodeRecord, ServiceRecord
from svcmesh.catalog.topics import service_topic
from tests.svcmesh.api.fakes import FakeAgent

WEB = b"GET /v1/health/service/web HTTP/1.1\r\nHost: a\r\n\r\n"
UNTIL_HOT = 3
"""The first answer is built, the second is kept and made hot, the third is hot."""


def test_repeated_requests_get_the_same_answer_until_the_catalog_changes() -> None:
    async def scenario(wire: Wire) -> None:
        first, *others = [await wire.ask(WEB) for _ in range(UNTIL_HOT)]
        assert wire.hits == 1
        for other in others:
            assert head_lines(other[0]) == head_lines(first[0])
            assert other[1] == first[1]
        assert b'"web1"' in first[1]
        wire.register("web2")
        assert b'"web2"' in (await wire.ask(WEB))[1]

    run(scenario)


def test_a_change_of_another_service_leaves_an_answer_hot() -> None:
    async def scenario(wire: Wire) -> None:
        for _ in range(UNTIL_HOT):
            await wire.ask(WEB)
        wire.register("db1", name="db")
        await wire.ask(WEB)
        assert wire.hits == 2

    run(scenario)


def test_the_date_goes_on() -> None:
    now_utc = 1_000_000_000.0
    agent = FakeAgent()
    hot = HotAnswers(agent.view, Responses(lambda: now_utc))
    frame = frame_untrusted(WEB)
    assert frame is not None
    hot.put(frame, topics=(), index=0, headers={}, body=b"[]")
    assert b"Date: Sun, 09 Sep 2001 01:46:40 GMT\r\n" in (hot.get(WEB) or b"")
    now_utc += 1
    assert b"Date: Sun, 09 Sep 2001 01:46:41 GMT\r\n" in (hot.get(WEB) or b"")


def test_requests_with_other_headers_are_answered_as_they_ask() -> None:
    zipped = WEB.replace(b"Host: a", b"Host: a\r\nAccept-Encoding: gzip")

    async def scenario(wire: Wire) -> None:
        wire.register("web2")
        wire.register("web3")
        for _ in range(UNTIL_HOT):
            assert b"Content-Encoding: gzip" in (await wire.ask(zipped))[0]
            assert b"Content-Encoding" not in (await wire.ask(WEB))[0]
        assert wire.hits == 2

    run(scenario)


@pytest.mark.parametrize("cut", [1, 20, len(WEB) - 1])
def test_a_request_in_pieces_is_answered_on_a_connection_that_was_hot(cut: int) -> None:
    async def scenario(wire: Wire) -> None:
        whole = [await wire.ask(WEB) for _ in range(UNTIL_HOT)]
        wire.writer.write(WEB[:cut])
        # Read by the server as a piece of its own.
        await wire.other_connection_has_been_served()
        assert (await wire.ask(WEB[cut:]))[1] == whole[0][1]
        assert (await wire.ask(WEB))[1] == whole[0][1]

    run(scenario)


def test_pipelined_requests_are_answered_in_order() -> None:
    nodes = WEB.replace(b"health/service/web", b"catalog/nodes")

    async def scenario(wire: Wire) -> None:
        for _ in range(UNTIL_HOT):
            web, node_list = await wire.ask(WEB), await wire.ask(nodes)
        # The first is not hot and on its way when the second comes.
        wire.writer.write(nodes.replace(b"nodes", b"nodes?a=b") + WEB + nodes)
        bodies = [(await wire.read())[1] for _ in range(3)]
        assert bodies == [node_list[1], web[1], node_list[1]]

    run(scenario)


def test_a_body_between_hot_requests_is_no_request() -> None:
    put = b"PUT /v1/agent/service/register HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(
        WEB
    )

    async def scenario(wire: Wire) -> None:
        for _ in range(UNTIL_HOT):
            await wire.ask(WEB)
        wire.writer.write(put)
        await wire.other_connection_has_been_served()
        # The body looks exactly like a hot request.
        assert (await wire.ask(WEB))[0].startswith(b"HTTP/1.1 400 ")
        assert (await wire.ask(WEB))[0].startswith(b"HTTP/1.1 200 ")

    run(scenario)


def test_hot_answers_are_bounded_and_large_ones_are_not_kept() -> None:
    agent = FakeAgent()
    hot = HotAnswers(agent.view, Responses(lambda: 0.0))
    topics = (service_topic("web"),)
    index = agent.view.topic_index(topics)

    def put(number: int, body: bytes) -> bytes:
        request = WEB.replace(b"web", b"web?%d" % number)
        frame = frame_untrusted(request)
        assert frame is not None
        hot.put(frame, topics=topics, index=index, headers={}, body=body)
        return request

    requests = [put(number, b"x" * 50_000) for number in range(200)]
    kept = [request for request in requests if hot.get(request) is not None]
    assert 0 < 2 * 50_000 * len(kept) <= CACHE_BYTES_MAX
    assert requests[-1] in kept
    assert hot.get(put(1000, b"x" * 1_000_000)) is None


class Wire:
    """One connection of bytes to the API of a fake agent with one instance of `web`."""

    def __init__(
        self, agent: FakeAgent, server: HttpServer, place: tuple[str, int], streams: "Streams"
    ) -> None:
        self.reader, self.writer = streams
        self._agent, self._server, self._place = agent, server, place

    @property
    def hits(self) -> int:
        return self._server.hot_hits

    @property
    def lane_answers(self) -> int:
        return self._server.lane_answers

    def register(self, service_id: str, *, name: str = "web") -> None:
        record = ServiceRecord(id=service_id, name=name, tags=("t" * 600,))
        self._agent.change(ExternalNode("e"), record)

    async def ask(self, data: bytes) -> tuple[bytes, bytes]:
        self.writer.write(data)
        return await self.read()

    async def read(self) -> tuple[bytes, bytes]:
        """The head and the body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        return head, await self.reader.readexactly(length)

    async def second(self) -> "Wire":
        """Another connection to the same server."""
        streams = await asyncio.open_connection(*self._place)
        return Wire(self._agent, self._server, self._place, streams)

    async def other_connection_has_been_served(self) -> None:
        """By then the server has read what was written before."""
        await self.writer.drain()
        reader, writer = await asyncio.open_connection(*self._place)
        writer.write(b"GET /v1/status/peers HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n")
        await reader.read()
        writer.close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def wired(agent: FakeAgent) -> AsyncIterator[Wire]:
    server = HttpServer(agent)
    ((host, port),) = await server.start([TcpAddress("127.0.0.1", 0)])
    streams = await asyncio.open_connection(host, port)
    wire = Wire(agent, server, (host, port), streams)
    try:
        agent.change(ExternalNode("e"), NodeRecord(name="e", address="a", datacenter="dc1"))
        wire.register("web1")
        yield wire
    finally:
        streams[1].close()
        await server.close()


def run(scenario: Callable[[Wire], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), wired(FakeAgent()) as wire:
            await scenario(wire)

    asyncio.run(main())


def head_lines(head: bytes) -> set[bytes]:
    """The lines of a head but for its date."""
    return {line for line in head.split(b"\r\n") if not line.startswith(b"Date:")}
