"""Where the HTTP API listens: TCP, TLS, and Unix sockets with owner and mode."""

import grp
import os
import pwd
import socket
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from svcmesh.config import AgentConfig, TlsConfig, UnixSocketsConfig
from svcmesh.config.network import UNIX
from svcmesh.errors import ConfigError

_MINIMUM_VERSIONS: Final = {
    "tls10": ssl.TLSVersion.TLSv1,
    "tls11": ssl.TLSVersion.TLSv1_1,
    "tls12": ssl.TLSVersion.TLSv1_2,
    "tls13": ssl.TLSVersion.TLSv1_3,
}


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """An IP address and a port, with TLS or without."""

    host: str
    port: int
    is_tls: bool = False

    def __str__(self) -> str:
        """Write it as Go does."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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


def server_context(config: TlsConfig) -> ssl.SSLContext:
    """Load what HTTPS is served with.

    Raises:
        ConfigError: A file is missing or is not what it should be; the text names the setting.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM_VERSIONS[config.tls_min_version]
    load_certificate(context, config)
    if config.ca_file or config.ca_path:
        try:
            context.load_verify_locations(config.ca_file or None, config.ca_path or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file: {config.ca_file or config.ca_path}: {error}") from error
    if config.verify_incoming or config.verify_incoming_https:
        if not (config.ca_file or config.ca_path):
            raise ConfigError("verify_incoming set, and no CA certificate provided")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Load certificate and key, also again: new connections get the new ones.

    Raises:
        ConfigError: They cannot be used. The context keeps what it has.
    """
    if not (config.cert_file and config.key_file):
        raise ConfigError("ports.https: needs cert_file and key_file")
    try:
        # Into another one first: a failure halfway would leave certificate and key of two pairs.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.cert_file, config.key_file)
        context.load_cert_chain(config.cert_file, config.key_file)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cert_file {config.cert_file}, key_file: {why}") from error
