"""Address templates: the part of go-sockaddr's language that configuration files use.

`{{ GetInterfaceIP "eth0" }}`, `{{ GetAllInterfaces | include "name" "^eth" | attr "address" }}`:
a source of interface addresses, then stages that filter, order and finally write them.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Final

from svcmesh.config.interfaces import InterfaceAddress
from svcmesh.errors import ConfigError

Addresses = list[InterfaceAddress]
HostAddresses = Callable[[], Addresses]
"""Asks the host; only called when there is a template."""

_TEMPLATE: Final = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_WORD: Final = re.compile(r'\s*(?:"((?:\\.|[^"\\])*)"|`([^`]*)`|(\|)|([^\s|"`]+))')

_PRIVATE: Final = {
    "1918": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    "4193": ("fc00::/7",),
    "6598": ("100.64.0.0/10",),
}
"""Networks by the RFC that sets them aside; 6890 is all that is not public."""


class _TemplateError(Exception):
    """Something in a template is not known or not right; the text says what."""


def expand(text: str, host_addresses: HostAddresses, *, at: str) -> str:
    """Put the host's addresses where `text` has templates.

    Raises:
        ConfigError: A template is wrong, or uses what is not known here. The text names `at`.
    """
    if "{{" not in text:
        return text
    addresses: Addresses | None = None

    def evaluate(match: re.Match[str]) -> str:
        nonlocal addresses
        if addresses is None:
            addresses = host_addresses()
        return _evaluate(match[1], addresses)

    try:
        return _TEMPLATE.sub(evaluate, text)
    except _TemplateError as error:
        raise ConfigError(f"{at}: unable to parse address template {text}: {error}") from None


def _evaluate(expression: str, addresses: Addresses) -> str:
    first, *stages = _pipeline(expression)
    value = _source(first, addresses)
    for stage in stages:
        if isinstance(value, str):
            raise _TemplateError(f"nothing can follow {first[0]}")
        value = _stage(stage, value)
    if not isinstance(value, str):
        raise _TemplateError('it ends without `attr "address"` or `join "address" " "`')
    return value


def _pipeline(expression: str) -> list[list[str]]:
    stages: list[list[str]] = [[]]
    pos, text = 0, expression.strip()
    while pos < len(text):
        word = _WORD.match(text, pos)
        if word is None:
            raise _TemplateError(f"cannot read {text[pos:]!r}")
        pos = word.end()
        quoted, raw, bar, plain = word.groups()
        if bar:
            stages.append([])
        else:
            given = quoted if quoted is not None else raw if raw is not None else plain
            stages[-1].append(re.sub(r"\\(.)", r"\1", given) if quoted is not None else given)
    if not all(stages):
        raise _TemplateError("a stage is empty")
    return stages


def _source(words: Sequence[str], addresses: Addresses) -> Addresses | str:
    name, *arguments = words
    private = _ordered([one for one in addresses if _is_up(one) and one.is_private])
    public = _ordered([one for one in addresses if _is_up(one) and one.ip.is_global])
    match name, arguments:
        case "GetAllInterfaces", []:
            return addresses
        case "GetDefaultInterfaces", []:
            return [one for one in addresses if one.is_default]
        case "GetPrivateInterfaces", []:
            return private
        case "GetPublicInterfaces", []:
            return public
        case "GetPrivateIP", []:
            return _join(private[:1], " ")
        case "GetPrivateIPs", []:
            return _join(private, " ")
        case "GetPublicIP", []:
            return _join(public[:1], " ")
        case "GetPublicIPs", []:
            return _join(public, " ")
        case "GetInterfaceIP", [interface]:
            return _join(_ordered(_of_interface(addresses, interface))[:1], " ")
        case "GetInterfaceIPs", [interface]:
            return _join(_ordered(_of_interface(addresses, interface)), " ")
        case _:
            raise _TemplateError(f"not known here: {' '.join(words)}")


def _stage(words: Sequence[str], addresses: Addresses) -> Addresses | str:
    match list(words):
        case ["include", selector, wanted]:
            return [one for one in addresses if _matches(one, selector, wanted)]
        case ["exclude", selector, wanted]:
            return [one for one in addresses if not _matches(one, selector, wanted)]
        case ["sort", keys]:
            found = addresses
            for key in reversed(keys.split(",")):
                found = _sorted_by(found, key.strip())
            return found
        case ["limit", count] if count.isdecimal():
            return addresses[: int(count)]
        case ["offset", count] if count.isdecimal():
            return addresses[int(count) :]
        case ["unique", selector]:
            return list({_attribute(one, selector): one for one in reversed(addresses)}.values())[
                ::-1
            ]
        case ["attr", selector]:
            return "".join(_attribute(one, selector) for one in addresses[:1])
        case ["join", selector, separator]:
            return separator.join(_attribute(one, selector) for one in addresses)
        case _:
            raise _TemplateError(f"not known here: {' '.join(words)}")


def _matches(one: InterfaceAddress, selector: str, wanted: str) -> bool:
    try:
        match selector.lower():
            case "name":
                return re.search(wanted, one.name) is not None
            case "address":
                return re.search(wanted, str(one.ip)) is not None
            case "flag" | "flags":
                return all(_has_flag(one, flag.strip().lower()) for flag in wanted.split("|"))
            case "network":
                network = ipaddress.ip_network(wanted, strict=False)
                return one.ip.version == network.version and one.ip in network
            case "rfc":
                return _is_of_rfc(one, wanted)
            case "size":
                return one.network.prefixlen == int(wanted.removeprefix("/"))
            case "type":
                return wanted.lower() in ("ip", f"ipv{one.ip.version}")
            case _:
                raise _TemplateError(f"no address is chosen by {selector!r}")
    except (ValueError, re.error) as error:
        raise _TemplateError(f"{selector} {wanted!r}: {error}") from None


def _has_flag(one: InterfaceAddress, flag: str) -> bool:
    match flag:
        case "forwardable":
            return one.is_forwardable
        case "global unicast":
            return not (one.ip.is_multicast or one.ip.is_link_local or one.ip.is_loopback)
        case "link-local unicast":
            return one.ip.is_link_local
        case "loopback":
            return one.ip.is_loopback
        case _:
            return flag in one.flags


def _is_of_rfc(one: InterfaceAddress, number: str) -> bool:
    if number == "6890":
        return not one.ip.is_global
    if number not in _PRIVATE:
        raise _TemplateError(f"networks of RFC {number} are not known here")
    networks = [ipaddress.ip_network(text) for text in _PRIVATE[number]]
    return any(one.ip in network for network in networks if network.version == one.ip.version)


def _sorted_by(addresses: Addresses, key: str) -> Addresses:
    descending = key.startswith("-")
    name = key.lstrip("+-")
    keys: dict[str, Callable[[InterfaceAddress], object]] = {
        "address": lambda one: (one.ip.version, int(one.ip)),
        "default": lambda one: not one.is_default,
        "name": lambda one: one.name,
        "network": lambda one: (one.network.version, int(one.network.network_address)),
        "private": lambda one: not one.is_private,
        "size": lambda one: one.network.num_addresses,
        "type": lambda one: one.ip.version,
    }
    if name not in keys:
        raise _TemplateError(f"nothing is sorted by {name!r}")
    return sorted(addresses, key=keys[name], reverse=descending)  # type: ignore[arg-type]  # comparable with its like


def _attribute(one: InterfaceAddress, selector: str) -> str:
    match selector.lower():
        case "address":
            return str(one.ip)
        case "name":
            return one.name
        case "network":
            return str(one.network)
        case "size":
            return str(one.network.num_addresses)
        case "type":
            return f"IPv{one.ip.version}"
        case _:
            raise _TemplateError(f"an address has no attribute {selector!r}")


def _of_interface(addresses: Addresses, name: str) -> Addresses:
    return [one for one in addresses if one.name == name and one.is_forwardable]


def _is_up(one: InterfaceAddress) -> bool:
    return "up" in one.flags


def _ordered(addresses: Addresses) -> Addresses:
    """The default route's interface first, IPv4 before IPv6, small networks before large ones."""
    return sorted(
        addresses,
        key=lambda one: (not one.is_default, one.ip.version, one.network.num_addresses),
    )


def _join(addresses: Addresses, separator: str) -> str:
    return separator.join(str(one.ip) for one in addresses)
