"""Every setting of the agent, in one table: key, type, default, flag, meaning.

The parser of files and flags, `svcmesh agent -help` and the reference in `docs/` all come from
`SETTINGS`. Keys, types and, unless a text says otherwise, defaults are Consul's.
"""

from dataclasses import dataclass
from typing import Final

from svcmesh.config.values import Kind, Value
from svcmesh.goformats import format_duration

SERF_WAN_PORT_DEFAULT: Final = 8302


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    `default` None means that it is worked out from other settings or from the host; `doc` says
    how.
    """

    path: str
    """Key in a file; a dot leads into an object."""
    kind: Kind
    default: Value | None
    doc: str
    flag: str = ""

    @property
    def is_list(self) -> bool:
        """Values of several sources are joined, those of flags first."""
        return self.kind in (Kind.STRINGS, Kind.STRING_MAP, Kind.DURATION_MAP)

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty when there is none."""
        match self.default:
            case None | "" | () | {}:
                return ""
            case bool():
                return str(self.default).lower()
            case float():
                return format_duration(self.default)
            case _:
                return str(self.default)


S, INT, BOOL, DUR = Kind.STRING, Kind.INTEGER, Kind.BOOLEAN, Kind.DURATION

SETTINGS: Final = (
    # What the agent is.
    Setting("node_name", S, None, "Name of this node, unique in the cluster. Default: host name.",
            flag="node"),
    Setting("node_id", S, "", "UUID of this node. Default: drawn at the first start and kept in "
            "data_dir.", flag="node-id"),
    Setting("node_meta", Kind.STRING_MAP, {}, "Metadata of this node, as `key:value` in a flag; at "
            "most 64 pairs.", flag="node-meta"),
    Setting("datacenter", S, "dc1", "Data center of this agent.", flag="datacenter"),
    Setting("server", BOOL, False, "Run as a server. Only role and tags until the consistent "
            "store is built.", flag="server"),
    Setting("bootstrap", BOOL, False, "A server that may elect itself leader. For the consistent "
            "store; a tag until then.", flag="bootstrap"),
    Setting("bootstrap_expect", INT, 0, "Number of servers to wait for before the first election. "
            "For the consistent store; a tag until then.", flag="bootstrap-expect"),
    Setting("data_dir", S, "", "Folder for the agent's state: identity, services, keyring, peers. "
            "Required without -dev.", flag="data-dir"),
    # Where it is.
    Setting("bind_addr", S, "0.0.0.0", "IP address for gossip and agent-to-agent traffic.",  # noqa: S104 -- Consul's default
            flag="bind"),
    Setting("advertise_addr", S, None, "IP address that others reach this agent at. Default: "
            "bind_addr, or the only private IPv4 address of the host.", flag="advertise"),
    Setting("client_addr", S, "127.0.0.1", "IP addresses for HTTP and DNS, separated by spaces.",
            flag="client"),
    Setting("addresses.dns", S, None, "IP addresses for DNS. Default: client_addr."),
    Setting("addresses.http", S, None, "IP addresses for HTTP. Default: client_addr."),
    Setting("ports.dns", INT, 8600, "Port of the DNS server; -1 turns it off.", flag="dns-port"),
    Setting("ports.http", INT, 8500, "Port of the HTTP API; -1 turns it off.", flag="http-port"),
    Setting("ports.serf_lan", INT, 8301, "Port of LAN gossip, TCP and UDP.", flag="serf-lan-port"),
    Setting("ports.serf_wan", INT, SERF_WAN_PORT_DEFAULT,
            "Port of WAN gossip, which is not built yet: no effect but a warning.",
            flag="serf-wan-port"),
    Setting("ports.server", INT, 8300, "Port for agent-to-agent calls that a server announces.",
            flag="server-port"),
    # Whom it joins.
    Setting("start_join", Kind.STRINGS, (), "Address of an agent to join at the start; the agent "
            "ends when none answers. Can be repeated.", flag="join"),
    Setting("retry_join", Kind.STRINGS, (), "Address of an agent to join, with retries. Can be "
            "repeated.", flag="retry-join"),
    Setting("retry_interval", DUR, 30.0, "Time between attempts to join.", flag="retry-interval"),
    Setting("retry_max", INT, 0, "Attempts to join before the agent ends; 0 is no limit.",
            flag="retry-max"),
    Setting("rejoin_after_leave", BOOL, False, "Join the members of the last run although that "
            "run had left.", flag="rejoin"),
    Setting("leave_on_terminate", BOOL, None, "Leave the cluster on SIGTERM. Default: false on a "
            "server, true otherwise."),
    Setting("skip_leave_on_interrupt", BOOL, None, "Do not leave the cluster on SIGINT. Default: "
            "true on a server, false otherwise."),
    Setting("reconnect_timeout", DUR, 72 * 3600.0, "A failed member is forgotten after this long."),
    # Encryption of gossip.
    Setting("encrypt", S, "", "Gossip encryption key: 16, 24 or 32 bytes in base64 (`svcmesh "
            "keygen`). Starts the keyring; a kept keyring wins.", flag="encrypt"),
    Setting("encrypt_verify_incoming", BOOL, True, "Refuse gossip that is not encrypted, when "
            "there is a key."),
    Setting("encrypt_verify_outgoing", BOOL, True, "Send encrypted gossip only, when there is a "
            "key."),
    # DNS.
    Setting("domain", S, "svcmesh.", "Domain that DNS answers for. Consul's default is `consul.`.",
            flag="domain"),
    Setting("alt_domain", S, "consul.", "Second domain that DNS answers for; empty: none. "
            "Consul has none by default.", flag="alt-domain"),
    Setting("dns_config.node_ttl", DUR, 0.0, "TTL of answers about nodes."),
    Setting("dns_config.service_ttl", Kind.DURATION_MAP, {}, "TTL of answers by service name; `*` "
            "and `prefix*` are patterns."),
    Setting("dns_config.udp_answer_limit", INT, 3, "Most records of a UDP answer without EDNS0."),
    Setting("dns_config.a_record_limit", INT, 0, "Most A or AAAA records of an answer; 0 is no "
            "limit."),
    Setting("dns_config.enable_truncate", BOOL, False, "Set the TC flag when records were left "
            "out of a UDP answer."),
    Setting("dns_config.only_passing", BOOL, False, "Leave out instances whose checks warn."),
    Setting("dns_config.enable_additional_node_meta_txt", BOOL, True, "Add TXT records with node "
            "metadata to the additional section."),
    Setting("dns_config.soa.refresh", INT, 3600, "SOA refresh, seconds."),
    Setting("dns_config.soa.retry", INT, 600, "SOA retry, seconds."),
    Setting("dns_config.soa.expire", INT, 86400, "SOA expire, seconds."),
    Setting("dns_config.soa.min_ttl", INT, 0, "SOA minimum: how long a negative answer is cached, "
            "seconds."),
    # Gossip.
    Setting("gossip_lan.gossip_nodes", INT, 3, "Members that each round of gossip goes to."),
    Setting("gossip_lan.gossip_interval", DUR, 0.2, "Time between rounds of gossip."),
    Setting("gossip_lan.probe_interval", DUR, 1.0, "Time between probes of other members."),
    Setting("gossip_lan.probe_timeout", DUR, 0.5, "Wait for a direct answer to a probe; below "
            "probe_interval."),
    Setting("gossip_lan.suspicion_mult", INT, 4, "Multiplier of the time that a suspected member "
            "has to refute."),
    Setting("gossip_lan.retransmit_mult", INT, 4, "Multiplier of the number of times a rumor is "
            "sent."),
    # The process.
    Setting("log_level", S, "INFO", "TRACE, DEBUG, INFO, WARN or ERR.", flag="log-level"),
    Setting("pid_file", S, "", "File to write the process id to.", flag="pid-file"),
)  # fmt: skip

DEV_VALUES: Final[dict[str, Value]] = {"bind_addr": "127.0.0.1", "server": True}
"""What `-dev` changes, besides keeping everything in memory."""

BY_PATH: Final = {setting.path: setting for setting in SETTINGS}
BY_FLAG: Final = {setting.flag: setting for setting in SETTINGS if setting.flag}
GROUPS: Final = frozenset(
    path.rsplit(".", depth)[0] for path in BY_PATH for depth in range(1, path.count(".") + 1)
)
"""Paths of the objects that hold settings."""
