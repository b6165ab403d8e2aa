"""Where the HTTP API listens: TCP, TLS, and Unix sockets with owner and mode."""

import asyncio
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from svcmesh.config import AgentConfig, UnixSocketsConfig
from svcmesh.config.network import UNIX
from svcmesh.errors import ConfigError
from svcmesh.goformats import join_host_port

ACCEPTING_TURNS: Final = 3
"""Of the loop, until a connection that was just accepted is made."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """An IP address and a port, with TLS or without."""

    host: str
    port: int
    is_tls: bool = False

    def __str__(self) -> str:
        """Write it as Go does."""
        return join_host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A path in the file system."""

    path: Path

    def __str__(self) -> str:
        """Write it as configuration files do."""
        return f"unix://{self.path}"


Listen = TcpAddress | UnixAddress


def http_listeners(config: AgentConfig) -> list[Listen]:
    """Every place that the configuration wants the HTTP API at."""
    ports = config.ports
    found: list[Listen] = [
        UnixAddress(Path(one.removeprefix(UNIX)))
        for one in config.http_addrs
        if one.startswith(UNIX)
    ]
    if ports.http > 0:
        found += [
            TcpAddress(one, ports.http) for one in config.http_addrs if not one.startswith(UNIX)
        ]
    if ports.https > 0:
        found += [TcpAddress(one, ports.https, is_tls=True) for one in config.https_addrs]
    return found


async def stop_accepting(listeners: Sequence[asyncio.Server]) -> None:
    """Close listeners. All connections that came in by them are made then.

    asyncio loses whom it has accepted but not attached when a server is closed.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        for sock in listener.sockets:
            loop.remove_reader(sock)
    for _ in range(ACCEPTING_TURNS):
        await asyncio.sleep(0)
    for listener in listeners:
        listener.close()


def listening_unix_socket(address: UnixAddress, config: UnixSocketsConfig) -> socket.socket:
    """Make a socket in the file system, in place of one that an earlier run left.

    Raises:
        OSError: It cannot be made, or the path holds something else.
        ConfigError: Its owner or mode cannot be set.
    """
    path = address.path
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody else may connect before owner and mode are what they should be.
        mask = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(mask)
        _give(path, config)
    except (OSError, ConfigError):
        made.close()
        raise
    return made


def _give(path: Path, config: UnixSocketsConfig) -> None:
    user = _id(config.user, "user", lambda name: pwd.getpwnam(name).pw_uid)
    group = _id(config.group, "group", lambda name: grp.getgrnam(name).gr_gid)
    try:
        if user >= 0 or group >= 0:
            os.chown(path, user, group)
        path.chmod(config.mode if config.mode is not None else 0o755)
    except OSError as error:
        raise ConfigError(f"unix_sockets: {path}: {error.strerror}") from error


def _id(name: str, what: str, find: Callable[[str], int]) -> int:
    """The number of a user or group, itself a number or a name; -1 for none."""
    if not name:
        return -1
    if name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError:
        raise ConfigError(f"unix_sockets.{what}: there is no {what} {name}") from None
