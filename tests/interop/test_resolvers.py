"""Real resolvers and query tools against an agent: what they print, and what they forward.

The agent is the process a user starts; unbound and dnsmasq forward its zone from ports of their
own, as the documentation says to set them up.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from dnsserver import DnsConfig, DnsServer, RecursorConfig
from tests.dnsserver.fakes import FakeDirectory

pytestmark = pytest.mark.interop


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed (make system-packages)")
    return path


def directory() -> FakeDirectory:
    found = FakeDirectory()
    first = found.add_node("n1", "10.0.0.1", {"zone": "a"})
    second = found.add_node("n2", "10.0.0.2")
    found.add_instance(first, "web", 80, tags=("blue",), weight=7)
    found.add_instance(second, "web", 81, address="fd00::2")
    found.add_many("many", 60)
    return found


@asynccontextmanager
async def running(
    *recursors: tuple[str, int], enable_truncate: bool = False
) -> AsyncIterator[tuple[str, int]]:
    config = DnsConfig(
        recursors=RecursorConfig(addresses=recursors), enable_truncate=enable_truncate
    )
    server = DnsServer(directory(), config, rng=Random(1))
    await server.start([("127.0.0.1", 0)])
    try:
        yield server.addresses[0]
    finally:
        await server.close()


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    return output.decode()


@asynccontextmanager
async def program(*command: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def free_port() -> int:
    async def find() -> int:
        async with running() as (_, port):
            return port

    return asyncio.run(find())


async def dig(address: tuple[str, int], *words: str) -> str:
    host, port = address
    return await run(needs("dig"), f"@{host}", "-p", str(port), "+tries=1", "+time=5", *words)


async def until_answered(address: tuple[str, int]) -> None:
    for _ in range(100):
        if "status: NOERROR" in await dig(address, "n1.node.svcmesh"):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the resolver does not answer")


def test_dig_understands_what_it_asks_for() -> None:
    async def main() -> None:
        async with running() as address:
            # As it is: with a cookie and EDNS0.
            output = await dig(address, "web.service.svcmesh")
            assert "status: NOERROR" in output
            assert "WARNING" not in output.replace("WARNING: recursion requested", "")
            assert re.search(r"web\.service\.svcmesh\.\s+0\s+IN\s+A\s+10\.0\.0\.1", output)
            output = await dig(address, "+tcp", "many.service.svcmesh", "SRV")
            assert "ANSWER: 60" in output
            output = await dig(address, "+bufsize=600", "+ignore", "many.service.svcmesh")
            assert "ANSWER: 34" in output
            output = await dig(address, "+subnet=192.0.2.0/24", "web.service.svcmesh")
            assert "CLIENT-SUBNET: 192.0.2.0/24/0" in output
            output = await dig(address, "-x", "10.0.0.1")
            assert "n1.node.dc1.svcmesh." in output
            output = await dig(address, "+norecurse", "+noedns", "no.service.svcmesh")
            assert "status: NXDOMAIN" in output
            assert "SOA\tns.svcmesh. hostmaster.svcmesh." in output

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        (
            "kdig",
            ["@{host}", "-p", "{port}", "blue.web.service.svcmesh", "SRV"],
            r"SRV\s+1 7 80 n1",
        ),
        ("kdig", ["@{host}", "-p", "{port}", "+tcp", "web.service.svcmesh", "AAAA"], "fd00::2"),
        (
            "host",
            ["-p", "{port}", "-t", "SRV", "_web._tcp.service.svcmesh", "{host}"],
            "SRV record",
        ),
        ("nslookup", ["-port={port}", "web.service.svcmesh", "{host}"], r"Address: 10\.0\.0\.1"),
    ],
)
def test_other_tools_understand_the_answers(name: str, words: list[str], expected: str) -> None:
    path = needs(name)

    async def main() -> None:
        async with running() as (host, port):
            output = await run(path, *(word.format(host=host, port=port) for word in words))
            assert re.search(expected, output), output

    asyncio.run(main())


@pytest.fixture
def unbound(tmp_path: Path) -> Callable[[int, int], tuple[str, ...]]:
    path = needs("unbound")

    def command(port: int, agent_port: int) -> tuple[str, ...]:
        config = tmp_path / "unbound.conf"
        config.write_text(
            f"""
server:
  interface: 127.0.0.1@{port}
  do-not-query-localhost: no
  domain-insecure: "svcmesh"
  local-zone: "svcmesh." nodefault
  username: ""
  chroot: ""
  directory: "{tmp_path}"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  module-config: "iterator"
  use-caps-for-id: yes
stub-zone:
  name: "svcmesh"
  stub-addr: 127.0.0.1@{agent_port}
"""
        )
        return path, "-d", "-c", str(config)

    return command


def test_unbound_forwards_the_zone(unbound: Callable[[int, int], tuple[str, ...]]) -> None:
    port = free_port()

    async def main() -> None:
        # Without honest TCs a resolver would take the first part of a large answer for all of it.
        agent = running(enable_truncate=True)
        async with agent as (_, agent_port), program(*unbound(port, agent_port)):
            await until_answered(("127.0.0.1", port))
            output = await dig(("127.0.0.1", port), "web.service.svcmesh")
            assert "10.0.0.1" in output
            output = await dig(("127.0.0.1", port), "many.service.svcmesh", "SRV", "+tcp")
            assert "ANSWER: 60" in output
            output = await dig(("127.0.0.1", port), "no.service.svcmesh")
            assert "status: NXDOMAIN" in output

    asyncio.run(main())


def test_dnsmasq_forwards_the_zone() -> None:
    path = needs("dnsmasq")
    port = free_port()

    async def main() -> None:
        async with running() as (_, agent_port):
            command = (
                path, "--keep-in-foreground", "--no-resolv", "--no-hosts", f"--port={port}",
                "--listen-address=127.0.0.1", "--bind-interfaces", "--conf-file=/dev/null",
                "--pid-file", f"--server=/svcmesh/127.0.0.1#{agent_port}",
            )  # fmt: skip
            async with program(*command):
                await until_answered(("127.0.0.1", port))
                output = await dig(("127.0.0.1", port), "web.service.svcmesh", "SRV")
                assert re.search(r"SRV\s+1 7 80 n1\.node", output), output

    asyncio.run(main())


def test_names_of_others_come_from_a_real_recursor(tmp_path: Path) -> None:
    path = needs("unbound")
    port = free_port()
    config = tmp_path / "unbound.conf"
    config.write_text(
        f"""
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{tmp_path}"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  module-config: "iterator"
  local-zone: "example.com." static
  local-data: "www.example.com. 60 IN A 192.0.2.1"
"""
    )

    async def main() -> None:
        async with program(path, "-d", "-c", str(config)), running(("127.0.0.1", port)) as address:
            for _ in range(100):
                output = await dig(address, "www.example.com")
                if "192.0.2.1" in output:
                    break
                await asyncio.sleep(0.1)
            assert re.search(r"www\.example\.com\.\s+60\s+IN\s+A\s+192\.0\.2\.1", output), output
            assert "flags: qr aa rd ra" in output
            assert "status: NXDOMAIN" in await dig(address, "no.example.com")
            assert "192.0.2.1" in await dig(address, "+tcp", "www.example.com")

    asyncio.run(main())
