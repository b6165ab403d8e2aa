"""The agent's configuration, resolved and valid. Where it comes from is `loading.py`'s business."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from svcmesh.definitions import ServiceDefinition
from svcmesh.errors import ConfigError

if TYPE_CHECKING:
    from dnsserver.config import DnsConfig as DnsServerConfig
    from gossip.config import SwimConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """Ports to listen on and to announce; -1 is off."""

    dns: int
    http: int
    serf_lan: int
    serf_wan: int
    server: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SoaConfig:
    """Fields of the SOA record, seconds."""

    refresh_s: int
    retry_s: int
    expire_s: int
    min_ttl_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsConfig:
    """How DNS answers."""

    node_ttl_s: int
    service_ttl_s: dict[str, int]
    """By service name; `*` and `prefix*` are patterns."""
    udp_answer_limit: int
    a_record_limit: int
    """0: no limit."""
    enable_truncate: bool
    only_passing: bool
    enable_additional_node_meta_txt: bool
    soa: SoaConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class GossipLanConfig:
    """Gossip inside the data center."""

    gossip_nodes: int
    gossip_interval_s: float
    probe_interval_s: float
    probe_timeout_s: float
    suspicion_mult: int
    retransmit_mult: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConfig:
    """Everything an agent is told. `settings.py` says what each setting means."""

    node_name: str
    node_id: str
    """Empty: the agent keeps or draws one."""
    node_meta: dict[str, str]
    datacenter: str
    """In lower case."""
    server: bool
    bootstrap: bool
    bootstrap_expect: int
    """0 or at least 2: an expectation of 1 is `bootstrap`."""
    dev: bool
    data_dir: Path | None
    """None with `dev`: nothing is kept."""

    bind_addr: str
    advertise_addr: str
    """An IP address that others can reach."""
    client_addrs: tuple[str, ...]
    """For HTTP and DNS, where they have none of their own."""
    http_addrs: tuple[str, ...]
    dns_addrs: tuple[str, ...]
    ports: Ports

    start_join: tuple[str, ...]
    retry_join: tuple[str, ...]
    retry_interval_s: float
    retry_max: int
    """0: no limit."""
    rejoin_after_leave: bool
    leave_on_terminate: bool
    skip_leave_on_interrupt: bool
    reconnect_timeout_s: float

    encrypt: bytes | None = field(repr=False)
    """The gossip key, decoded: 16, 24 or 32 bytes."""
    encrypt_verify_incoming: bool
    encrypt_verify_outgoing: bool

    domain: str
    """In lower case, with the final dot."""
    alt_domain: str
    """Likewise; empty: none."""
    dns: DnsConfig
    gossip_lan: GossipLanConfig

    log_level: str
    """In upper case."""
    pid_file: Path | None

    services: tuple[ServiceDefinition, ...]
    config_files: tuple[Path, ...]
    """Files and folders as given, in order; read again by `reload_services`."""
    config_files_are_json: bool
    """Whatever their extensions (`-config-format=json`)."""
    warnings: tuple[str, ...]
    """What an operator should know, for the log."""

    def swim_config(self) -> "SwimConfig":
        """Give the gossip library's settings for the LAN pool.

        Raises:
            ConfigError: `gossip_lan` contradicts itself; never after `load_config`.
        """
        # Imported here: the command line reads service definitions without the gossip library.
        from gossip.config import lan
        from gossip.errors import ConfigError as GossipConfigError

        gossip = self.gossip_lan
        try:
            return replace(
                lan(),
                gossip_nodes=gossip.gossip_nodes,
                gossip_interval_s=gossip.gossip_interval_s,
                probe_interval_s=gossip.probe_interval_s,
                probe_timeout_s=gossip.probe_timeout_s,
                suspicion_mult=gossip.suspicion_mult,
                retransmit_mult=gossip.retransmit_mult,
            )
        except GossipConfigError as error:
            raise ConfigError(f"gossip_lan.{error}") from error

    def dns_server_config(self) -> "DnsServerConfig":
        """Give the DNS library's settings.

        Raises:
            ConfigError: A domain or `dns_config` is wrong; never after `load_config`.
        """
        # Imported here, like the gossip library above.
        from dnsserver.config import DnsConfig as DnsServerConfig
        from dnsserver.config import SoaConfig as DnsServerSoa
        from dnsserver.errors import DnsConfigError

        dns, soa = self.dns, self.dns.soa
        try:
            return DnsServerConfig(
                domain=self.domain,
                alt_domain=self.alt_domain,
                node_ttl_s=dns.node_ttl_s,
                service_ttl_s=dns.service_ttl_s,
                udp_answer_limit=dns.udp_answer_limit,
                a_record_limit=dns.a_record_limit,
                enable_truncate=dns.enable_truncate,
                enable_additional_node_meta_txt=dns.enable_additional_node_meta_txt,
                soa=DnsServerSoa(
                    refresh_s=soa.refresh_s,
                    retry_s=soa.retry_s,
                    expire_s=soa.expire_s,
                    min_ttl_s=soa.min_ttl_s,
                ),
            )
        except DnsConfigError as error:
            raise ConfigError(f"dns_config: {error}") from error
