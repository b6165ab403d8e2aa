"""Addresses and ports: which to bind, which to tell the others, and that they do not collide."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from svcmesh.config.interfaces import InterfaceAddress
from svcmesh.config.settings import IpNetwork, Ports
from svcmesh.errors import ConfigError
from svcmesh.goformats import error_list, join_host_port

PORT_MAX: Final = 65535
UNIX: Final = "unix://"
"""What the path of a Unix socket begins with among addresses."""
DNS_PORT: Final = 53

_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared with, not bound
_ALWAYS_ON: Final = frozenset({"serf_lan", "server"})


def parse_listen_addresses(text: str, *, at: str, allows_unix: bool) -> tuple[str, ...]:
    """Read IP addresses with spaces between them, in brackets or not.

    Unless `allows_unix`, paths of Unix sockets are refused.

    Raises:
        ConfigError: One is none; the text names the setting `at`.
    """
    addresses = []
    for word in text.split():
        if word.startswith(UNIX):
            if not allows_unix:
                raise ConfigError(f"{at}: cannot be a Unix socket: {word}")
            if not word.removeprefix(UNIX).startswith("/"):
                raise ConfigError(f"{at}: the path of a Unix socket begins with /: {word}")
            addresses.append(word)
            continue
        try:
            ip = ipaddress.ip_address(word.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise ConfigError(f"{at}: invalid ip address: {word}") from None
        addresses.append(str(ip))
    return tuple(addresses)


def parse_networks(texts: Sequence[str], *, at: str) -> tuple[IpNetwork, ...]:
    """Read networks such as `10.0.0.0/8`.

    Raises:
        ConfigError: One is none; the text names the setting `at`.
    """
    networks = []
    for text in texts:
        try:
            if "/" not in text:
                raise ValueError
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ConfigError(error_list([f"{at}: invalid cidr: {text}"])) from None
    return tuple(networks)


def parse_recursor(text: str, *, at: str) -> tuple[str, int]:
    """Read `IP`, `IP:port`, `[IPv6]` or `[IPv6]:port`; the port is 53 by default.

    Raises:
        ConfigError: It is none of these, or an address that nobody has.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or "]" in port or (":" in host and not host.endswith("]")):
        host, port = text.strip(), str(DNS_PORT)
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ConfigError(f"{at}: invalid ip address: {text}") from None
    if ip.is_unspecified:
        raise ConfigError("DNS recursor address cannot be 0.0.0.0, :: or [::]")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) <= PORT_MAX:
        raise ConfigError(f"{at}: invalid port: {text}")
    return str(ip), int(port)


def choose_bind_address(given: Sequence[str]) -> str:
    """Take the one address of `bind_addr`.

    Raises:
        ConfigError: There is none, or more than one.
    """
    if not given:
        raise ConfigError("bind_addr cannot be empty")
    if len(given) > 1:
        raise ConfigError(
            "bind_addr cannot contain multiple addresses. Use 'addresses.{dns,http}' instead."
        )
    return given[0]


def choose_advertise_address(
    given: Sequence[str], bind_addr: str, host_addresses: Callable[[], list[InterfaceAddress]]
) -> str:
    """Find the address that others are told: the given one, the bound one, or the host's only one.

    Raises:
        ConfigError: It is not clear which; the text says what to set.
    """
    if len(given) > 1:
        raise ConfigError("advertise_addr cannot contain multiple addresses")
    if given:
        if given[0] in _ANY:
            raise ConfigError("Advertise address cannot be 0.0.0.0, :: or [::]")
        return given[0]
    if bind_addr not in _ANY:
        return bind_addr
    if bind_addr == "::":
        found = [
            str(one.ip) for one in host_addresses() if one.ip.version == 6 and one.ip.is_global
        ]
        kind, what = "public", "IPv6"
    else:
        addresses = [one for one in host_addresses() if one.ip.version == 4]
        found = [str(one.ip) for one in addresses if one.is_private]
        if all(one.ip.is_loopback for one in addresses):
            # As in Consul: a host without network is a cluster of its own.
            found = [str(one.ip) for one in addresses]
        kind, what = "private", "IPv4"
    if len(found) == 1:
        return found[0]
    text = f"Multiple {kind} {what} addresses" if found else f"No {kind} {what} address"
    listed = f" Found: {', '.join(found)}" if found else ""
    raise ConfigError(f"{text} found. Please configure one with 'bind' and/or 'advertise'.{listed}")


def choose_wan_addresses(
    bind: Sequence[str], advertise: Sequence[str], *, bind_addr: str, advertise_addr: str
) -> tuple[str, str]:
    """Where WAN gossip listens, and where other data centers reach it: as in the LAN by default.

    Raises:
        ConfigError: More than one is given, or one to advertise that nobody has.
    """
    for path, given in (("serf_wan", bind), ("advertise_addr_wan", advertise)):
        if len(given) > 1:
            raise ConfigError(f"{path} cannot contain multiple addresses")
    if advertise and advertise[0] in _ANY:
        raise ConfigError("Advertise WAN address cannot be 0.0.0.0, :: or [::]")
    wan_bind = bind[0] if bind else bind_addr
    if advertise:
        return wan_bind, advertise[0]
    return wan_bind, advertise_addr if not bind or wan_bind in _ANY else wan_bind


def resolve_ports(given: Mapping[str, int]) -> Ports:
    """Check ports by name; what is not above zero is off, where it may be.

    Raises:
        ConfigError: One is no port.
    """
    problems = [
        f"ports.{name}: invalid port: {port}"
        for name, port in given.items()
        if port > PORT_MAX or (port <= 0 and name in _ALWAYS_ON)
    ]
    if problems:
        raise ConfigError(error_list(problems))
    return Ports(**{name: port if port > 0 else -1 for name, port in given.items()})


def check_listeners(
    addresses: Mapping[str, Sequence[str]],
    advertise_addr: str,
    advertise_addr_wan: str,
    ports: Ports,
) -> None:
    """Refuse two listeners on one TCP address and port; `addresses` are by service.

    Raises:
        ConfigError: The text names both.
    """
    by_service = {"DNS": ports.dns, "HTTP": ports.http, "HTTPS": ports.https}
    wanted = [
        *((name, one, by_service[name]) for name, found in addresses.items() for one in found),
        ("RPC Advertise", advertise_addr, ports.server),
        ("Serf Advertise LAN", advertise_addr, ports.serf_lan),
        ("Serf Advertise WAN", advertise_addr_wan, ports.serf_wan),
    ]
    taken: dict[tuple[str, int], str] = {}
    for name, address, port in wanted:
        if port < 0:
            continue
        is_unix = address.startswith(UNIX)
        place = (address, 0 if is_unix else port)
        if other := taken.get(place):
            where = address if is_unix else join_host_port(address, port)
            raise ConfigError(f"{name} address {where} already configured for {other}")
        taken[place] = name
