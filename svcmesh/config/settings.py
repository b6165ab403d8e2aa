"""Every setting of the agent: key, type, default, range, flag, meaning, and who holds it.

A field declared with `setting` is all it takes (see `setting.py`): the parsers of files and flags,
`svcmesh agent -help` and `docs/configuration.md` come from here. Keys, types and, unless a text
says otherwise, defaults are Consul's. What must be worked out, or depends on other settings, is in
`resolving.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Final

from svcmesh.checks.definition import OUTPUT_BYTES_MAX, CheckDefinition
from svcmesh.config.setting import NOT_NEGATIVE, POSITIVE, Range, group, setting, settings_of
from svcmesh.config.values import Kind, Value
from svcmesh.definitions import ServiceDefinition
from svcmesh.errors import ConfigError

if TYPE_CHECKING:
    from dnsserver.config import DnsConfig as DnsServerConfig
    from dnsserver.config import ServerLimits
    from gossip.config import SwimConfig

S, INT, BOOL, DUR, STRINGS = (
    Kind.STRING, Kind.INTEGER, Kind.BOOLEAN, Kind.DURATION, Kind.STRINGS,
)  # fmt: skip

IpNetwork = IPv4Network | IPv6Network

LOG_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERR", "ERROR")
SYSLOG_FACILITIES: Final = (
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV",
    "FTP", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
)  # fmt: skip
TTL_S_MAX: Final = 2**31 - 1
"""RFC 2181, 8."""
TTL: Final = Range(least=0, most=TTL_S_MAX)
SESSION_TTL: Final = Range(above=0, most=86400)
QUERY_TIME: Final = Range(above=0, most=3000)
"""With its sixteenth, and the time to answer, less than the hour that a call between agents has."""

# Tables: what belongs to one setting stays together.
# fmt: off


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """Ports to listen on and to announce; -1 is off."""

    dns: int = setting("ports.dns", INT, 8600, flag="dns-port",
        doc="Port of the DNS server; -1 turns it off.")
    http: int = setting("ports.http", INT, 8500, flag="http-port",
        doc="Port of the HTTP API; -1 turns it off.")
    serf_lan: int = setting("ports.serf_lan", INT, 8301, flag="serf-lan-port",
        doc="Port of LAN gossip, TCP and UDP.")
    serf_wan: int = setting("ports.serf_wan", INT, 8302, flag="serf-wan-port",
        doc="Port of WAN gossip, TCP and UDP, between the servers of all data centers; -1 turns it "
            "off.")
    server: int = setting("ports.server", INT, 8300, flag="server-port",
        doc="Port for agent-to-agent calls that a server announces.")
    https: int = setting("ports.https", INT, -1, flag="https-port",
        doc="Port of the HTTP API with TLS; -1 turns it off.")


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpConfig:
    """What the HTTP API lets through, and adds."""

    block_endpoints: tuple[str, ...] = setting("http_config.block_endpoints", STRINGS, (),
        doc="Beginnings of paths that are answered with 403, such as `/v1/agent/service`.")
    allow_write_http_from: tuple[IpNetwork, ...] = setting(
        "http_config.allow_write_http_from", STRINGS, (), flag="allow-write-http-from",
        doc="Networks such as `127.0.0.0/8` that may write by HTTP; none given: all may.")
    response_headers: dict[str, str] = setting("http_config.response_headers", Kind.STRING_MAP, {},
        aliases=("http_api_response_headers",),
        doc="Headers for every answer of the HTTP API.")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnixSocketsConfig:
    """Who may use Unix sockets; they are made where `addresses.http` says `unix://PATH`."""

    user: str = setting("unix_sockets.user", S, "",
        doc="Owner of Unix sockets, name or number. Default: the agent's.")
    group: str = setting("unix_sockets.group", S, "",
        doc="Group of Unix sockets, name or number. Default: the agent's.")
    mode: int | None = setting("unix_sockets.mode", S, "",
        doc="Permissions of Unix sockets, octal. Default: 755.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsConfig:
    """TLS of calls between agents (port 8300) and of HTTPS. Gossip is protected by `encrypt`.

    All of it can be reloaded, and the files are read again by every reload.
    """

    cert_file: str = setting("cert_file", S, "", reloadable=True,
        doc="Certificate of this agent in PEM, with those between it and its CA.")
    key_file: str = setting("key_file", S, "", reloadable=True,
        doc="Private key of the certificate in PEM.")
    ca_file: str = setting("ca_file", S, "", reloadable=True,
        doc="Certificates in PEM that others' certificates are checked with.")
    ca_path: str = setting("ca_path", S, "", reloadable=True,
        doc="Folder of such files, all of which are read; ca_file wins.")
    verify_incoming: bool = setting("verify_incoming", BOOL, False, reloadable=True,
        doc="Both verify_incoming_rpc and verify_incoming_https. Needs ca_file and cert_file.")
    verify_incoming_https: bool = setting("verify_incoming_https", BOOL, False, reloadable=True,
        doc="Clients of HTTPS must have a certificate.")
    verify_incoming_rpc: bool = setting("verify_incoming_rpc", BOOL, False, reloadable=True,
        doc="Agents that call this server must do so with TLS and a certificate. Without it both "
            "are served, once there is a certificate: so a cluster can change over.")
    verify_outgoing: bool = setting("verify_outgoing", BOOL, False, reloadable=True,
        doc="Call servers with TLS only, and check their certificates. Needs ca_file.")
    verify_server_hostname: bool = setting("verify_server_hostname", BOOL, False, reloadable=True,
        doc="Like verify_outgoing, and servers' certificates must be for "
            "`server.DATACENTER.DOMAIN` (domain or alt_domain). With verify_incoming_rpc only "
            "agents with such a certificate may act as servers.")
    tls_min_version: str = setting("tls_min_version", S, "tls12", reloadable=True,
        choices=("tls10", "tls11", "tls12", "tls13"),
        doc="Oldest TLS that is spoken.")
    tls_cipher_suites: tuple[str, ...] = setting("tls_cipher_suites", S, "", reloadable=True,
        doc="Cipher suites for TLS 1.2 and older, separated by commas, by their names in the RFCs, "
            "such as `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`. Default: OpenSSL's.")

    @property
    def verifies_incoming_rpc(self) -> bool:
        """Whether agents that call must have a certificate."""
        return self.verify_incoming or self.verify_incoming_rpc

    @property
    def verifies_incoming_https(self) -> bool:
        """Whether clients of HTTPS must have a certificate."""
        return self.verify_incoming or self.verify_incoming_https

    @property
    def verifies_outgoing(self) -> bool:
        """Whether servers are called with TLS: a name that is checked says so too, as in Consul."""
        return self.verify_outgoing or self.verify_server_hostname


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitsConfig:
    """What one client of a server may take."""

    rpc_handshake_timeout_s: float = setting("limits.rpc_handshake_timeout", DUR, 5.0,
        within=POSITIVE, reloadable=True,
        doc="How long an agent that connects to the server's port may take to say what it wants, "
            "or for its TLS handshake.")
    rpc_max_conns_per_client: int = setting("limits.rpc_max_conns_per_client", INT, 100,
        within=NOT_NEGATIVE, reloadable=True,
        doc="Connections from one IP address to the server's port; 0 is no limit.")
    http_max_conns_per_client: int = setting("limits.http_max_conns_per_client", INT, 200,
        within=NOT_NEGATIVE, reloadable=True,
        doc="Connections from one IP address to HTTP and HTTPS; 0 is no limit. This host has none.")
    https_handshake_timeout_s: float = setting("limits.https_handshake_timeout", DUR, 5.0,
        within=POSITIVE,
        doc="How long a client of HTTPS may take for its TLS handshake.")


@dataclass(frozen=True, kw_only=True, slots=True)
class AutopilotConfig:
    """How the group of servers is looked after, until an operator says otherwise."""

    cleanup_dead_servers: bool = setting("autopilot.cleanup_dead_servers", BOOL, True,
        doc="Take dead servers out of the group, as long as fewer than half are dead. This and "
            "the other settings of autopilot are what a new group of servers begins with: the "
            "first leader that is given any stores them, and from then on they are changed by "
            "`svcmesh operator autopilot set-config` only.")
    last_contact_threshold_s: float = setting("autopilot.last_contact_threshold", DUR, 0.2,
        within=NOT_NEGATIVE,
        doc="Without a word from the leader for so long, a server counts as unhealthy.")
    max_trailing_logs: int = setting("autopilot.max_trailing_logs", INT, 250, within=NOT_NEGATIVE,
        doc="As many entries behind the leader, a server counts as unhealthy, and does not get a "
            "vote.")
    min_quorum: int = setting("autopilot.min_quorum", INT, 0, within=NOT_NEGATIVE,
        doc="Take no dead server out below so many voters.")
    server_stabilization_time_s: float = setting("autopilot.server_stabilization_time", DUR, 10.0,
        within=NOT_NEGATIVE,
        doc="A new server votes after it was healthy for so long.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SoaConfig:
    """Fields of the SOA record, seconds."""

    refresh_s: int = setting("dns_config.soa.refresh", INT, 3600, reloadable=True, within=TTL,
        doc="SOA refresh, seconds.")
    retry_s: int = setting("dns_config.soa.retry", INT, 600, reloadable=True, within=TTL,
        doc="SOA retry, seconds.")
    expire_s: int = setting("dns_config.soa.expire", INT, 86400, reloadable=True, within=TTL,
        doc="SOA expire, seconds.")
    min_ttl_s: int = setting("dns_config.soa.min_ttl", INT, 0, reloadable=True, within=TTL,
        doc="SOA minimum: how long a negative answer is cached, seconds.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsConfig:
    """How DNS answers."""

    node_ttl_s: int = setting("dns_config.node_ttl", DUR, 0.0, reloadable=True, within=TTL,
        doc="TTL of answers about nodes; whole seconds.")
    service_ttl_s: dict[str, int] = setting("dns_config.service_ttl", Kind.DURATION_MAP, {},
        reloadable=True,
        doc="TTL of answers by service name; `*` and `prefix*` are patterns; whole seconds.")
    udp_answer_limit: int = setting("dns_config.udp_answer_limit", INT, 3,
        reloadable=True, within=NOT_NEGATIVE,
        doc="Most records of a UDP answer without EDNS0.")
    a_record_limit: int = setting("dns_config.a_record_limit", INT, 0,
        reloadable=True, within=NOT_NEGATIVE,
        doc="Most A or AAAA records of an answer; 0 is no limit.")
    enable_truncate: bool = setting("dns_config.enable_truncate", BOOL, False, reloadable=True,
        doc="Set the TC flag when records were left out of a UDP answer.")
    only_passing: bool = setting("dns_config.only_passing", BOOL, False, reloadable=True,
        doc="Leave out instances whose checks warn.")
    enable_additional_node_meta_txt: bool = setting(
        "dns_config.enable_additional_node_meta_txt", BOOL, True, reloadable=True,
        doc="Add TXT records with node metadata to the additional section.")
    recursor_timeout_s: float = setting("dns_config.recursor_timeout", DUR, 2.0,
        reloadable=True, within=POSITIVE,
        doc="How long a recursor may take before the next one is asked.")
    recursor_strategy: str = setting("dns_config.recursor_strategy", S, "sequential",
        reloadable=True, choices=("sequential", "random"),
        doc="Order in which recursors are asked: as given, or another one for each query.")
    response_rate_limit: int = setting("dns_config.response_rate_limit", INT, 0,
        reloadable=True, within=NOT_NEGATIVE,
        doc="UDP responses a second to one client network (IPv4 /24, IPv6 /56), against use of "
            "this agent to flood others; 0 is no limit. Consul has no such setting.")
    response_rate_slip: int = setting("dns_config.response_rate_slip", INT, 2,
        reloadable=True, within=NOT_NEGATIVE,
        doc="One in so many responses above response_rate_limit is a TC that sends real clients to "
            "TCP, the others are dropped; 0 drops all.")
    allow_stale: bool = setting("dns_config.allow_stale", BOOL, True, reloadable=True,
        doc="Answer for another data center as it was last known while it cannot be reached. Names "
            "of our own are always answered from memory.")
    max_stale_s: float = setting("dns_config.max_stale", DUR, 600.0,
        reloadable=True, within=NOT_NEGATIVE,
        doc="With allow_stale: for how long. Consul's default is ten years.")
    soa: SoaConfig = group(SoaConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class GossipLanConfig:
    """Gossip inside the data center. Every agent should have the same."""

    gossip_nodes: int = setting("gossip_lan.gossip_nodes", INT, 3, within=POSITIVE,
        doc="Members that each round of gossip goes to.")
    gossip_interval_s: float = setting("gossip_lan.gossip_interval", DUR, 0.2, within=POSITIVE,
        doc="Time between rounds of gossip.")
    probe_interval_s: float = setting("gossip_lan.probe_interval", DUR, 1.0, within=POSITIVE,
        doc="Time between probes of other members.")
    probe_timeout_s: float = setting("gossip_lan.probe_timeout", DUR, 0.5, within=POSITIVE,
        doc="Wait for a direct answer to a probe; below probe_interval.")
    suspicion_mult: int = setting("gossip_lan.suspicion_mult", INT, 4, within=POSITIVE,
        doc="Multiplier of the time that a suspected member has to refute.")
    retransmit_mult: int = setting("gossip_lan.retransmit_mult", INT, 4, within=POSITIVE,
        doc="Multiplier of the number of times a rumor is sent.")


@dataclass(frozen=True, kw_only=True, slots=True)
class GossipWanConfig:
    """Gossip between data centers. Every server should have the same."""

    gossip_nodes: int = setting("gossip_wan.gossip_nodes", INT, 4, within=POSITIVE,
        doc="Servers that each round of WAN gossip goes to.")
    gossip_interval_s: float = setting("gossip_wan.gossip_interval", DUR, 0.5, within=POSITIVE,
        doc="Time between rounds of WAN gossip.")
    probe_interval_s: float = setting("gossip_wan.probe_interval", DUR, 5.0, within=POSITIVE,
        doc="Time between probes of other servers.")
    probe_timeout_s: float = setting("gossip_wan.probe_timeout", DUR, 3.0, within=POSITIVE,
        doc="Wait for a direct answer to a probe; below probe_interval.")
    suspicion_mult: int = setting("gossip_wan.suspicion_mult", INT, 6, within=POSITIVE,
        doc="Multiplier of the time that a suspected server has to refute.")
    retransmit_mult: int = setting("gossip_wan.retransmit_mult", INT, 4, within=POSITIVE,
        doc="Multiplier of the number of times a rumor is sent.")


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConfig:
    """Everything an agent is told."""

    # -- what it is -------------------------------------------------------------------------
    node_name: str = setting("node_name", S, None, flag="node",
        doc="Name of this node, unique in the cluster. Default: host name.")
    node_id: str = setting("node_id", S, "", flag="node-id",
        doc="UUID of this node. Default: drawn at the first start and kept in data_dir.")
    node_meta: dict[str, str] = setting("node_meta", Kind.STRING_MAP, {},
        flag="node-meta", reloadable=True,
        doc="Metadata of this node, as `key:value` in a flag; at most 64 pairs.")
    datacenter: str = setting("datacenter", S, "dc1", flag="datacenter",
        doc="Data center of this agent, in lower case.")
    server: bool = setting("server", BOOL, False, flag="server",
        doc="Run as a server. It carries the consistent store.")
    bootstrap: bool = setting("bootstrap", BOOL, False, flag="bootstrap",
        doc="A server that may elect itself leader.")
    bootstrap_expect: int = setting("bootstrap_expect", INT, 0,
        flag="bootstrap-expect", within=NOT_NEGATIVE,
        doc="Number of servers to wait for before the first election; 1 is bootstrap.")
    dev: bool
    data_dir: Path | None = setting("data_dir", S, "", flag="data-dir",
        doc="Folder for the agent's state: identity, services, keyring, peers. Required without "
            "-dev, which keeps everything in memory.")

    # -- where it is ------------------------------------------------------------------------
    bind_addr: str = setting("bind_addr", S, "0.0.0.0", flag="bind",  # noqa: S104 -- Consul's default
        doc="IP address for gossip and agent-to-agent traffic.")
    advertise_addr: str = setting("advertise_addr", S, None, flag="advertise",
        doc="IP address that others reach this agent at. Default: bind_addr, or the only private "
            "IPv4 address of the host.")
    serf_wan_addr: str = setting("serf_wan", S, None, flag="serf-wan-bind",
        doc="IP address to listen on for WAN gossip. Default: bind_addr.")
    advertise_addr_wan: str = setting("advertise_addr_wan", S, None, flag="advertise-wan",
        doc="IP address that servers of other data centers reach this server at. Default: "
            "serf_wan, or advertise_addr.")
    client_addrs: tuple[str, ...] = setting("client_addr", S, "127.0.0.1", flag="client",
        doc="IP addresses for HTTP and DNS, separated by spaces; `unix://PATH` for HTTP.")
    http_addrs: tuple[str, ...] = setting("addresses.http", S, None,
        doc="IP addresses for HTTP, and `unix://PATH` for Unix sockets. Default: client_addr.")
    https_addrs: tuple[str, ...] = setting("addresses.https", S, None,
        doc="Likewise for HTTPS. Default: client_addr.")
    dns_addrs: tuple[str, ...] = setting("addresses.dns", S, None,
        doc="IP addresses for DNS. Default: client_addr.")
    ports: Ports = group(Ports)
    http_config: HttpConfig = group(HttpConfig)
    unix_sockets: UnixSocketsConfig = group(UnixSocketsConfig)
    tls: TlsConfig = group(TlsConfig)
    limits: LimitsConfig = group(LimitsConfig)
    autopilot: AutopilotConfig = group(AutopilotConfig)

    # -- whom it joins, and how it leaves ---------------------------------------------------
    start_join: tuple[str, ...] = setting("start_join", STRINGS, (), flag="join",
        doc="Address of an agent to join at the start; the agent ends when none answers. Can be "
            "repeated.")
    retry_join: tuple[str, ...] = setting("retry_join", STRINGS, (),
        flag="retry-join", reloadable=True,
        doc="Address of an agent to join, with retries. Can be repeated.")
    retry_interval_s: float = setting("retry_interval", DUR, 30.0,
        flag="retry-interval", reloadable=True, within=POSITIVE,
        doc="Time between attempts to join; within the first, more are made.")
    retry_max: int = setting("retry_max", INT, 0,
        flag="retry-max", reloadable=True, within=NOT_NEGATIVE,
        doc="Attempts to join before the agent ends; 0 is no limit.")
    start_join_wan: tuple[str, ...] = setting("start_join_wan", STRINGS, (), flag="join-wan",
        doc="Address of a server of another data center to join at the start; the agent ends when "
            "none answers. Can be repeated.")
    retry_join_wan: tuple[str, ...] = setting("retry_join_wan", STRINGS, (),
        flag="retry-join-wan", reloadable=True,
        doc="Address of a server of another data center to join, with retries. Can be repeated.")
    retry_interval_wan_s: float = setting("retry_interval_wan", DUR, 30.0,
        flag="retry-interval-wan", reloadable=True, within=POSITIVE,
        doc="Time between attempts to join over the WAN; within the first, more are made.")
    retry_max_wan: int = setting("retry_max_wan", INT, 0,
        flag="retry-max-wan", reloadable=True, within=NOT_NEGATIVE,
        doc="Attempts to join over the WAN before the agent ends; 0 is no limit.")
    rejoin_after_leave: bool = setting("rejoin_after_leave", BOOL, False, flag="rejoin",
        doc="Join the members of the last run although that run had left.")
    leave_on_terminate: bool = setting("leave_on_terminate", BOOL, None, reloadable=True,
        doc="Leave the cluster on SIGTERM. Default: false on a server, true otherwise.")
    skip_leave_on_interrupt: bool = setting("skip_leave_on_interrupt", BOOL, None, reloadable=True,
        doc="Do not leave the cluster on SIGINT. Default: true on a server, false otherwise.")
    reconnect_timeout_s: float = setting("reconnect_timeout", DUR, 72 * 3600.0, within=POSITIVE,
        doc="A failed member is forgotten after this long.")
    reconnect_timeout_wan_s: float = setting("reconnect_timeout_wan", DUR, 72 * 3600.0,
        within=POSITIVE,
        doc="A failed server of the WAN pool is forgotten after this long.")

    # -- encryption of gossip ---------------------------------------------------------------
    encrypt: bytes | None = setting("encrypt", S, "", flag="encrypt", is_secret=True,
        doc="Gossip encryption key: 16, 24 or 32 bytes in base64 (`svcmesh keygen`). Starts the "
            "keyring; a kept keyring wins.")
    encrypt_wan: bytes | None = setting("encrypt_wan", S, "", is_secret=True,
        doc="Encryption key of WAN gossip, if it is to be another one than encrypt. The keyring "
            "commands then change that of the LAN, and with -wan this one. Consul has no such "
            "setting.")
    encrypt_verify_incoming: bool = setting("encrypt_verify_incoming", BOOL, True,
        doc="Refuse gossip that is not encrypted, when there is a key.")
    encrypt_verify_outgoing: bool = setting("encrypt_verify_outgoing", BOOL, True,
        doc="Send encrypted gossip only, when there is a key.")

    # -- DNS and gossip ---------------------------------------------------------------------
    domain: str = setting("domain", S, "svcmesh.", flag="domain",
        doc="Domain that DNS answers for. Consul's default is `consul.`.")
    alt_domain: str = setting("alt_domain", S, "consul.", flag="alt-domain",
        doc="Second domain that DNS answers for; empty: none. Consul has none by default.")
    recursors: tuple[tuple[str, int], ...] = setting("recursors", STRINGS, (),
        flag="recursor", reloadable=True, aliases=("recursor",),
        doc="DNS server to ask for names outside of the domains, `IP` or `IP:port`; the next one "
            "is asked when it fails. Can be repeated.")
    dns: DnsConfig = group(DnsConfig)
    gossip_lan: GossipLanConfig = group(GossipLanConfig)
    gossip_wan: GossipWanConfig = group(GossipWanConfig)

    # -- health checks ----------------------------------------------------------------------
    enable_script_checks: bool = setting("enable_script_checks", BOOL, False,
        flag="enable-script-checks",
        doc="Let checks run commands, also those that are registered over HTTP: whoever reaches "
            "the API can run anything as the agent's user.")
    enable_local_script_checks: bool = setting("enable_local_script_checks", BOOL, False,
        flag="enable-local-script-checks",
        doc="Let checks of configuration files run commands.")
    check_update_interval_s: float = setting("check_update_interval", DUR, 300.0,
        within=NOT_NEGATIVE,
        doc="How often new output of a check is published while its status stays; 0: at once, as "
            "with -dev. A new status always is.")
    check_output_max_size: int = setting("check_output_max_size", INT, OUTPUT_BYTES_MAX,
        flag="check_output_max_size", within=POSITIVE,
        doc="Bytes of a check's output that are kept; a check can ask for less.")
    discard_check_output: bool = setting("discard_check_output", BOOL, False,
        doc="Keep no output of checks.")
    default_query_time_s: float = setting("default_query_time", DUR, 300.0,
        flag="default-query-time", within=QUERY_TIME, reloadable=True,
        doc="How long a blocking query waits that does not say how long.")
    max_query_time_s: float = setting("max_query_time", DUR, 600.0,
        flag="max-query-time", within=QUERY_TIME, reloadable=True,
        doc="How long a blocking query waits at most, whatever it says.")
    session_ttl_min_s: float = setting("session_ttl_min", DUR, 10.0,
        within=SESSION_TTL, reloadable=True,
        doc="The shortest TTL that a session may have.")
    disable_coordinates: bool = setting("disable_coordinates", BOOL, False,
        doc="Neither say where this node is in the network nor learn it of others: `near` then "
            "sorts nothing.")
    discovery_max_stale_s: float = setting("discovery_max_stale", DUR, 0.0,
        reloadable=True, within=NOT_NEGATIVE,
        doc="How old an answer of HTTP about another data center's catalog may be that is given "
            "while that cannot be reached; 0: none is. Our own catalog is answered from memory.")

    # -- the process ------------------------------------------------------------------------
    log_level: str = setting("log_level", S, "INFO", flag="log-level", reloadable=True,
        doc="TRACE, DEBUG, INFO, WARN or ERR.")
    log_json: bool = setting("log_json", BOOL, False, flag="log-json",
        doc="Log JSON objects, one a line.")
    log_file: str = setting("log_file", S, "", flag="log-file",
        doc="File to log to, besides standard output. The time is put into its name; a path that "
            "ends in `/` is a folder.")
    log_rotate_duration_s: float = setting("log_rotate_duration", DUR, 86400.0,
        flag="log-rotate-duration", within=NOT_NEGATIVE,
        doc="A log file is followed by a new one after this long; 0 is the default.")
    log_rotate_bytes: int = setting("log_rotate_bytes", INT, 0,
        flag="log-rotate-bytes", within=NOT_NEGATIVE,
        doc="Size at which a log file is followed by a new one, bytes; 0 is no limit.")
    log_rotate_max_files: int = setting("log_rotate_max_files", INT, 0,
        flag="log-rotate-max-files",
        doc="Older log files to keep; 0 keeps all, -1 none.")
    enable_syslog: bool = setting("enable_syslog", BOOL, False, flag="syslog",
        doc="Log to syslog, besides standard output.")
    syslog_facility: str = setting("syslog_facility", S, "LOCAL0", choices=SYSLOG_FACILITIES,
        doc="Facility of lines in syslog.")
    pid_file: Path | None = setting("pid_file", S, "", flag="pid-file",
        doc="File to write the process id to.")

    # -- no settings ------------------------------------------------------------------------
    services: tuple[ServiceDefinition, ...]
    checks: tuple[CheckDefinition, ...]
    """Of the node, and of services that are defined elsewhere."""
    warnings: tuple[str, ...]
    """What an operator should know, for the log."""
    origin: "Origin" = field(repr=False)
    """Where all this came from, to read it again."""
    values: Mapping[str, Value] = field(repr=False)
    """Every setting that has a value, by path, as it was written; secrets among them."""

    # fmt: on

    def swim_config(self) -> "SwimConfig":
        """Give the gossip library's settings for the LAN pool.

        Raises:
            ConfigError: `gossip_lan` contradicts itself; never after `load_config`.
        """
        # Imported here: the command line reads service definitions without the gossip library.
        from gossip.config import lan

        return _tuned(lan(), self.gossip_lan, "gossip_lan")

    def swim_config_wan(self) -> "SwimConfig":
        """Give the gossip library's settings for the WAN pool.

        Raises:
            ConfigError: `gossip_wan` contradicts itself; never after `load_config`.
        """
        from gossip.config import wan

        return _tuned(wan(), self.gossip_wan, "gossip_wan")

    def dns_server_limits(self) -> "ServerLimits":
        """Give the bounds of the DNS library's listening side that can be set."""
        # Imported here, like the gossip library above.
        from dnsserver.config import ServerLimits

        return ServerLimits(
            responses_per_s=self.dns.response_rate_limit, slip=self.dns.response_rate_slip
        )

    def dns_server_config(self) -> "DnsServerConfig":
        """Give the DNS library's settings.

        Raises:
            ConfigError: A domain or `dns_config` is wrong; never after `load_config`.
        """
        # Imported here, like the gossip library above.
        from dnsserver.config import DnsConfig as DnsServerConfig
        from dnsserver.config import RecursorConfig
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
                recursors=RecursorConfig(
                    addresses=self.recursors,
                    timeout_s=dns.recursor_timeout_s,
                    is_random=dns.recursor_strategy == "random",
                ),
                soa=DnsServerSoa(
                    refresh_s=soa.refresh_s,
                    retry_s=soa.retry_s,
                    expire_s=soa.expire_s,
                    min_ttl_s=soa.min_ttl_s,
                ),
            )
        except DnsConfigError as error:
            raise ConfigError(f"dns_config: {error}") from error


def _tuned(
    profile: "SwimConfig", gossip: GossipLanConfig | GossipWanConfig, key: str
) -> "SwimConfig":
    from gossip.errors import ConfigError as GossipConfigError

    try:
        return replace(
            profile,
            gossip_nodes=gossip.gossip_nodes,
            gossip_interval_s=gossip.gossip_interval_s,
            probe_interval_s=gossip.probe_interval_s,
            probe_timeout_s=gossip.probe_timeout_s,
            suspicion_mult=gossip.suspicion_mult,
            retransmit_mult=gossip.retransmit_mult,
        )
    except GossipConfigError as error:
        raise ConfigError(f"{key}.{error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The sources of a configuration, as they were given."""

    flags: Mapping[str, object] = field(repr=False)
    files: tuple[Path, ...]
    """Files and folders in order."""


SETTINGS: Final = tuple(settings_of(AgentConfig))

DEV_VALUES: Final[dict[str, Value]] = {
    "bind_addr": "127.0.0.1",
    "check_update_interval": 0.0,
    "server": True,
}
"""What `-dev` changes, besides keeping everything in memory."""

BY_PATH: Final = {one.path: one for one in SETTINGS}
BY_KEY: Final = {key: one for one in SETTINGS for key in (one.path, *one.aliases)}
"""By every key that a file may have for it."""
BY_FLAG: Final = {one.flag: one for one in SETTINGS if one.flag}
GROUPS: Final = frozenset(
    path.rsplit(".", depth)[0] for path in BY_PATH for depth in range(1, path.count(".") + 1)
)
"""Paths of the objects that hold settings."""
