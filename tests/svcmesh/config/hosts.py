"""Interfaces of hosts of our own invention."""

import ipaddress

from svcmesh.config.interfaces import InterfaceAddress


def on_interface(
    name: str, address: str, *flags: str, is_default: bool = False
) -> InterfaceAddress:
    """An address with its prefix length on an interface that is up."""
    interface = ipaddress.ip_interface(address)
    return InterfaceAddress(
        name, interface.ip, interface.network, frozenset({"up", *flags}), is_default
    )
