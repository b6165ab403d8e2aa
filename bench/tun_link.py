"""A link between two network namespaces that delays every packet, and can be cut.

Done by a process between two TUN devices: `tc netem` would do it too, but is not in every kernel.
While the file `cut` is in its folder, everything is lost.
"""

import contextlib
import fcntl
import multiprocessing
import os
import select
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_BYTES = 65_536
WAITING_MAX = 20_000
"""Packets under way in one direction; more are lost."""
LOOK_S = 0.05
"""Between two looks at whether it is cut."""


@contextlib.contextmanager
def slow_link(
    namespaces: tuple[str, str], name: str, delay_s: float, folder: Path
) -> Iterator[None]:
    """Connect two namespaces by devices of this name, until the end."""
    ends = []
    for number, namespace in enumerate(namespaces):
        made_as = f"{name}{os.getpid()}{number}"
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", made_as.encode(), IFF_TUN | IFF_NO_PI))
        subprocess.run(["ip", "link", "set", made_as, "netns", namespace, "name", name], check=True)
        ends.append(end)
    process = multiprocessing.Process(target=_carry, args=(*ends, delay_s, folder), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        for end in ends:
            os.close(end)


def _carry(first: int, second: int, delay_s: float, folder: Path) -> None:
    waiting: dict[int, deque[tuple[float, bytes]]] = {first: deque(), second: deque()}
    other = {first: second, second: first}
    is_cut, looked_at = False, 0.0
    while True:
        now = time.monotonic()
        if now - looked_at >= LOOK_S:
            is_cut, looked_at = (folder / "cut").exists(), now
        due_at = min((queue[0][0] for queue in waiting.values() if queue), default=now + LOOK_S)
        # Waiting for packets is exact to a millisecond; the rest is slept.
        pause_s = max(0.0, min(due_at - now, LOOK_S))
        readable, _, _ = select.select(list(waiting), [], [], pause_s)
        for end in readable:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(end, PACKET_BYTES)
                    if not is_cut and len(waiting[end]) < WAITING_MAX:
                        waiting[end].append((time.monotonic() + delay_s, packet))
        now = time.monotonic()
        for end, queue in waiting.items():
            while queue and queue[0][0] <= now:
                with contextlib.suppress(OSError):
                    os.write(other[end], queue.popleft()[1])
