"""Ways to an agent: TLS and Unix sockets."""

import ssl
from pathlib import Path

import pytest

from svcmesh.client import AgentUnreachableError, AsyncClient, TlsFiles
from tests.svcmesh.api.test_listeners import make_certificate
from tests.svcmesh.client.fakes import EAGER, FakeAgent, run


def server_context(folder: Path) -> ssl.SSLContext:
    make_certificate(folder, "ca")
    make_certificate(folder, "agent", issuer="ca")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "agent.pem", folder / "agent.key")
    return context


@pytest.mark.parametrize(
    ("tls", "is_trusted"),
    [
        ({"ca_file": "ca.pem", "server_name": "localhost"}, True),
        ({"ca_file": "ca.pem"}, False),  # the certificate has another name than the address
        ({"server_name": "localhost"}, False),  # nobody we know has signed it
        ({"is_verified": False}, True),
    ],
)
def test_an_agent_is_talked_to_when_its_certificate_is_good(
    tmp_path: Path, tls: dict[str, str], is_trusted: bool
) -> None:
    if "ca_file" in tls:
        tls = {**tls, "ca_file": str(tmp_path / tls["ca_file"])}

    async def scenario() -> None:
        agent = FakeAgent()
        await agent.start(tls=server_context(tmp_path))
        agent.put("web-1")
        address = f"https://{agent.address}"
        files = TlsFiles(**tls)  # type: ignore[arg-type]  # of this test
        async with AsyncClient(address, tls=files, config=EAGER) as client:
            if is_trusted:
                assert len(await client.instances("web")) == 1
            else:
                with pytest.raises(AgentUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.instances("web")
        await agent.stop()

    run(scenario())


def test_an_agent_behind_a_unix_socket_is_talked_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = FakeAgent()
        await agent.start(path=tmp_path / "api.sock")
        agent.put("web-1")
        async with AsyncClient(f"unix://{tmp_path}/api.sock", config=EAGER) as client:
            assert len(await client.instances("web")) == 1
        await agent.stop()

    run(scenario())


def test_the_token_goes_along(tmp_path: Path) -> None:
    async def scenario() -> None:
        agent = FakeAgent()
        await agent.start()
        async with AsyncClient(agent.address, token="t0ken", config=EAGER) as client:
            await client.services()
        assert agent.tokens == ["t0ken"]
        await agent.stop()

    run(scenario())
