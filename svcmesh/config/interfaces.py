"""The host's own addresses, for the address to advertise and for address templates."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV4_ROUTES: Final = Path("/proc/net/route")
_IPV6_ROUTES: Final = Path("/proc/net/ipv6_route")


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of one interface."""

    name: str
    ip: IpAddress
    network: IpNetwork
    flags: frozenset[str]
    """Of the interface, as the kernel names them in lower case: `up`, `broadcast`, ..."""
    is_default: bool
    """Whether the interface has a default route."""

    @property
    def is_forwardable(self) -> bool:
        """Whether other hosts can reach it by way of a router (RFC 6890)."""
        ip = self.ip
        return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast)

    @property
    def is_private(self) -> bool:
        """Whether it is forwardable, but not on the Internet."""
        return self.is_forwardable and not self.ip.is_global


def host_addresses() -> list[InterfaceAddress]:
    """Every IP address of this host, interface by interface in the kernel's order."""
    # Imported here: most agents are told their address.
    import psutil

    defaults = set(_default_interfaces())
    stats = psutil.net_if_stats()
    found = []
    for name, addresses in psutil.net_if_addrs().items():
        flags = frozenset(stats[name].flags.split(",")) if name in stats else frozenset()
        for one in addresses:
            try:
                # An IPv6 address comes with its zone.
                interface = ipaddress.ip_interface(
                    f"{one.address.partition('%')[0]}/{_prefix(one.netmask)}"
                )
            except ValueError:
                continue  # A link's hardware address.
            found.append(
                InterfaceAddress(name, interface.ip, interface.network, flags, name in defaults)
            )
    return found


def _prefix(netmask: str | None) -> str:
    """The length of a netmask; psutil gives IPv6 ones as addresses too."""
    if netmask is None:
        return "128"
    mask = ipaddress.ip_address(netmask)
    return str(int(mask).bit_count())


def _default_interfaces() -> Iterator[str]:
    """Names of interfaces with a default route (Linux)."""
    for path, destination, name in ((_IPV4_ROUTES, 1, 0), (_IPV6_ROUTES, 0, 9)):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue  # No such protocol here.
        for line in lines:
            words = line.split()
            if len(words) > name and set(words[destination]) == {"0"} and words[name] != "lo":
                yield words[name]
