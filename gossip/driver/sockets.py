"""The pair of sockets a member listens on, and addresses as the operating system has them."""

import errno
import socket
from contextlib import suppress
from ipaddress import ip_address
from struct import Struct
from typing import Final

from gossip.errors import ConfigError
from gossip.types import Address

RECEIVE_BUFFER_BYTES: Final = 2 * 1024 * 1024
"""Asked of the kernel for datagrams, so that a short stall of ours loses none."""
BACKLOG: Final = 256

_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_REPORTS: Final = ((socket.SOL_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))
"""Where Linux reports what was answered to a datagram of ours; Python 3.11 has no names for it."""
_ORIGINS_ICMP: Final = (2, 3)
_PORT_ATTEMPTS_MAX: Final = 50

_REPORT: Final = Struct("=IB")
"""The beginning of Linux's `sock_extended_err`: an errno, and who reported it."""

SockAddr = tuple[str, int] | tuple[str, int, int, int]


class AddressFamily:
    """How one listening host is spelt: plain IPv4, plain IPv6, or both through one IPv6 socket."""

    def __init__(self, host: str) -> None:
        """Take the host that is listened on.

        Raises:
            ConfigError: It is not an IP address.
        """
        try:
            ip = ip_address(host)
        except ValueError as error:
            raise ConfigError(f"bind: not an IP address: {host!r}") from error
        self.number = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        self.is_dual = ip.version == 6 and ip.is_unspecified
        self.is_wildcard = ip.is_unspecified

    def reaches(self, host: str) -> bool:
        """Whether an address of this kind can be sent to."""
        return self.is_dual or (":" in host) == (self.number == socket.AF_INET6)

    def to_sockaddr(self, address: Address) -> SockAddr:
        """What a socket of this family wants to hear."""
        if self.is_dual and ":" not in address.host:
            return f"::ffff:{address.host}", address.port
        return address.host, address.port

    def from_sockaddr(self, sockaddr: SockAddr) -> Address:
        """Who sent, in canonical form."""
        host = sockaddr[0]
        if self.number == socket.AF_INET6:
            host = host.partition("%")[0].removeprefix("::ffff:")
        return Address(host, sockaddr[1])

    def new_stream_socket(self) -> socket.socket:
        """A socket for dialling, which never blocks and sends at once."""
        sock = socket.socket(self.number, socket.SOCK_STREAM)
        prepare_stream_socket(sock)
        return sock


def prepare_stream_socket(sock: socket.socket) -> None:
    """Never block, and never wait for more to send: requests are short and answers awaited."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def listen(bind: Address, family: AddressFamily) -> tuple[socket.socket, socket.socket, int]:
    """Bind TCP and UDP on one port; port 0 is any that is free for both.

    Returns the listening TCP socket, the UDP socket and the port.

    Raises:
        OSError: The address is in use or not ours; the text says which one and by which protocol.
    """
    attempts = _PORT_ATTEMPTS_MAX if bind.port == 0 else 1
    while True:
        attempts -= 1
        listener = _bound(bind, family, socket.SOCK_STREAM)
        port: int = listener.getsockname()[1]
        try:
            packets = _bound(Address(bind.host, port), family, socket.SOCK_DGRAM)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or not attempts:
                raise
            continue
        listener.listen(BACKLOG)
        return listener, packets, port


def ask_for_refusals(sock: socket.socket) -> None:
    """Have the system keep reports for `next_refusal`; elsewhere than on Linux it does nothing."""
    for level, option in _REPORTS:
        with suppress(OSError):  # one of them is the other family's
            sock.setsockopt(level, option, 1)


def next_refusal(sock: socket.socket, family: AddressFamily) -> Address | None:
    """Take one report of a datagram that came to nothing: the address if nobody listens there.

    Raises:
        BlockingIOError: There are no more.
        OSError: The system has no such reports.
    """
    _, reports, _, sockaddr = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
    for level, option, report in reports:
        if (level, option) in _REPORTS and len(report) >= _REPORT.size:
            number, origin = _REPORT.unpack_from(report)
            if number == errno.ECONNREFUSED and origin in _ORIGINS_ICMP and sockaddr:
                return family.from_sockaddr(sockaddr)
    return None


def _bound(address: Address, family: AddressFamily, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(family.number, kind)
    try:
        sock.setblocking(False)
        if family.number == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not family.is_dual))
        if kind == socket.SOCK_STREAM:
            # Not for UDP: there it would let a second process take our port without an error.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            ask_for_refusals(sock)
            with suppress(OSError):  # a wish: the system's own limit may be lower
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
        text = f"cannot listen on {address} ({protocol}): {error.strerror}"
        raise OSError(error.errno, text) from error
    return sock
