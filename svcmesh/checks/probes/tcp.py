"""TCP and UDP probes."""

import asyncio
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
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Answer(answered), remote_addr=(ip, port_number(port))
        )
    except OSError as error:
        raise ProbeError(f"dial udp {ip}:{port}: {os_reason(error)}") from error
    try:
        transport.sendto(b"")
        await asyncio.wait([answered], timeout=min(REFUSAL_S, timeout_s))
        refusal = answered.exception() if answered.done() else None
        if isinstance(refusal, OSError):
            raise ProbeError(f"read udp {ip}:{port}: {os_reason(refusal)}") from refusal
    finally:
        transport.abort()
    return ProbeResult(HealthStatus.PASSING, f"UDP connect {probe.address}: Success")


class _Closing(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, answered: "asyncio.Future[None]") -> None:
        self._answered = answered

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._answered.done():
            self._answered.set_result(None)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)
