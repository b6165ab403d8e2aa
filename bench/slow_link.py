"""A slow wire: passes frames between two interfaces, each after a while. Linux, needs root.

`tc netem` does this better where the kernel has it; this needs no module. Both interfaces are the
far ends of virtual pairs whose near ends are in the namespaces to be joined:

    ip netns exec WIRE python3 bench/slow_link.py --delay 30 left right

Frames go with the header that says what is left to be done to them (PACKET_VNET_HDR), so checksums
and segments that the sender left to its card are right on the other side.
"""

import argparse
import heapq
import select
import socket
import time

SOL_PACKET = 263
PACKET_VNET_HDR = 15
ETH_P_ALL = 3
PACKET_OUTGOING = 4
FRAME_BYTES_MAX = 1 << 17
WAITING_MAX = 100_000


def opened(interface: str) -> socket.socket:
    """A socket that sees every frame of an interface."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    sock.bind((interface, 0))
    sock.setblocking(False)
    return sock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--delay", type=float, required=True, help="one way, milliseconds")
    parser.add_argument("interfaces", nargs=2)
    options = parser.parse_args()
    ends = [opened(name) for name in options.interfaces]
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting: list[tuple[float, int, socket.socket, bytes]] = []
    number = 0
    while True:
        left_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for sock in select.select(ends, [], [], left_s)[0]:
            due_at = time.monotonic() + options.delay / 1000
            while True:
                try:
                    frame, origin = sock.recvfrom(FRAME_BYTES_MAX)
                except BlockingIOError:
                    break
                if origin[2] != PACKET_OUTGOING and len(waiting) < WAITING_MAX:
                    number += 1
                    heapq.heappush(waiting, (due_at, number, other[sock], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, sock, frame = heapq.heappop(waiting)
            try:
                sock.send(frame)
            except OSError:
                continue


if __name__ == "__main__":
    main()
