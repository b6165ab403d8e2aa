"""TLS by its settings: who is let in on the servers' port, whom we trust, what a reload does."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from svcmesh.api import HttpServer
from svcmesh.api.listeners import TcpAddress
from svcmesh.config import AgentConfig, load_config
from svcmesh.errors import ConfigError
from svcmesh.rpc import Methods, RpcError, RpcPool, RpcRefusedError, RpcServer
from svcmesh.runtime.tls import TlsMaterial
from tests.svcmesh.api.fakes import FakeAgent
from tests.svcmesh.certificates import make_certificate

Address = tuple[str, int]

SERVER = "server.dc1.consul"
MUTUAL = "verify_incoming = true verify_outgoing = true verify_server_hostname = true"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_certificate(tmp_path, "ca")
    make_certificate(tmp_path, "other-ca")
    make_certificate(tmp_path, "server", issuer="ca", names=(SERVER, "localhost"))
    make_certificate(tmp_path, "client", issuer="ca", names=("client.dc1.consul",))
    make_certificate(tmp_path, "dc2", issuer="ca", names=("server.dc2.consul",))
    make_certificate(tmp_path, "expired", issuer="ca", days=(-2, -1), names=(SERVER,))
    make_certificate(tmp_path, "early", issuer="ca", days=(1, 2), names=(SERVER,))
    make_certificate(tmp_path, "stranger", issuer="other-ca", names=(SERVER,))
    return tmp_path


def configured(folder: Path, name: str, hcl: str = MUTUAL) -> AgentConfig:
    """An agent's configuration with a certificate; none for an empty name."""
    pair = f'cert_file = "{folder}/{name}.pem" key_file = "{folder}/{name}.key"' if name else ""
    return load_config({"dev": True, "hcl": (pair, f'ca_file = "{folder}/ca.pem"', hcl)}, [])


def material(folder: Path, name: str, hcl: str = MUTUAL) -> TlsMaterial:
    return TlsMaterial(configured(folder, name, hcl))


async def echo(body: object, _: float) -> object:
    return body


METHODS = Methods({"echo": echo, "raft": echo}, {}, servers_only=frozenset({"raft"}))


@asynccontextmanager
async def called(
    server_tls: TlsMaterial, caller_tls: TlsMaterial
) -> AsyncIterator[tuple[RpcServer, RpcPool, Address]]:
    server = RpcServer(METHODS, rules=server_tls.accept_rules())
    pool = RpcPool(rules=caller_tls.dial_rules())
    address = await server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(60):
            yield server, pool, address
    finally:
        await pool.close()
        await server.close()


async def ask(pool: RpcPool, to: Address, method: str = "echo", datacenter: str = "") -> object:
    return await pool.call(to, method, "hello", timeout_s=5, datacenter=datacenter)


def test_agents_of_one_authority_call_each_other_encrypted(folder: Path) -> None:
    async def main() -> None:
        for name in ("client", "server"):
            tls = material(folder, name)
            async with called(material(folder, "server"), tls) as (server, pool, to):
                assert await ask(pool, to) == "hello"
                assert server.counters == {"accepted": 1}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "reason", "text"),
    [
        ("", "no-certificate", "it has no certificate"),
        ("stranger", "unknown-authority", "its certificate is of another authority"),
        ("expired", "expired", "its certificate has expired"),
        ("early", "not-yet-valid", "its certificate is not valid yet"),
    ],
)
@pytest.mark.parametrize("version", ["tls12", "tls13"])
def test_a_client_without_a_good_certificate_is_refused_and_the_log_says_why(
    folder: Path, name: str, reason: str, text: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        caller = material(folder, name, f'verify_outgoing = true tls_min_version = "{version}"')
        if version == "tls12":
            context = caller.dial_rules().tls
            assert context is not None
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with called(material(folder, "server"), caller) as (server, pool, to):
            # Refused, not unknown: whoever writes may try another server.
            with pytest.raises(RpcRefusedError):
                await ask(pool, to)
            assert server.counters[f"refused.{reason}"] == 1

    asyncio.run(main())
    assert f"refused a connection from 127.0.0.1: {text}" in caplog.text


def test_whoever_does_not_encrypt_is_refused_once_certificates_are_asked_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with called(material(folder, "server"), material(folder, "", "")) as (s, pool, to):
            with pytest.raises(RpcRefusedError, match=r"does not speak TLS \(verify_incoming\)"):
                await ask(pool, to)
            assert s.counters["refused.not-encrypted"] == 1

    asyncio.run(main())
    assert "refused a connection from 127.0.0.1: it does not speak TLS" in caplog.text


def test_who_encrypts_calls_no_server_that_cannot(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with called(material(folder, "", ""), material(folder, "client")) as (s, pool, to):
            with pytest.raises(RpcRefusedError):
                await ask(pool, to)
            assert s.counters["refused.tls-unknown"] == 1
            assert "accepted" in s.counters

    asyncio.run(main())
    assert "it speaks TLS, and we have no cert_file and key_file" in caplog.text


@pytest.mark.parametrize(
    ("name", "datacenter", "text"),
    [
        ("client", "", "for client.dc1.consul, not for server.dc1.svcmesh or server.dc1.consul"),
        ("dc2", "", "its certificate is for server.dc2.consul"),
        ("server", "dc2", "not for server.dc2.svcmesh or server.dc2.consul"),
        ("stranger", "", "its certificate is of another authority"),
        ("expired", "", "its certificate has expired"),
    ],
)
def test_a_server_that_is_not_who_it_should_be_is_not_called_and_the_log_says_why(
    folder: Path, name: str, datacenter: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        server_tls = material(folder, name, "")
        async with called(server_tls, material(folder, "client")) as (_, pool, to):
            with pytest.raises(RpcRefusedError) as refused:
                await ask(pool, to, datacenter=datacenter)
            assert text in str(refused.value)

    asyncio.run(main())
    assert text in caplog.text


def test_a_server_of_another_data_center_is_not_taken_for_ours_because_it_is_connected(
    folder: Path,
) -> None:
    async def main() -> None:
        server_tls = material(folder, "dc2", "")
        async with called(server_tls, material(folder, "client")) as (_, pool, to):
            assert await ask(pool, to, datacenter="dc2") == "hello"
            with pytest.raises(RpcRefusedError, match=r"certificate is for server\.dc2"):
                await ask(pool, to)
            assert await ask(pool, to, datacenter="DC2") == "hello"
            assert pool.counters["dialled"] == 2

    asyncio.run(main())


def test_without_verify_server_hostname_any_certificate_of_the_authority_will_do(
    folder: Path,
) -> None:
    async def main() -> None:
        caller = material(folder, "client", "verify_outgoing = true")
        async with called(material(folder, "client", ""), caller) as (_, pool, to):
            assert await ask(pool, to) == "hello"

    asyncio.run(main())


def test_only_with_a_servers_certificate_may_an_agent_act_as_a_server(folder: Path) -> None:
    async def main() -> None:
        async with called(material(folder, "server"), material(folder, "server")) as (_, pool, to):
            assert await ask(pool, to, "raft") == "hello"
        async with called(material(folder, "server"), material(folder, "client")) as (s, pool, to):
            with pytest.raises(RpcError, match="for servers only"):
                await ask(pool, to, "raft")
            assert s.counters["dropped.not-a-server"] == 1

    asyncio.run(main())


def test_a_cluster_changes_over_to_tls_without_losing_a_call(folder: Path) -> None:
    """Certificates first, then verify_outgoing, then verify_incoming: calls go on all the time."""

    async def main() -> None:
        tls = material(folder, "", "")
        async with called(tls, tls) as (server, pool, to):
            answered: asyncio.Queue[object] = asyncio.Queue(1)

            async def call_on_and_on() -> None:
                while True:
                    await answered.put(await ask(pool, to))

            callers = [asyncio.create_task(call_on_and_on()) for _ in range(8)]
            for hcl in ("", "verify_outgoing = true", MUTUAL):
                for _ in range(100):
                    assert await answered.get() == "hello"
                reload(tls, configured(folder, "server", hcl))
                server.reconfigure(tls.accept_rules())
                pool.reconfigure(tls.dial_rules())
            for _ in range(100):
                assert await answered.get() == "hello"
            assert not any(caller.done() for caller in callers), "a call failed"
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)
            assert not [key for key in server.counters if key.startswith("refused")]
            # In plain, in plain with a server that has a certificate, then encrypted twice.
            assert pool.counters["dialled"] == 4

    asyncio.run(main())


def reload(tls: TlsMaterial, config: AgentConfig) -> bool:
    return tls.take_up(config, tls.prepare(config))


def test_a_reload_without_anything_new_leaves_all_connections_alone(folder: Path) -> None:
    tls = material(folder, "server")
    before = tls.accept_rules(), tls.dial_rules()
    assert not reload(tls, configured(folder, "server"))
    assert (tls.accept_rules(), tls.dial_rules()) == before
    make_certificate(folder, "server", issuer="ca", names=(SERVER,))
    assert reload(tls, configured(folder, "server"))
    assert (tls.accept_rules(), tls.dial_rules()) != before


def test_a_reload_with_a_broken_file_is_refused_and_changes_nothing(folder: Path) -> None:
    tls = material(folder, "server")
    before = tls.accept_rules()
    (folder / "server.key").write_text("broken")
    with pytest.raises(ConfigError, match="cert_file"):
        tls.prepare(configured(folder, "server"))
    assert tls.accept_rules() == before


@pytest.mark.parametrize(
    ("hcl", "problem"),
    [
        ('cert_file = "/nonexistent" key_file = "/nonexistent"', "cert_file: /nonexistent: No suc"),
        ('ca_file = "/nonexistent"', "ca_file: /nonexistent: No such file"),
        ('ca_file = "" ca_path = "/nonexistent"', "ca_path: /nonexistent: No such file"),
        ('ca_file = "FOLDER/ca.key"', "ca_file: FOLDER/ca.key: no certificates in PEM"),
        (
            'key_file = "FOLDER/ca.key"',
            "cert_file FOLDER/server.pem, key_file FOLDER/ca.key: no certificate with its key",
        ),
        ('ports { https = 8501 } cert_file = "" key_file = ""', "ports.https: needs cert_file"),
    ],
)
def test_what_is_wrong_is_named_by_its_setting(folder: Path, hcl: str, problem: str) -> None:
    hcl, problem = (text.replace("FOLDER", str(folder)) for text in (hcl, problem))
    with pytest.raises(ConfigError) as caught:
        material(folder, "server", hcl)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("hcl", "problem"),
    [
        ('ca_file = "" verify_outgoing = true', "verify_outgoing set, and no CA certificate"),
        ('ca_file = "" verify_server_hostname = true', "verify_server_hostname set, and no CA"),
        ('ca_file = "" verify_incoming_rpc = true', "verify_incoming_rpc set, and no CA"),
        ("verify_incoming = true", "verify_incoming set, and no Cert/Key pair provided"),
        ('cert_file = "x"', "cert_file and key_file: one needs the other"),
        ('tls_cipher_suites = "TLS_RSA_WITH_RC4_128_SHA"', "tls_cipher_suites: unsupported"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    folder: Path, hcl: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        configured(folder, "", hcl)


def test_all_files_of_ca_path_are_trusted(folder: Path) -> None:
    authorities = folder / "authorities"
    authorities.mkdir()
    for name in ("ca", "other-ca"):
        (authorities / f"{name}.crt").write_bytes((folder / f"{name}.pem").read_bytes())

    async def main() -> None:
        server_tls = material(folder, "server", f'{MUTUAL} ca_file = "" ca_path = "{authorities}"')
        async with called(server_tls, material(folder, "stranger")) as (_, pool, to):
            assert await ask(pool, to) == "hello"

    asyncio.run(main())


def test_cipher_suites_are_those_of_the_setting(folder: Path) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"
    context = material(folder, "server", f'tls_cipher_suites = "{suite}"').accept_rules().tls
    assert context is not None
    old = [one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"]
    assert old == ["ECDHE-ECDSA-CHACHA20-POLY1305"]


def test_a_certificate_that_ends_soon_is_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    material(folder, "server")
    material(folder, "expired", "")
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


# -- HTTPS, with the same files -------------------------------------------------------------------


def serve_https(tls: TlsMaterial, scenario: Callable[[int], Awaitable[None]]) -> None:
    async def main() -> None:
        server = HttpServer(FakeAgent(), tls=tls.https)
        [(_, port)] = await server.start([TcpAddress("127.0.0.1", 0, is_tls=True)])
        try:
            async with asyncio.timeout(60):
                await scenario(port)
        finally:
            await server.close()

    asyncio.run(main())


async def serial_number(port: int, certificate: Path | None = None) -> int | None:
    """Of the certificate that HTTPS shows; None when it does not answer us."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.write(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    except OSError:
        return None
    if not answer:
        return None
    assert answer.startswith(b"HTTP/1.1 200")
    return x509.load_der_x509_certificate(found).serial_number


def test_https_takes_up_a_renewed_certificate_and_another_authority(folder: Path) -> None:
    hcl = "ports { https = 8501 } verify_incoming_https = true"
    tls = material(folder, "server", hcl)

    async def scenario(port: int) -> None:
        first = await serial_number(port, folder / "client.pem")
        assert first is not None
        make_certificate(folder, "server", issuer="ca", names=(SERVER,))
        reload(tls, configured(folder, "server", hcl))
        assert await serial_number(port, folder / "client.pem") not in (None, first)
        assert await serial_number(port, folder / "stranger.pem") is None
        reload(tls, configured(folder, "server", f'{hcl} ca_file = "{folder}/other-ca.pem"'))
        assert await serial_number(port, folder / "stranger.pem") is not None
        assert await serial_number(port, folder / "client.pem") is None

    serve_https(tls, scenario)


def test_https_asks_for_certificates_from_the_reload_on_that_says_so(folder: Path) -> None:
    tls = material(folder, "server", "ports { https = 8501 }")

    async def scenario(port: int) -> None:
        assert await serial_number(port) is not None
        reload(tls, configured(folder, "server", "ports { https = 8501 } verify_incoming = true"))
        assert await serial_number(port) is None

    serve_https(tls, scenario)
