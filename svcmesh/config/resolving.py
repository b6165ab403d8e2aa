"""Validates merged settings, settles what depends on others, and builds the `AgentConfig`."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from svcmesh.checks.definition import CheckDefinition
from svcmesh.config.ciphers import openssl_names
from svcmesh.config.interfaces import InterfaceAddress
from svcmesh.config.network import (
    UNIX,
    check_listeners,
    choose_advertise_address,
    choose_bind_address,
    choose_wan_addresses,
    parse_listen_addresses,
    parse_networks,
    parse_recursor,
    resolve_ports,
)
from svcmesh.config.setting import build
from svcmesh.config.settings import (
    BY_PATH,
    LOG_LEVELS,
    TTL,
    AgentConfig,
    IpNetwork,
    Origin,
    Ports,
)
from svcmesh.config.templates import expand
from svcmesh.config.values import Value
from svcmesh.definitions import ServiceDefinition, check_metadata
from svcmesh.errors import ConfigError
from svcmesh.goformats import error_list

_VERIFICATION: Final = (
    "verify_incoming", "verify_incoming_rpc", "verify_incoming_https", "verify_outgoing",
    "verify_server_hostname",
)  # fmt: skip
_KEY_BYTES: Final = (16, 24, 32)
_DATACENTER: Final = re.compile(r"[a-z0-9_-]+")
_DNS_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_DOMAIN_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")

T = TypeVar("T", str, int, float, bool)


class Resolver:
    """Turns merged values into a configuration. One use.

    `host_addresses` and `host_name` are asked only when a setting needs them.
    """

    def __init__(
        self,
        values: Mapping[str, Value],
        *,
        dev: bool,
        host_addresses: Callable[[], list[InterfaceAddress]],
        host_name: Callable[[], str],
    ) -> None:
        self._values, self._dev = values, dev
        self._host_addresses, self._host_name = host_addresses, host_name
        self._warnings: list[str] = []

    def resolve(
        self,
        *,
        services: tuple[ServiceDefinition, ...],
        checks: tuple[CheckDefinition, ...],
        origin: Origin,
        warnings: Sequence[str],
    ) -> AgentConfig:
        """Validate and build.

        Raises:
            ConfigError: The text names the setting.
        """
        # First what a newcomer who forgets everything should be told.
        data_dir = self._data_dir()
        server = self._bool("server")
        bootstrap, bootstrap_expect = self._bootstrap(server=server)
        self._check_ranges()
        self._check_verification()
        bind_addr = choose_bind_address(self._ip_addresses("bind_addr"))
        advertise_addr = choose_advertise_address(
            self._ip_addresses("advertise_addr"), bind_addr, self._host_addresses
        )
        serf_wan_addr, advertise_addr_wan = choose_wan_addresses(
            self._ip_addresses("serf_wan"),
            self._ip_addresses("advertise_addr_wan"),
            bind_addr=bind_addr,
            advertise_addr=advertise_addr,
        )
        ports = self._ports()
        self._check_wan(server=server and ports.serf_wan > 0)
        client_addrs = self._ip_addresses("client_addr", allows_unix=True)
        http_addrs = self._ip_addresses("addresses.http", allows_unix=True) or client_addrs
        client_ips = tuple(one for one in client_addrs if not one.startswith(UNIX))
        https_addrs = self._ip_addresses("addresses.https") or client_ips
        dns_addrs = self._ip_addresses("addresses.dns") or client_ips
        check_listeners(
            {"DNS": dns_addrs, "HTTP": http_addrs, "HTTPS": https_addrs},
            advertise_addr,
            advertise_addr_wan,
            ports,
        )
        domain, alt_domain = self._domain("domain"), self._domain("alt_domain")
        if not domain:
            raise ConfigError("domain cannot be empty")
        known: dict[str, object] = {
            "node_name": self._node_name(),
            "node_id": self._node_id(),
            "node_meta": self._node_meta(),
            "datacenter": self._datacenter(),
            "bootstrap": bootstrap,
            "bootstrap_expect": bootstrap_expect,
            "dev": self._dev,
            "data_dir": data_dir,
            "bind_addr": bind_addr,
            "advertise_addr": advertise_addr,
            "serf_wan": serf_wan_addr,
            "advertise_addr_wan": advertise_addr_wan,
            "client_addr": client_addrs,
            "addresses.http": http_addrs,
            "addresses.https": https_addrs,
            "addresses.dns": dns_addrs,
            "http_config.allow_write_http_from": self._allow_write_http_from(),
            "unix_sockets.mode": self._unix_mode(),
            "tls_min_version": self._text("tls_min_version").lower(),
            "tls_cipher_suites": openssl_names(self._text("tls_cipher_suites")),
            "ports": ports,
            "start_join": self._join_addresses("start_join"),
            "retry_join": self._join_addresses("retry_join"),
            "start_join_wan": self._join_addresses("start_join_wan"),
            "retry_join_wan": self._join_addresses("retry_join_wan"),
            "leave_on_terminate": self._optional("leave_on_terminate", bool, not server),
            "skip_leave_on_interrupt": self._optional("skip_leave_on_interrupt", bool, server),
            "encrypt": self._gossip_key("encrypt"),
            "encrypt_wan": self._gossip_key("encrypt_wan"),
            "domain": domain,
            "alt_domain": alt_domain if alt_domain != domain else "",
            "recursors": self._recursors(),
            "dns_config.recursor_strategy": self._text("dns_config.recursor_strategy").lower(),
            "dns_config.node_ttl": int(self._typed("dns_config.node_ttl", float)),
            "dns_config.service_ttl": self._service_ttl_s(),
            "log_level": self._log_level(),
            "log_rotate_duration": self._typed("log_rotate_duration", float) or 86400.0,
            "pid_file": Path(pid_file) if (pid_file := self._text("pid_file")) else None,
            "services": services,
            "checks": checks,
            "origin": origin,
            "values": self._values,
        }
        config: AgentConfig = build(
            AgentConfig, self._values, known | {"warnings": (*warnings, *self._warnings)}
        )
        # The libraries know best what their own settings may be.
        config.swim_config()
        config.swim_config_wan()
        config.dns_server_config()
        return config

    def _check_ranges(self) -> None:
        problems = [
            problem
            for path, value in self._values.items()
            if (problem := BY_PATH[path].problem(value))
        ]
        if problems:
            raise ConfigError(problems[0] if len(problems) == 1 else error_list(problems))

    # -- typed access -----------------------------------------------------------------------

    def _typed(self, path: str, wanted: type[T]) -> T:
        value = self._values[path]
        assert isinstance(value, wanted), path
        return value

    def _optional(self, path: str, wanted: type[T], default: T) -> T:
        return self._typed(path, wanted) if path in self._values else default

    def _text(self, path: str) -> str:
        return self._optional(path, str, "")

    def _bool(self, path: str) -> bool:
        return self._typed(path, bool)

    # -- what the agent is ------------------------------------------------------------------

    def _data_dir(self) -> Path | None:
        text = self._text("data_dir")
        if self._dev:
            if text:
                self._warnings.append("data_dir has no effect: -dev keeps everything in memory")
            return None
        if not text:
            raise ConfigError("data_dir cannot be empty")
        return Path(text)

    def _node_name(self) -> str:
        name = self._text("node_name").strip() or self._host_name()
        if not name:
            raise ConfigError("node_name cannot be empty")
        if not _DNS_NAME.fullmatch(name):
            self._warnings.append(
                f'Node name "{name}" will not be discoverable via DNS due to invalid characters. '
                "Valid characters include all alpha-numerics and dashes."
            )
        elif len(name) > 63:
            self._warnings.append(
                f'Node name "{name}" will not be discoverable via DNS due to it being too long. '
                "Valid lengths are between 1 and 63 bytes."
            )
        return name

    def _node_id(self) -> str:
        text = self._text("node_id").lower()
        if not text:
            return ""
        try:
            canonical = str(UUID(text))
        except ValueError:
            canonical = ""
        if canonical != text:
            raise ConfigError(f'node_id "{text}" is not a UUID such as {UUID(int=0)}')
        return text

    def _node_meta(self) -> dict[str, str]:
        meta = self._values["node_meta"]
        assert isinstance(meta, dict)
        texts = {key: str(value) for key, value in meta.items()}
        if problem := check_metadata(texts):
            raise ConfigError(f"node_meta invalid: {problem}")
        return texts

    def _datacenter(self) -> str:
        name = self._text("datacenter").lower()
        if not name:
            raise ConfigError("datacenter cannot be empty")
        if not _DATACENTER.fullmatch(name):
            raise ConfigError(f'datacenter cannot be "{name}". Please use only [a-z0-9-_]')
        return name

    def _bootstrap(self, *, server: bool) -> tuple[bool, int]:
        bootstrap, expect = self._bool("bootstrap"), self._typed("bootstrap_expect", int)
        if self._dev and expect > 0:
            raise ConfigError("'bootstrap_expect > 0' not allowed in dev mode")
        if bootstrap and not server:
            raise ConfigError("'bootstrap = true' requires 'server = true'")
        if expect > 0 and not server:
            raise ConfigError("'bootstrap_expect > 0' requires 'server = true'")
        if bootstrap and expect > 1:
            raise ConfigError(
                "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive"
            )
        return (True, 0) if expect == 1 else (bootstrap, expect)

    def _gossip_key(self, path: str) -> bytes | None:
        text = self._text(path)
        if not text:
            return None
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ConfigError(f"{path} has invalid key: not base64: {error}") from None
        if len(key) not in _KEY_BYTES:
            raise ConfigError(
                f"{path} has invalid key: key size must be 16, 24 or 32 bytes, got {len(key)}"
            )
        return key

    def _log_level(self) -> str:
        level = self._text("log_level").upper()
        if level not in LOG_LEVELS:
            raise ConfigError(
                f"Invalid log level: {self._text('log_level')}. "
                f"Valid log levels are: [{' '.join(LOG_LEVELS)}]"
            )
        return level

    # -- where it is ------------------------------------------------------------------------

    def _ip_addresses(self, path: str, *, allows_unix: bool = False) -> tuple[str, ...]:
        text = self._text(path)
        expanded = expand(text, self._host_addresses, at=path)
        if text.strip() and not expanded.strip():
            raise ConfigError(f"{path} cannot be empty: {text} finds no address on this host")
        return parse_listen_addresses(expanded, at=path, allows_unix=allows_unix)

    def _join_addresses(self, path: str) -> tuple[str, ...]:
        addresses = self._values[path]
        assert isinstance(addresses, tuple)
        for address in addresses:
            if "provider=" in address:
                raise ConfigError(f"{path}: cloud auto-join is not built yet: {address}")
        return tuple(
            one
            for address in addresses
            for one in expand(address, self._host_addresses, at=path).split()
        )

    def _ports(self) -> Ports:
        names = ("dns", "http", "https", "serf_lan", "serf_wan", "server")
        return resolve_ports({name: self._typed(f"ports.{name}", int) for name in names})

    def _check_wan(self, *, server: bool) -> None:
        """Refuse or warn of what asks for the WAN pool on an agent that is not in it.

        Clients may share a file with servers, so what would be tried for ever is passed over.
        """
        why = "only a server with ports.serf_wan joins the WAN pool"
        if self._values["start_join_wan"] and not server:
            raise ConfigError(f"start_join_wan: {why}")
        if self._values["retry_join_wan"] and not server:
            self._warnings.append(f"retry_join_wan has no effect: {why}")

    def _recursors(self) -> tuple[tuple[str, int], ...]:
        words = self._values["recursors"]
        assert isinstance(words, tuple)
        return tuple(dict.fromkeys(parse_recursor(word, at="recursors") for word in words))

    # -- the HTTP API -----------------------------------------------------------------------

    def _allow_write_http_from(self) -> tuple[IpNetwork, ...]:
        texts = self._values["http_config.allow_write_http_from"]
        assert isinstance(texts, tuple)
        return parse_networks(texts, at="allow_write_http_from")

    def _unix_mode(self) -> int | None:
        text = self._text("unix_sockets.mode")
        try:
            mode = int(text, 8) if text else None
        except ValueError:
            mode = -1
        if mode is not None and not 0 <= mode <= 0o777:
            raise ConfigError(f'unix_sockets.mode: must be octal like 0700, got "{text}"')
        return mode

    def _check_verification(self) -> None:
        """Refuse to check certificates without anything to check them with."""
        has_authority = self._text("ca_file") or self._text("ca_path")
        has_pair = self._text("cert_file") and self._text("key_file")
        asked = [path for path in _VERIFICATION if self._bool(path)]
        if asked and not has_authority:
            raise ConfigError(f"{asked[0]} set, and no CA certificate provided (ca_file, ca_path)")
        incoming = [path for path in asked if path.startswith("verify_incoming")]
        if incoming and not has_pair:
            raise ConfigError(
                f"{incoming[0]} set, and no Cert/Key pair provided (cert_file, key_file)"
            )
        if bool(self._text("cert_file")) != bool(self._text("key_file")):
            raise ConfigError("cert_file and key_file: one needs the other")

    # -- the parts --------------------------------------------------------------------------

    def _domain(self, path: str) -> str:
        text = self._text(path).strip().lower().rstrip(".")
        if not text:
            return ""
        if not all(_DOMAIN_LABEL.fullmatch(label) for label in text.split(".")) or len(text) > 253:
            raise ConfigError(f'{path} cannot be "{text}": not a domain name')
        return f"{text}."

    def _service_ttl_s(self) -> dict[str, int]:
        ttls = self._values["dns_config.service_ttl"]
        assert isinstance(ttls, dict)
        for service, ttl_s in ttls.items():
            if problem := TTL.problem(float(ttl_s)):
                raise ConfigError(f"dns_config.service_ttl.{service} {problem}")
        # Whole seconds, as DNS carries them.
        return {service: int(ttl_s) for service, ttl_s in ttls.items()}
