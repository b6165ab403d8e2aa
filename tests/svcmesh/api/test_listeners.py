"""Where the API listens, and what it lets through, on real sockets."""

import asyncio
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from svcmesh.api import HttpServer
from svcmesh.api.access import AccessRules
from svcmesh.api.answers import ApiError
from svcmesh.api.listeners import TcpAddress, UnixAddress, http_listeners
from svcmesh.config import AgentConfig, load_config
from svcmesh.runtime.tls import TlsMaterial
from tests.svcmesh.api.fakes import FakeAgent, config
from tests.svcmesh.certificates import make_certificate


def tls_config(folder: Path, hcl: str = "") -> AgentConfig:
    files = f'cert_file = "{folder}/agent.pem" key_file = "{folder}/agent.key"'
    return load_config({"dev": True, "hcl": ("ports { https = 8501 }", files, hcl)}, [])


def client_context(folder: Path, name: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_certificate(tmp_path, "ca")
    make_certificate(tmp_path, "agent", issuer="ca")
    make_certificate(tmp_path, "client", issuer="ca")
    make_certificate(tmp_path, "stranger")
    return tmp_path


def serve(
    agent_config: AgentConfig, scenario: Callable[[TlsMaterial, int], Awaitable[None]]
) -> None:
    async def main() -> None:
        tls = TlsMaterial(agent_config)
        server = HttpServer(FakeAgent(config=agent_config), tls=tls.https)
        [(_, port)] = await server.start([TcpAddress("127.0.0.1", 0, is_tls=True)])
        try:
            await scenario(tls, port)
        finally:
            await server.close()

    asyncio.run(main())


async def get_tls(port: int, context: ssl.SSLContext) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://localhost:{port}/v1/status/leader", ssl=context) as answer,
    ):
        return answer.status


def test_https_answers_with_the_configured_certificate(folder: Path) -> None:
    async def scenario(_: TlsMaterial, port: int) -> None:
        assert await get_tls(port, client_context(folder)) == 200

    serve(tls_config(folder), scenario)


@pytest.mark.parametrize("name", ["", "stranger"])
def test_clients_without_a_good_certificate_are_refused_when_they_must_have_one(
    folder: Path, name: str
) -> None:
    async def scenario(_: TlsMaterial, port: int) -> None:
        assert await get_tls(port, client_context(folder, "client")) == 200
        with pytest.raises(aiohttp.ClientError):
            await get_tls(port, client_context(folder, name))

    hcl = f'verify_incoming_https = true ca_file = "{folder}/ca.pem"'
    serve(tls_config(folder, hcl), scenario)


def test_a_unix_socket_is_served_with_its_mode_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    given = load_config(
        {
            "dev": True,
            "hcl": (f'addresses {{ http = "unix://{path}" }} unix_sockets {{ mode = "0700" }}',),
        },
        [],
    )
    assert http_listeners(given) == [UnixAddress(path)]

    async def main() -> None:
        server = HttpServer(FakeAgent(config=given))
        for _ in range(2):
            await server.start(http_listeners(given))
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
                session.get("http://agent/v1/status/leader") as answer,
            ):
                assert answer.status == 200
            await server.close()
            assert not path.exists()

    asyncio.run(main())


def test_a_socket_that_a_crash_left_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"

    async def main(server: HttpServer) -> None:
        await server.start([UnixAddress(path)])
        await server.close()

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    asyncio.run(main(HttpServer(FakeAgent())))
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        asyncio.run(main(HttpServer(FakeAgent())))
    assert path.read_text() == "precious"


def test_closed_endpoints_writes_from_elsewhere_and_headers_are_consuls() -> None:
    given = load_config(
        {
            "dev": True,
            "hcl": (
                'http_config { block_endpoints = ["/v1/agent/mem"] '
                'allow_write_http_from = ["10.0.0.0/8"] response_headers { X-Test = "a b" } }',
            ),
        },
        [],
    )

    async def main() -> None:
        server = HttpServer(FakeAgent(config=given))
        [(host, port)] = await server.start([TcpAddress("127.0.0.1", 0)])

        async def call(method: str, path: str) -> tuple[int, str]:
            url = URL(f"http://{host}:{port}{path}", encoded=True)
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, url) as answer,
            ):
                assert answer.headers["X-Test"] == "a b"
                return answer.status, await answer.text()

        blocked = (403, "Endpoint is blocked by agent configuration")
        assert await call("GET", "/v1/agent/members") == blocked
        assert await call("GET", "/v1/agent/%6dembers") == blocked
        assert (await call("GET", "/v1/catalog/nodes"))[0] == 200
        assert (await call("GET", "/v1/catalog/nodes"))[0] == 200, "also from what is kept"
        assert await call("PUT", "/v1/agent/leave") == (403, "Access is restricted")
        await server.close()

    asyncio.run(main())


FORM = "text/plain;charset=UTF-8"


@pytest.mark.parametrize(
    ("method", "headers", "opened", "may"),
    [
        ("POST", {"Origin": "http://evil.example", "Content-Type": FORM}, False, False),
        ("POST", {"Origin": "null"}, False, False),
        ("POST", {"Origin": "http://evil.example", "Content-Type": FORM}, True, True),
        ("POST", {"Origin": "http://evil", "Content-Type": "application/json"}, False, True),
        ("POST", {"Origin": "http://127.0.0.1:8500", "Content-Type": FORM}, False, True),
        ("POST", {"Content-Type": FORM}, False, True),
        ("PUT", {"Origin": "http://evil.example"}, False, True),
    ],
)
def test_a_post_that_no_browser_asks_for_first_is_not_taken_from_a_strange_page(
    method: str, headers: dict[str, str], opened: bool, may: bool
) -> None:
    shared = 'http_config { response_headers { "Access-Control-Allow-Origin" = "*" } }'
    given = load_config({"dev": True, "hcl": (shared,) if opened else ()}, [])
    rules = AccessRules(given.http_config)
    with nullcontext() if may else pytest.raises(ApiError, match="another origin"):
        rules.check_origin(method, {"Host": "127.0.0.1:8500", **headers})


@pytest.mark.parametrize(
    ("networks", "client", "may"),
    [
        ((), "192.0.2.1", True),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (("10.0.0.0/8",), "192.0.2.1", False),
        (("10.0.0.0/8", "fd00::/8"), "fd00::1%eth0", True),
        (("10.0.0.0/8",), None, False),
    ],
)
def test_writers_are_judged_by_their_networks(
    networks: tuple[str, ...], client: str | None, may: bool
) -> None:
    rules = AccessRules(config(**{"allow-write-http-from": networks}).http_config)
    rules.check("GET", "/v1/x", client)
    with nullcontext() if may else pytest.raises(ApiError, match="Access is restricted"):
        rules.check("PUT", "/v1/x", client)
