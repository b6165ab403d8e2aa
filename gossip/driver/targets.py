"""Whom to join: `host`, `host:port`, `[v6]:port`, each perhaps with `name/` in front (8.7)."""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from gossip.driver.sockets import AddressFamily
from gossip.types import Address


class TargetError(ValueError):
    """A target cannot be read or looked up; the text is for an operator."""


def split_target(target: str, *, default_port: int) -> tuple[str, int]:
    """Take a target apart into host and port. A node name in front only matters to proxies.

    Raises:
        TargetError: The port is no number from 1 to 65535, or there is no host.
    """
    rest = target.rpartition("/")[2].strip()
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        port_text = tail.removeprefix(":") if tail else ""
    elif rest.count(":") == 1:
        host, _, port_text = rest.partition(":")
    else:
        host, port_text = rest, ""
    if not host:
        raise TargetError(f"no host in {target!r}")
    if not port_text:
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) <= 65535):
        raise TargetError(f"bad port in {target!r}")
    return host, int(port_text)


async def resolve_target(
    target: str, *, default_port: int, family: AddressFamily, timeout_s: float
) -> list[Address]:
    """Every address that a target stands for, in the resolver's order.

    Raises:
        TargetError: It cannot be read, is unknown, or has no address that we can send to.
    """
    host, port = split_target(target, default_port=default_port)
    try:
        return [_reachable(Address(str(ip_address(host)), port), family)]
    except TargetError:
        raise
    except ValueError:
        pass  # a name, not an address
    try:
        async with asyncio.timeout(timeout_s):
            found = await _look_up(host, port)
    except TimeoutError as error:
        raise TargetError(f"lookup {host}: i/o timeout") from error
    except (OSError, UnicodeError) as error:
        raise TargetError(f"lookup {host}: no such host") from error
    addresses = dict.fromkeys(Address(str(sockaddr[0]), port) for *_, sockaddr in found)
    reachable = [address for address in addresses if family.reaches(address.host)]
    if not reachable:
        raise TargetError(f"lookup {host}: no suitable address")
    return reachable


def _look_up(host: str, port: int) -> asyncio.Future[list[Any]]:
    """Ask the system's resolver; the result or what it raised.

    A thread of its own, because nothing ends a resolver that waits: in the loop's pool it would
    keep others from working and the process from ending.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def tell(result: list[Any] | OSError | UnicodeError) -> None:
        if found.done():
            return  # nobody waits any more
        if isinstance(result, list):
            found.set_result(result)
        else:
            found.set_exception(result)

    def work() -> None:
        result: list[Any] | OSError | UnicodeError
        try:
            result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            result = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=work, name="resolver", daemon=True).start()
    return found


def _reachable(address: Address, family: AddressFamily) -> Address:
    if not family.reaches(address.host):
        raise TargetError(f"dial tcp {address}: no suitable address family")
    return address
