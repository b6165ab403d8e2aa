"""Probes against small servers on loopback, with Consul's recorded outputs."""

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from svcmesh.checks.definition import (
    CheckDefinition,
    GrpcProbe,
    HttpProbe,
    Probe,
    ScriptProbe,
    TcpProbe,
    UdpProbe,
)
from svcmesh.checks.probes.dialing import Dialer
from svcmesh.checks.runner import run_probe
from svcmesh.checks.table import ProbeResult

Answer = Callable[[bytes], bytes]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario
            # The servers' side ends too.
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(main())


async def probe(
    source: Probe, *, timeout_s: float = 5.0, output_bytes_max: int = 4096
) -> ProbeResult:
    dialer = Dialer()
    try:
        definition = CheckDefinition(id="c", name="c", source=source, timeout_s=timeout_s)
        return await run_probe(definition, dialer, output_bytes_max=output_bytes_max)
    finally:
        dialer.close()


@asynccontextmanager
async def serving(
    answer: Answer, *, tls: ssl.SSLContext | None = None, until: bytes = b"\r\n\r\n"
) -> AsyncIterator[int]:
    """A server that answers what comes up to an empty line, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(until)
            writer.write(answer(request))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def unused_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


# -- HTTP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "output"),
    [
        (http("200 OK", b"all good\n"), "passing", "200 OK Output: all good\n"),
        (http("204 No Content"), "passing", "204 No Content Output: "),
        (http("299 Strange Thing"), "passing", "299 Strange Thing Output: "),
        (http("429 Too Many Requests", b"slow"), "warning", "429 Too Many Requests Output: slow"),
        (http("404 Not Found", b"no"), "critical", "404 Not Found Output: no"),
        (http("304 Not Modified"), "critical", "304 Not Modified Output: "),
        (http("500 Oh", b"\xff\xfeok"), "critical", "500 Oh Output: \ufffd\ufffdok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", "passing", "200 OK Output: until the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            "passing",
            "200 OK Output: abcde",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + http("200 OK", b"x"), "passing", "200 OK Output: x"),
    ],
)
def test_an_http_check_goes_by_the_status_code(answer: bytes, status: str, output: str) -> None:
    async def scenario() -> None:
        async with serving(lambda _: answer) as port:
            url = f"http://127.0.0.1:{port}/health"
            result = await probe(HttpProbe(url))
            assert (result.status, result.output) == (status, f"HTTP GET {url}: {output}")

    run(scenario())


def test_the_request_is_what_was_asked_for() -> None:
    async def scenario() -> None:
        seen: list[bytes] = []

        def answer(request: bytes) -> bytes:
            seen.append(request)
            return http("200 OK")

        async with serving(answer) as port:
            header = (("X-Probe", ("yes", "no")), ("Host", ("web.example",)))
            await probe(HttpProbe(f"http://u:p@127.0.0.1:{port}/a?b=c", "PUT", header, "hello"))
            lines = seen[0].decode().split("\r\n")
            assert lines[0] == "PUT /a?b=c HTTP/1.1"
            assert {"X-Probe: yes", "X-Probe: no", "Host: web.example"} <= set(lines)
            assert {"Content-Length: 5", "Authorization: Basic dTpw"} <= set(lines)
            assert "User-Agent: Consul Health Check" in lines
            assert sum(line.startswith("Host") for line in lines) == 1

    run(scenario())


@pytest.mark.parametrize(
    ("probe_of", "output"),
    [
        # Consul's words.
        (HttpProbe("not a url"), 'Get "not a url": unsupported protocol scheme ""'),
        (
            HttpProbe("ftp://127.0.0.1/"),
            'Get "ftp://127.0.0.1/": unsupported protocol scheme "ftp"',
        ),
        (HttpProbe("http://"), 'Get "http://": http: no Host in request URL'),
        (HttpProbe("http://127.0.0.1/", "B AD"), 'net/http: invalid method "B AD"'),
        (
            HttpProbe("http://127.0.0.1/", header=(("X", ("a\r\nY: b",)),)),
            'Get "http://127.0.0.1/": net/http: invalid header field value for "X"',
        ),
        (
            HttpProbe("http://127.0.0.1/", header=(("X: y\r\nZ", ("a",)),)),
            'Get "http://127.0.0.1/": net/http: invalid header field name "X: y\r\nZ"',
        ),
        (HttpProbe("http://127.0.0.1/a\r\nX: y"), 'parse "http://127.0.0.1/a\r\nX: y": '),
        (HttpProbe("http://127.0.0.1:99999/"), 'parse "http://127.0.0.1:99999/": '),
        (HttpProbe("http://[::1/"), 'parse "http://[::1/": '),
    ],
)
def test_a_request_that_cannot_be_sent_says_why(probe_of: HttpProbe, output: str) -> None:
    async def scenario() -> None:
        result = await probe(probe_of)
        assert result.status == "critical"
        assert result.output.startswith(output)

    run(scenario())


def test_redirects_are_followed_and_a_ring_ends() -> None:
    def answer(request: bytes) -> bytes:
        path = request.split()[1]
        if path == b"/there":
            return http("200 OK", request.split()[0])
        where = {b"/relative": "there", b"/see-other": "/there", b"/ring": "/ring"}.get(path)
        headers = [f"Location: {where}"] if where else []
        return http("303 See Other" if path == b"/see-other" else "307 Moved", b"", *headers)

    async def scenario() -> None:
        async with serving(answer) as port:
            base = f"http://127.0.0.1:{port}"
            result = await probe(HttpProbe(f"{base}/relative", "POST"))
            assert result.output == f"HTTP POST {base}/relative: 200 OK Output: POST"
            result = await probe(HttpProbe(f"{base}/see-other", "POST"))
            assert result.output == f"HTTP POST {base}/see-other: 200 OK Output: GET"
            ring = await probe(HttpProbe(f"{base}/ring"))
            assert (ring.status, ring.output.endswith("stopped after 10 redirects")) == (
                "critical",
                True,
            )
            nowhere = await probe(HttpProbe(f"{base}/nowhere"))
            assert nowhere.output.endswith("307 response missing Location header")

    run(scenario())


def test_secrets_do_not_follow_a_redirect_to_another_host() -> None:
    async def scenario() -> None:
        seen: list[bytes] = []

        def other(request: bytes) -> bytes:
            seen.append(request.lower())
            return http("200 OK")

        async with serving(other) as there:
            moved = http("302 Found", b"", f"Location: http://localhost:{there}/")
            async with serving(lambda _: moved) as port:
                header = (("Authorization", ("secret",)), ("X-Plain", ("kept",)))
                result = await probe(HttpProbe(f"http://127.0.0.1:{port}/", header=header))
                assert result.status == "passing"
        assert b"secret" not in seen[0]
        assert b"x-plain: kept" in seen[0]

    run(scenario())


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"HTTP/1.1 200",
        bytes(100),
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400_000,
    ],
    ids=["nothing", "half", "zeros", "ssh", "short", "endless-header"],
)
def test_what_is_no_answer_is_critical(garbage: bytes) -> None:
    async def scenario() -> None:
        async with serving(lambda _: garbage) as port:
            assert (await probe(HttpProbe(f"http://127.0.0.1:{port}/"))).status == "critical"

    run(scenario())


def test_the_end_of_a_long_body_is_kept_and_an_endless_one_is_not_read_on() -> None:
    async def scenario() -> None:
        body = b"a" * 5000 + b"the end"
        async with serving(lambda _: http("200 OK", body)) as port:
            url = f"http://127.0.0.1:{port}/"
            result = await probe(HttpProbe(url), output_bytes_max=100)
            assert result.output == f"HTTP GET {url}: 200 OK Output: {'a' * 93}the end"
        endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_000
        async with serving(lambda _: endless) as port:
            result = await probe(HttpProbe(f"http://127.0.0.1:{port}/"), output_bytes_max=100)
            assert result.status == "passing"

    run(scenario())


def test_nobody_there_and_nobody_answering_say_so() -> None:
    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        port = await unused_port()
        refused = await probe(HttpProbe(f"http://127.0.0.1:{port}/x"))
        # Consul's words, as below.
        why = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
        assert refused.output == f'Get "http://127.0.0.1:{port}/x": {why}'
        server = await asyncio.start_server(hangs, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        silent = await probe(HttpProbe(f"http://127.0.0.1:{port}/"), timeout_s=0.05)
        assert silent.output == (
            f'Get "http://127.0.0.1:{port}/": context deadline exceeded '
            "(Client.Timeout exceeded while awaiting headers)"
        )
        server.close()

    run(scenario())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's context with a certificate for web.example that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web.example")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    path = folder / "pair.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + cert.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_a_certificate_is_verified_unless_that_is_skipped(certificate: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with serving(lambda _: http("200 OK"), tls=certificate) as port:
            url = f"https://127.0.0.1:{port}/"
            doubtful = await probe(HttpProbe(url))
            assert doubtful.status == "critical"
            assert doubtful.output.startswith(f'Get "{url}": x509: ')
            skipping = HttpProbe(url, tls_skip_verify=True, tls_server_name="web.example")
            assert (await probe(skipping)).status == "passing"
        # The first byte of a ClientHello.
        async with serving(lambda _: http("400 Bad Request"), until=b"\x16") as port:
            plain = await probe(HttpProbe(f"https://127.0.0.1:{port}/"))
            assert plain.output.endswith("tls: first record does not look like a TLS handshake")

    run(scenario())


# -- TCP and UDP --------------------------------------------------------------------------------


def test_a_tcp_check_goes_by_whether_somebody_accepts() -> None:
    async def scenario() -> None:
        async with serving(lambda _: b"") as port:
            result = await probe(TcpProbe(f"127.0.0.1:{port}"))
            assert (result.status, result.output) == (
                "passing",
                f"TCP connect 127.0.0.1:{port}: Success",
            )
        port = await unused_port()
        refused = await probe(TcpProbe(f"localhost:{port}"))
        assert (refused.status, refused.output) == (
            "critical",
            f"dial tcp 127.0.0.1:{port}: connect: connection refused",
        )

    run(scenario())


@pytest.mark.parametrize(
    ("address", "output"),
    [
        ("nohostport", "dial tcp: address nohostport: missing port in address"),
        ("::1:80", "dial tcp: address ::1:80: too many colons in address"),
        ("127.0.0.1:no-such-service", "dial tcp: lookup tcp/no-such-service: unknown port"),
        ("127.0.0.1:99999", "dial tcp: address 99999: invalid port"),
        ("no.such.host.invalid:80", "dial tcp: lookup no.such.host.invalid: "),
    ],
)
def test_an_address_that_is_none_says_so(
    address: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = socket.getaddrinfo

    # The host's own resolver may take longer to find out than a check may take.
    def refuse(host: str, *rest: Any, **more: Any) -> object:  # noqa: ANN401  # passed on
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return lookup(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    async def scenario() -> None:
        result = await probe(TcpProbe(address))
        assert result.status == "critical"
        assert result.output.startswith(output)

    run(scenario())


def test_a_udp_check_takes_an_answer_or_silence_for_well_and_a_refusal_not() -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            assert isinstance(self.transport, asyncio.DatagramTransport)
            self.transport.sendto(b"here", addr)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        for protocol in (Echo, asyncio.DatagramProtocol):
            transport, _ = await loop.create_datagram_endpoint(
                protocol, local_addr=("127.0.0.1", 0)
            )
            port = transport.get_extra_info("sockname")[1]
            result = await probe(UdpProbe(f"127.0.0.1:{port}"), timeout_s=0.2)
            assert (result.status, result.output) == (
                "passing",
                f"UDP connect 127.0.0.1:{port}: Success",
            )
            transport.close()
            await asyncio.sleep(0)
        refused = await probe(UdpProbe(f"127.0.0.1:{port}"))
        assert refused.status == "critical"
        assert refused.output.endswith("connection refused")

    run(scenario())


# -- scripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status", "output"),
    [
        ("echo out; echo err >&2", "passing", "out\nerr\n"),
        ("echo so so; exit 1", "warning", "so so\n"),
        ("echo bad; exit 2", "critical", "bad\n"),
        ("kill -9 $$", "critical", ""),
        ("printf '\\377ok'", "passing", "\ufffdok"),
        ("yes | head -c 9000", "passing", "Captured 100 of 9000 bytes\n...\n" + "y\n" * 50),
    ],
)
def test_a_script_check_goes_by_the_exit_code(script: str, status: str, output: str) -> None:
    async def scenario() -> None:
        result = await probe(ScriptProbe(("/bin/sh", "-c", script)), output_bytes_max=100)
        assert (result.status, result.output) == (status, output)

    run(scenario())


def test_a_command_that_is_not_there_says_so() -> None:
    async def scenario() -> None:
        # Consul's words.
        result = await probe(ScriptProbe(("/nonexistent", "x")))
        assert result.output == "fork/exec /nonexistent: no such file or directory"
        result = await probe(ScriptProbe(("echo hi",)))
        assert result.output == 'exec: "echo hi": executable file not found in $PATH'
        result = await probe(ScriptProbe(("a\0b",)))
        assert result.status == "critical"

    run(scenario())


def test_a_script_out_of_time_goes_with_its_children(tmp_path: Path) -> None:
    async def scenario() -> None:
        mark = tmp_path / "mark"
        child = f"import time; time.sleep(1); open({str(mark)!r}, 'w')"
        script = f'"{sys.executable}" -c "{child}" & wait'
        result = await probe(ScriptProbe(("/bin/sh", "-c", script)), timeout_s=0.3)
        assert (result.status, result.output) == ("critical", "Timed out (300ms) running check")
        await asyncio.sleep(1.5)
        assert not mark.exists()

    run(scenario())


# -- gRPC ---------------------------------------------------------------------------------------


class GrpcServer(asyncio.Protocol):
    """Answers every call with these headers, data and trailers."""

    def __init__(self, data: bytes, trailers: list[tuple[str, str]], seen: list[Any]) -> None:
        self._data, self._trailers, self._seen = data, trailers, seen
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            self._seen.append(event)
            if isinstance(event, h2.events.StreamEnded):
                stream = event.stream_id
                assert stream is not None
                headers = [(":status", "200"), ("content-type", "application/grpc")]
                self._h2.send_headers(stream, headers)
                self._h2.send_data(stream, self._data)
                self._h2.send_headers(stream, self._trailers, end_stream=True)
        self.transport.write(self._h2.data_to_send())


@asynccontextmanager
async def grpc_server(
    data: bytes, *trailers: tuple[str, str], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[Any]]]:
    seen: list[Any] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: GrpcServer(data, list(trailers), seen), "127.0.0.1", 0, ssl=tls
    )
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        server.close()


OK = ("grpc-status", "0")
SERVING, NOT_SERVING = b"\0\0\0\0\2\x08\1", b"\0\0\0\0\2\x08\2"
UNHEALTHY = "gRPC application didn't report service healthy"  # Consul's words


@pytest.mark.parametrize(
    ("data", "trailers", "output"),
    [
        (NOT_SERVING, [OK], UNHEALTHY),
        (b"\0\0\0\0\0", [OK], UNHEALTHY),
        (b"", [OK], UNHEALTHY),
        (b"\1\0\0\0\2\x08\1", [OK], UNHEALTHY),
        (b"", [("grpc-status", "5"), ("grpc-message", "unknown service")],
         "rpc error: code = NotFound desc = unknown service"),
        (b"", [("grpc-status", "99")], "rpc error: code = Code(99) desc = "),
        (b"", [("grpc-status", "x")], "rpc error: code = Unknown desc = "),
        (b"", [("x", "y")], "rpc error: code = Unknown desc = unexpected HTTP status code"),
        (b"x" * 10_000, [OK], UNHEALTHY),
    ],
)  # fmt: skip
def test_a_grpc_server_that_is_not_serving_is_critical(
    data: bytes, trailers: list[tuple[str, str]], output: str
) -> None:
    async def scenario() -> None:
        async with grpc_server(data, *trailers) as (port, _):
            result = await probe(GrpcProbe(f"127.0.0.1:{port}"))
            assert result.status == "critical"
            assert result.output.startswith(output)

    run(scenario())


def test_a_grpc_check_asks_for_the_service_of_its_target() -> None:
    async def scenario() -> None:
        async with grpc_server(SERVING, OK) as (port, seen):
            for target, message in (
                (f"127.0.0.1:{port}", b"\0\0\0\0\0"),
                (f"127.0.0.1:{port}/web", b"\0\0\0\0\5\x0a\3web"),
            ):
                result = await probe(GrpcProbe(target))
                assert (result.status, result.output) == (
                    "passing",
                    f"gRPC check {target}: success",
                )
                data = [e.data for e in seen if isinstance(e, h2.events.DataReceived)]
                assert data[-1] == message
            headers = next(e.headers for e in seen if isinstance(e, h2.events.RequestReceived))
            assert (b":path", b"/grpc.health.v1.Health/Check") in headers

    run(scenario())


def test_a_grpc_check_speaks_tls(certificate: ssl.SSLContext) -> None:
    async def scenario() -> None:
        async with grpc_server(SERVING, OK, tls=certificate) as (port, _):
            target = f"127.0.0.1:{port}"
            assert (await probe(GrpcProbe(target, True, "", True))).status == "passing"
            doubtful = await probe(GrpcProbe(target, True))
            assert "authentication handshake failed: x509: " in doubtful.output

    run(scenario())


def test_no_grpc_server_is_critical() -> None:
    async def scenario() -> None:
        port = await unused_port()
        refused = await probe(GrpcProbe(f"127.0.0.1:{port}"))
        # Consul's words.
        assert refused.output == (
            "rpc error: code = Unavailable desc = connection error: desc = "
            f'"transport: Error while dialing dial tcp 127.0.0.1:{port}: connect: '
            'connection refused"'
        )
        async with serving(lambda _: http("400 Bad Request")) as port:
            other = await probe(GrpcProbe(f"127.0.0.1:{port}"))
            assert other.output == "rpc error: code = Unavailable desc = connection closed"

    run(scenario())
