"""Options of connections between agents."""

import socket
from typing import Final

IDLE_S: Final = 15
PROBES: Final = 4


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel notice a peer that is gone without a word, within about a minute."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
