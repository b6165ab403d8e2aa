"""Sockets to listen on: UDP and TCP with the same port."""

import socket
from typing import Final

from dnsserver.errors import DnsBindError

ANY_PORT_ATTEMPTS: Final = 8
"""How often a free port is looked for that UDP and TCP can share, when port 0 was asked."""

Address = tuple[str, int]


def bind_pair(address: Address) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket with the same port."""
    attempts_left = ANY_PORT_ATTEMPTS if address[1] == 0 else 1
    while True:
        attempts_left -= 1
        udp = _bind(address, socket.SOCK_DGRAM)
        try:
            return udp, _bind((address[0], udp.getsockname()[1]), socket.SOCK_STREAM)
        except DnsBindError:
            udp.close()
            if not attempts_left:
                raise


def _bind(address: Address, kind: socket.SocketKind) -> socket.socket:
    """Return a bound non-blocking socket.

    Raises:
        DnsBindError: It cannot be bound.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    transport = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            # Not for UDP: there it lets two servers share a port, and one of them hears nothing.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        text = f"cannot listen for DNS on {transport} {place}: {error.strerror or error}"
        raise DnsBindError(text) from error
    return sock
