"""The host's own IPv4 addresses, for the address to advertise (Linux)."""

import array
import fcntl
import ipaddress
import socket  # noqa: TID251 -- asks the kernel for addresses, sends nothing
import struct
from typing import Final

_SIOCGIFCONF: Final = 0x8912
_IFREQ_BYTES: Final = 40
"""Size of `struct ifreq` where pointers have 64 bits; on 32 bits it is 32."""
_INTERFACES_MAX: Final = 1024


def private_ipv4_addresses() -> list[str]:
    """Addresses of this host that are neither public nor loopback, in the kernel's order."""
    return [address for address in _ipv4_addresses() if _is_private(address)]


def _is_private(address: str) -> bool:
    ip = ipaddress.IPv4Address(address)
    return not (ip.is_global or ip.is_loopback or ip.is_unspecified or ip.is_multicast)


def _ipv4_addresses() -> list[str]:
    ifreq_bytes = _IFREQ_BYTES if struct.calcsize("P") == 8 else 32
    buffer = array.array("B", bytes(ifreq_bytes * _INTERFACES_MAX))
    place, size = buffer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        filled = fcntl.ioctl(probe.fileno(), _SIOCGIFCONF, struct.pack("iP", size, place))
    used_bytes: int = struct.unpack("iP", filled)[0]
    # Each entry: 16 bytes of name, then a sockaddr_in whose address is at offset 4.
    return [
        str(ipaddress.IPv4Address(buffer[at + 20 : at + 24].tobytes()))
        for at in range(0, used_bytes, ifreq_bytes)
    ]
