"""TCP and UDP probes."""

import asyncio
import socket
from typing import Final

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import TcpProbe, UdpProbe
from svcmesh.checks.probes.dialing import Dialer, ProbeError, os_reason, port_number, split_address
from svcmesh.checks.table import ProbeResult

REFUSAL_S: Final = 1.0
"""How long a UDP probe waits for an answer or a refusal: silence is passing, as in Consul."""


async def probe_tcp(probe: TcpProbe, dialer: Dialer) -> ProbeResult:
    """Connect, and hang up at once.

    Raises:
        ProbeError: Nobody accepts.
    """
    protocol = await dialer.connect(_Closing, probe.address)
    protocol.transport.abort()
    return ProbeResult(HealthStatus.PASSING, f"TCP connect {probe.address}: Success")


async def probe_udp(probe: UdpProbe, dialer: Dialer, *, timeout_s: float) -> ProbeResult:
    """Send an empty datagram; an answer or silence is well, a refusal is not.

    Raises:
        ProbeError: The host refused it.
    """
    host, port = split_address(probe.address)
    ip = (await dialer.lookup(host, "udp"))[0]
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    # Not by a transport: asyncio's do not send empty datagrams.
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect((ip, port_number(port)))
            sock.send(b"")
            async with asyncio.timeout(min(REFUSAL_S, timeout_s / 2)):
                await asyncio.get_running_loop().sock_recv(sock, 1)
        except TimeoutError:
            return _success(probe)
        except OSError as error:
            raise ProbeError(f"read udp {ip}:{port}: {os_reason(error)}") from error
    return _success(probe)


def _success(probe: UdpProbe) -> ProbeResult:
    return ProbeResult(HealthStatus.PASSING, f"UDP connect {probe.address}: Success")


class _Closing(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
