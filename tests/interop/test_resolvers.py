"""Real resolvers and query tools against an agent: what they print, and what they forward.

The agent is the process a user starts; unbound and dnsmasq forward its zone from ports of their
own, as the documentation says to set them up.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from dnsserver import DnsConfig, DnsServer, RecursorConfig
from tests.dnsserver.fakes import FakeDirectory
from tests.interop.processes import PATIENCE_S, require_program

pytestmark = pytest.mark.interop

ADDRESS = "127.0.57.1"
PORT = 8653
"""Of a resolver: on an address of its own, and below what the system gives away."""
RESOLVER = (ADDRESS, PORT)


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
    await server.start([(ADDRESS, 0)])
    try:
        yield server.addresses[0]
    finally:
        await server.close()


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(PATIENCE_S):
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


async def dig(address: tuple[str, int], *words: str) -> str:
    host, port = address
    return await run(require_program("dig"), f"@{host}", "-p", str(port), *words)


async def until_dug(pattern: str, address: tuple[str, int], *words: str) -> str:
    """What dig prints, as soon as it is that: a resolver starts, and asks again, in its time."""
    output = ""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not re.search(pattern, output):
                output = await dig(address, *words)
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {PATIENCE_S:.0f} s: {pattern} in\n{output}")
    return output


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
    path = require_program(name)

    async def main() -> None:
        async with running() as (host, port):
            output = await run(path, *(word.format(host=host, port=port) for word in words))
            assert re.search(expected, output), output

    asyncio.run(main())


@pytest.fixture
def unbound(tmp_path: Path) -> Callable[[int], tuple[str, ...]]:
    path = require_program("unbound")

    def command(agent_port: int) -> tuple[str, ...]:
        config = tmp_path / "unbound.conf"
        config.write_text(
            f"""
server:
  interface: {ADDRESS}@{PORT}
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
  stub-addr: {ADDRESS}@{agent_port}
"""
        )
        return path, "-d", "-c", str(config)

    return command


def test_unbound_forwards_the_zone(unbound: Callable[[int], tuple[str, ...]]) -> None:
    async def main() -> None:
        # Without honest TCs a resolver would take the first part of a large answer for all of it.
        agent = running(enable_truncate=True)
        async with agent as (_, agent_port), program(*unbound(agent_port)):
            await until_dug(r"10\.0\.0\.1", RESOLVER, "web.service.svcmesh")
            await until_dug("ANSWER: 60", RESOLVER, "many.service.svcmesh", "SRV", "+tcp")
            await until_dug("status: NXDOMAIN", RESOLVER, "no.service.svcmesh")

    asyncio.run(main())


def test_dnsmasq_forwards_the_zone() -> None:
    path = require_program("dnsmasq")

    async def main() -> None:
        async with running() as (_, agent_port):
            command = (
                path, "--keep-in-foreground", "--no-resolv", "--no-hosts", f"--port={PORT}",
                f"--listen-address={ADDRESS}", "--bind-interfaces", "--conf-file=/dev/null",
                "--pid-file", f"--server=/svcmesh/{ADDRESS}#{agent_port}",
            )  # fmt: skip
            async with program(*command):
                pattern = r"SRV\s+1 7 80 n1\.node"
                await until_dug(pattern, RESOLVER, "web.service.svcmesh", "SRV")

    asyncio.run(main())


def test_names_of_others_come_from_a_real_recursor(tmp_path: Path) -> None:
    path = require_program("unbound")
    config = tmp_path / "unbound.conf"
    config.write_text(
        f"""
server:
  interface: {ADDRESS}@{PORT}
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
        async with program(path, "-d", "-c", str(config)), running(RESOLVER) as address:
            pattern = r"www\.example\.com\.\s+60\s+IN\s+A\s+192\.0\.2\.1"
            output = await until_dug(pattern, address, "www.example.com")
            assert "flags: qr aa rd ra" in output
            await until_dug("status: NXDOMAIN", address, "no.example.com")
            await until_dug(r"192\.0\.2\.1", address, "+tcp", "www.example.com")

    asyncio.run(main())
