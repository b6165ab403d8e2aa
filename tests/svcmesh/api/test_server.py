"""Paths, methods, encodings and connections, whatever the endpoint."""

import asyncio
import gc
import gzip
import json
import socket
from random import Random

import pytest

from svcmesh.api import HttpServer
from svcmesh.api.connections import ConnectionBounds
from svcmesh.api.listeners import TcpAddress
from svcmesh.api.reads import CACHE_BYTES_MAX, AnswerCache, KeptAnswer
from svcmesh.catalog.changes import ExternalNode
from svcmesh.catalog.records import NodeRecord, ServiceRecord
from svcmesh.catalog.topics import NODES
from tests.svcmesh.api.fakes import Client, FakeAgent, run


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/nothing/here", 404, None),
        ("GET", "/v2/kv/a", 404, None),
        ("GET", "/v1/health/", 404, None),
        ("GET", "/v1/agent/", 404, None),
        ("OPTIONS", "/v1/nothing", 404, None),
        ("GET", "/", 301, None),
        ("HEAD", "/", 301, None),
        ("GET", "/ui/", 501, None),
        ("OPTIONS", "/v1/session/create", 200, "OPTIONS,PUT"),
        ("OPTIONS", "/v1/kv/a", 200, "OPTIONS,GET,PUT,DELETE"),
        ("GET", "/v1/session/create", 405, "OPTIONS,PUT"),
        ("GET", "/v1/session/nothing", 404, None),
        ("GET", "/v1/catalog/nodes?a=%zz", 500, None),
        ("POST", "/v1/catalog/nodes", 405, "OPTIONS,GET"),
        ("DELETE", "/v1/agent/members", 405, "OPTIONS,GET"),
        ("PUT", "/v1/health/state/any", 405, "OPTIONS,GET"),
        ("HEAD", "/v1/catalog/nodes", 405, "OPTIONS,GET"),
        ("GET", "/v1/agent/service/register", 405, "OPTIONS,PUT"),
        ("GET", "/v1/agent/leave", 405, "OPTIONS,PUT"),
        ("GET", "/v1/agent/join/10.0.0.1", 405, "OPTIONS,PUT"),
        ("OPTIONS", "/v1/catalog/services", 200, "OPTIONS,GET"),
        ("OPTIONS", "/v1/agent/service/register", 200, "OPTIONS,PUT"),
        ("GET", "/v1/catalog/service/%zz", 400, None),
        ("PUT", "/v1/acl/bootstrap", 401, None),
    ],
)
def test_paths_and_methods_are_checked(
    method: str, path: str, status: int, allow: str | None
) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call(method, path)
        assert (answer.status, answer.headers.get("Allow")) == (status, allow)

    run(scenario)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "/ui/"),
        ("/v1/kv", "/v1/kv/"),
        ("/v1/catalog/node?dc=x", "/v1/catalog/node/?dc=x"),
        ("/v1//a%20%C3%A9", "/v1/a%20%C3%A9"),
        ("/v1/agent/join", "/v1/agent/join/"),
        ("//v1//catalog/nodes?a=b", "/v1/catalog/nodes?a=b"),
        ("/v1/catalog/../catalog/service//", "/v1/catalog/service/"),
    ],
)
def test_an_untidy_path_is_redirected(path: str, location: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get(path)
        assert (answer.status, answer.headers["Location"]) == (301, location)

    run(scenario)


@pytest.mark.parametrize("text", ["a%00b", "a%0D%0AX-Evil:%20b", "%7F", "%C2%A0", "%E2%80%8B"])
def test_a_path_with_unprintable_characters_is_refused(text: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for path in ("/v1/kv/", "/v1/health/service/", "/v1//kv/"):
            answer = await client.get(path + text)
            assert (answer.status, answer.body) == (400, b"")
            assert "X-Evil" not in answer.headers

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("PUT", "/v1/config", "svcmesh is no service mesh: there are no configuration entries"),
        ("GET", "/v1/connect/intentions/x", "svcmesh is no service mesh: there are no intentions"),
        ("GET", "/v1/discovery-chain/web",
         "svcmesh is no service mesh: there are no discovery chains"),
        ("GET", "/v1/agent/connect/ca/roots",
         "svcmesh is no service mesh: there is no certificate authority"),
    ],
)  # fmt: skip
def test_what_svcmesh_lacks_is_refused_in_words(method: str, path: str, what: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call(method, path)
        assert (answer.status, answer.text) == (501, what)

    run(scenario)


@pytest.mark.parametrize("path", ["connect/web", "gateway-services/web"])
def test_lists_of_the_mesh_are_empty(path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert not (await client.get(f"/v1/catalog/{path}")).json
        for kind in ("connect", "ingress"):
            assert (await client.get(f"/v1/health/{kind}/web")).json == []

    run(scenario)


def test_access_control_is_disabled() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/acl/tokens")
        assert (answer.status, answer.text) == (401, "ACL support disabled")

    run(scenario)


def test_pretty_indents_by_four_spaces() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/catalog/datacenters?pretty")
        assert answer.body == b'[\n    "dc1"\n]\n'
        nodes = await client.get("/v1/catalog/nodes?pretty")
        assert nodes.body.startswith(b'[\n    {\n        "ID": ')

    run(scenario)


def test_large_answers_are_compressed_on_request() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        plain = await client.get("/v1/agent/self")
        packed = await client.get("/v1/agent/self", **{"Accept-Encoding": "gzip, deflate"})
        refused = await client.get("/v1/agent/self", **{"Accept-Encoding": "gzip;q=0"})
        small = await client.get("/v1/catalog/datacenters", **{"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body == refused.body
        assert small.body == b'["dc1"]'

    run(scenario)


def test_a_web_page_of_another_origin_cannot_store_a_query() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call(
            "POST",
            "/v1/query",
            data=b'{"Service": {"Service": "web"}}',
            headers={"Origin": "http://evil.example", "Content-Type": "text/plain"},
        )
        assert answer.status == 403
        assert (await client.get("/v1/query")).json == []

    run(scenario)


def test_no_cross_origin_request_is_allowed() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call(
            "OPTIONS",
            "/v1/agent/service/register",
            headers={"Origin": "http://evil", "Access-Control-Request-Method": "PUT"},
        )
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    run(scenario)


def test_a_list_longer_than_a_slice_is_complete_and_in_order() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        count = 2000
        for number in range(count):
            name = f"e{number:05}"
            record = NodeRecord(name=name, address="10.0.0.1", datacenter="dc1")
            agent.change(ExternalNode(name), record)
        answer = await client.get("/v1/catalog/nodes")
        names = [row["Node"] for row in answer.json]
        assert names == [f"e{number:05}" for number in range(count)] + ["n1"]
        pretty = await client.get("/v1/catalog/nodes?pretty")
        assert pretty.text == json.dumps(answer.json, indent=4) + "\n"

    run(scenario)


def test_a_failing_handler_is_a_server_error_and_the_server_lives_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.table = []
        answer = await client.get("/v1/agent/self")
        assert (answer.status, answer.text) == (500, "Internal error")
        assert (await client.get("/v1/catalog/nodes")).status == 200

    run(scenario)
    assert "request failed: GET /v1/agent/self" in caplog.text


def test_many_query_parameters_are_refused() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/catalog/nodes?" + "&".join(["tag=a"] * 300))
        assert answer.status == 400

    run(scenario)


def test_random_requests_are_answered_or_hung_up_on() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        host, port = client.base.removeprefix("http://").split(":")
        rng = Random(7)
        seed = b"PUT /v1/catalog/register?x=%20 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
        for _round in range(150):
            data = bytearray(seed)
            for _flip in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(bytes(data))
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert (await client.get("/v1/catalog/nodes")).status == 200

    run(scenario)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"BREW /v1/agent/self HTTP/1.1", 405), (b"GET /v1/agent/self HTTP/1.1\r\nno colon", 400)],
)
def test_what_is_no_request_is_refused_without_being_repeated_or_logged(
    request_line: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        host, port = client.base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_line + b"\r\nHost: a\r\n\r\n")
        answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        assert body == b"405 Method Not Allowed" if status == 405 else b"400 Bad Request"
        assert b"aiohttp" not in head

    with caplog.at_level("INFO"):
        run(scenario)
    assert not caplog.records


@pytest.mark.parametrize("path", ["/v1/catalog/nodes?ns=team", "/v1/agent/services?ns=team"])
def test_a_namespace_is_refused(path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get(path)).status == 400

    run(scenario)


def test_an_address_in_use_leaves_nothing_listening() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        host, port = client.base.removeprefix("http://").split(":")
        other = HttpServer(agent)
        with pytest.raises(OSError, match="address already in use"):
            await other.start([TcpAddress("127.0.0.1", 0), TcpAddress(host, int(port))])
        await other.close()

    run(scenario)


def test_connections_are_bounded_in_all() -> None:
    bounds = ConnectionBounds(total_max=2)
    assert [bounds.take("127.0.0.1") for _ in range(3)] == [True, True, False]
    bounds.give_back("127.0.0.1")
    assert bounds.take("10.0.0.1")


def test_connections_are_bounded_by_client_but_for_our_own_host() -> None:
    bounds = ConnectionBounds(total_max=100, per_client_max=lambda: 2)
    assert [bounds.take("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert [bounds.take("127.0.0.1") for _ in range(3)] == [True, True, True]
    bounds.give_back("10.0.0.1")
    assert bounds.take("10.0.0.1")


def test_the_bound_of_a_client_can_change_and_zero_is_none() -> None:
    most = 1
    bounds = ConnectionBounds(total_max=5, per_client_max=lambda: most)
    assert [bounds.take("10.0.0.1") for _ in range(2)] == [True, False]
    most = 2
    assert bounds.take("10.0.0.1")
    most = 0
    assert [bounds.take("10.0.0.1") for _ in range(4)] == [True, True, True, False]


def test_a_refused_connection_is_told_so() -> None:
    async def main() -> None:
        server = HttpServer(FakeAgent(), bounds=ConnectionBounds(total_max=1))
        ((host, port),) = await server.start([TcpAddress("127.0.0.1", 0)])
        _, kept = await asyncio.open_connection(host, port)
        reader, writer = await asyncio.open_connection(host, port)
        assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
        writer.close()
        kept.close()
        await server.close()

    asyncio.run(main())


def test_kept_answers_are_bounded() -> None:
    agent = FakeAgent()
    agent.change(ExternalNode("e"), NodeRecord(name="e", address="a", datacenter="dc1"))
    agent.change(ExternalNode("e"), ServiceRecord(id="s", name="s"))
    cache = AnswerCache()
    index = agent.view.topic_index([NODES])
    body = b"x" * 100_000
    for number in range(200):
        cache.put((str(number), False), KeptAnswer((NODES,), index, body, {}, ""))
    kept = [n for n in range(200) if cache.get(agent.view, (str(n), False)) is not None]
    assert 0 < len(kept) * len(body) <= CACHE_BYTES_MAX
    assert kept[-1] == 199


async def exchange(client: Client, *parts: bytes) -> list[bytes]:
    """Send parts of a request that ends its connection; the heads between them, and the answer."""
    host, _, port = client.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    received = []
    for part in parts[:-1]:
        writer.write(part)
        received.append(await reader.readuntil(b"\r\n\r\n"))
    writer.write(parts[-1])
    received.append(await reader.read())
    writer.close()
    return received


def test_a_client_that_waits_for_it_is_told_to_send_the_body() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        head = (
            b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n"
            b"Expect: 100-Continue\r\n\r\n"
        )
        go_on, answer = await exchange(client, head, b"hello")
        assert go_on == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"true")
        assert agent.store.state.keys.get("a").value == b"hello"

    run(scenario)


@pytest.mark.parametrize("expect", [b"100-continue", b"something else"])
def test_no_other_request_is_told_so(expect: bytes) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        line = b"GET /v1/status/peers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        (answer,) = await exchange(client, line + b"Expect: %s\r\n\r\n" % expect)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")

    run(scenario)


@pytest.mark.parametrize(
    "target",
    [
        b"http://any.host:8500/v1/kv/%C3%A9",
        b"HTTP://h/v1/kv/%C3%A9",
        "/v1/kv/\u00e9".encode(),
        b"/v1/kv/%C3%A9?filter=" + b"a" * 60_000,
    ],
)
def test_targets_of_a_request_in_their_odder_forms(target: bytes) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await client.put("/v1/kv/%C3%A9", data=b"v")
        head = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target
        (answer,) = await exchange(client, head)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"Key":"\xc3\xa9"' in answer

    run(scenario)


@pytest.mark.parametrize("turns", range(6))
def test_who_arrives_while_the_server_closes_is_hung_up_on(
    turns: int, recwarn: pytest.WarningsRecorder
) -> None:
    gc.collect()
    recwarn.clear()

    async def main() -> None:
        agent = FakeAgent()
        server = HttpServer(agent)
        (to,) = await server.start([TcpAddress("127.0.0.1", 0)])
        with socket.create_connection(to, timeout=60):
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.close()
        await agent.close()

    asyncio.run(main())
    gc.collect()
    assert not recwarn.list
