"""Connecting to what is probed, and what went wrong in the words of Go's network library.

Operators search their logs for those words, and Consul's check output is full of them.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from svcmesh.goformats import join_host_port

LOOKUP_S: Final = 5.0
"""How long the addresses of a host name are used again."""

LOOKUPS_MAX: Final = 1024
"""Host names whose addresses are kept."""

P = TypeVar("P", bound=asyncio.BaseProtocol)


class ProbeError(Exception):
    """A probe failed for a reason that its output gives."""


class Dialer:
    """Resolves host names, aside from the threads that write to disk, and opens connections."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._lookups: dict[tuple[str, str], tuple[float, asyncio.Future[list[str]]]] = {}
        self._contexts: dict[tuple[bool, tuple[str, ...]], ssl.SSLContext] = {}

    def close(self) -> None:
        """Forget what is kept; lookups that are under way are left alone."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def connect(
        self,
        protocol: Callable[[], P],
        address: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> P:
        """Open a TCP connection to `host:port`, trying the host's addresses in turn.

        Raises:
            ProbeError: None could be reached, or the TLS handshake failed.
        """
        host, port = split_address(address)
        number = port_number(port)
        first: ProbeError | None = None
        for ip in await self.lookup(host):
            try:
                _, made = await asyncio.get_running_loop().create_connection(
                    protocol,
                    ip,
                    number,
                    ssl=tls,
                    server_hostname=(server_name or host) if tls is not None else None,
                )
            except ssl.SSLError as error:
                raise ProbeError(tls_failure(error)) from error
            except OSError as error:
                where = join_host_port(ip, number)
                first = first or ProbeError(f"dial tcp {where}: connect: {os_reason(error)}")
            else:
                return made
        assert first is not None
        raise first

    async def lookup(self, host: str, network: str = "tcp") -> list[str]:
        """The addresses of a host.

        Raises:
            ProbeError: There are none.
        """
        if is_ip_address(host):
            return [host]
        loop = asyncio.get_running_loop()
        kept = self._lookups.get((host, network))
        if kept is None or kept[0] < loop.time():
            if len(self._lookups) >= LOOKUPS_MAX:
                self._lookups.clear()
            if self._threads is None:
                self._threads = ThreadPoolExecutor(4, thread_name_prefix="lookup")
            future = asyncio.ensure_future(
                loop.run_in_executor(self._threads, _addresses, host or "localhost")
            )
            future.add_done_callback(_retrieve)
            kept = self._lookups[host, network] = (loop.time() + LOOKUP_S, future)
        try:
            return await asyncio.shield(kept[1])
        except (OSError, UnicodeError) as error:
            raise ProbeError(f"dial {network}: lookup {host}: {_lookup_reason(error)}") from error

    async def tls_context(
        self, *, skip_verify: bool, protocols: tuple[str, ...] = ()
    ) -> ssl.SSLContext:
        """The context for a TLS connection that offers these protocols.

        It is made on a thread, as reading the host's certificates takes its time.
        """
        context = self._contexts.get((skip_verify, protocols))
        if context is None:
            context = await asyncio.to_thread(_tls_context, protocols, skip_verify=skip_verify)
            self._contexts[skip_verify, protocols] = context
        return context


def split_address(address: str) -> tuple[str, str]:
    """Split `host:port` or `[v6]:port`.

    Raises:
        ProbeError: It is neither.
    """
    if address.startswith("["):
        host, bracket, port = address[1:].partition("]:")
        if bracket and port:
            return host, port
    host, colon, port = address.rpartition(":")
    if not colon or not port:
        raise ProbeError(f"dial tcp: address {address}: missing port in address")
    if ":" in host:
        raise ProbeError(f"dial tcp: address {address}: too many colons in address")
    return host, port


def port_number(port: str) -> int:
    """The number of a port or service name.

    Raises:
        ProbeError: There is none.
    """
    try:
        number = int(port) if port.isascii() and port.isdigit() else socket.getservbyname(port)
    except OSError:
        raise ProbeError(f"dial tcp: lookup tcp/{port}: unknown port") from None
    if number > 65535:
        raise ProbeError(f"dial tcp: address {port}: invalid port")
    return number


def is_ip_address(host: str) -> bool:
    """Whether it needs no lookup."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False


def os_reason(error: OSError) -> str:
    """What the system says, as Go words it."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if error.errno is None:
        return str(error) or type(error).__name__
    return os.strerror(error.errno).lower()


def tls_failure(error: ssl.SSLError) -> str:
    """Why a TLS handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"x509: {error.verify_message}"
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        reason = "first record does not look like a TLS handshake"
    return f"tls: {reason}"


def _tls_context(protocols: tuple[str, ...], *, skip_verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def _addresses(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # IPv4 first, as Go prefers it when it tries one after the other.
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _lookup_reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return "no such host"
    if isinstance(error, socket.gaierror):
        return "server misbehaving"
    return "no such host" if isinstance(error, UnicodeError) else os_reason(error)


def _retrieve(future: "asyncio.Future[list[str]]") -> None:
    """Mark the error as seen: who asked may have been cancelled meanwhile."""
    if not future.cancelled():
        future.exception()
