"""Consul's keys and flags of features that are not built (Consul 1.8 to 1.18).

A key whose absence does no harm is a warning, so that existing configuration goes on working. One
that promises security, or that changes what clients or operators see, is an error as soon as it
asks for something; empty, `false` or `null` it is a warning as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from svcmesh.jsonvalues import is_empty

Asks = Callable[[object], bool]
"""Whether a value asks for the feature."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A key or flag of Consul's that this agent cannot honour."""

    path: str
    about: str
    """The feature that is missing; for a harmless key, why nothing is lost."""
    asks: Asks | None
    """What is an error; None: nothing is."""
    flag: str = ""
    flag_is_bool: bool = False

    def error(self, value: object, *, name: str) -> str | None:
        """Why the value must be refused, None when it need not be."""
        if self.asks is None or not self.asks(value):
            return None
        return f"{name}: {self.about}: not built yet, and not safe to ignore"

    def warning(self, *, name: str) -> str:
        """What to tell the operator about a value that is ignored."""
        return f"{name} is ignored: {self.about if self.asks is None else 'not built yet'}"


def _asks(value: object) -> bool:
    return not is_empty(value)


def _is_enabled(value: object) -> bool:
    return isinstance(value, dict) and any(
        key.lower() == "enabled" and not is_empty(inner) for key, inner in value.items()
    )


def _is_port(value: object) -> bool:
    return value != -1 and value != "-1" and not is_empty(value)


def _is_above(bound: int) -> Asks:
    """More than that; what is no number cannot be meant as less."""
    return lambda value: (
        not is_empty(value) and not (isinstance(value, int | float) and value <= bound)
    )


def _is_other_than(*harmless: str) -> Asks:
    return lambda value: not is_empty(value) and value not in harmless


def _harmless(about: str, *paths: str, flags: str = "", bools: str = "") -> list[ForeignKey]:
    return _entries(about, None, paths, flags, bools)


def _refused(
    about: str, *paths: str, asks: Asks = _asks, flags: str = "", bools: str = ""
) -> list[ForeignKey]:
    return _entries(about, asks, paths, flags, bools)


def _entries(
    about: str, asks: Asks | None, paths: tuple[str, ...], flags: str, bools: str
) -> list[ForeignKey]:
    """One entry a path: `flags` in the same order (`.`: none), `bools` those without a value."""
    names = flags.split() + [""] * (len(paths) - len(flags.split()))
    return [
        ForeignKey(path, about, asks, "" if flag == "." else flag, flag in bools.split())
        for path, flag in zip(paths, names, strict=True)
    ]


FOREIGN: Final = (
    # -- harmless: measured, shown or tuned elsewhere ---------------------------------------
    *_harmless("there is no web page yet", "ui", "ui_dir", "ui_content_path", "ui_config",
               flags="ui ui-dir ui-content-path", bools="ui"),
    *_harmless("telemetry is not exported", "telemetry", "reporting"),
    *_harmless("it is of Consul Enterprise", "autopilot.redundancy_zone_tag",
               "autopilot.disable_upgrade_migration", "autopilot.upgrade_version_tag"),
    *_harmless("Raft's timing, log and snapshots have no settings", "raft_protocol", "performance",
               "raft_boltdb", "raft_logstore", "raft_snapshot_interval", "raft_snapshot_threshold",
               "raft_trailing_logs", "server_rejoin_age_max",
               flags="raft-protocol"),
    *_harmless("nothing is ever reported to the vendor", "disable_update_check",
               "disable_anonymous_signature"),
    *_harmless("there is one protocol version", "protocol", flags="protocol"),
    *_harmless("reads are local and never stale by a leader's measure",
               "use_streaming_backend", "cache", "rpc", "dns_config.use_cache",
               "dns_config.cache_max_age"),
    *_harmless("answers are always compressed", "dns_config.disable_compression"),
    *_harmless("there are no namespaces", "dns_config.prefer_namespace"),
    *_harmless("there is no service mesh", "enable_central_service_config", "ports.grpc",
               "ports.sidecar_min_port", "ports.sidecar_max_port", "ports.expose_min_port",
               "ports.expose_max_port", "ports.proxy_min_port", "ports.proxy_max_port",
               "addresses.grpc", "addresses.grpc_tls", "xds", "peering",
               flags=". grpc-port"),
    *_harmless("limits of requests are not configurable", "limits.rpc_rate",
               "limits.rpc_max_burst", "limits.request_limits", "limits.rpc_client_timeout"),
    *_harmless("checks have no certificates of their own", "enable_agent_tls_for_checks"),
    *_harmless("changes show at once", "ae_interval", "sync_coordinate_rate_target",
               "sync_coordinate_interval_min", "check_reap_interval",
               "check_deregister_interval_min"),
    *_harmless("there are no debug endpoints", "enable_debug"),
    *_harmless("there is no remote execution", "disable_remote_exec"),
    *_harmless("no data center is above the others", "primary_datacenter",
               "primary_gateways_interval"),
    *_harmless("the snapshot agent has its own program", "snapshot_agent"),
    *_harmless("there is nothing to license", "license_path"),
    *_harmless("there are no localities", "locality"),
    *_harmless("it concerns the reference only", "experiments", "version", "version_prerelease",
               "version_metadata", "revision", "segment_limit", "segment_name_limit"),
    *_harmless("certificates are checked for server.DATACENTER.DOMAIN", "server_name"),
    *_harmless("the client chooses among the ciphers", "tls_prefer_server_cipher_suites"),
    *_harmless("answers are always kept as long as they are current", "http_config.use_cache"),
    *_harmless("the bound is not configurable", "http_config.max_header_bytes"),
    *_harmless("paths with unprintable characters are refused",
               "disable_http_unprintable_char_filter"),
    # -- promises of security ---------------------------------------------------------------
    *_refused("access control", "acl", asks=_is_enabled),
    *_refused("access control", "acl_agent_master_token", "acl_agent_token", "acl_datacenter",
              "acl_default_policy", "acl_disabled_ttl", "acl_down_policy",
              "acl_enable_key_list_policy", "acl_enforce_version_8", "acl_master_token",
              "acl_replication_token", "acl_token", "acl_ttl", "enable_acl_replication"),
    *_refused("TLS in groups (use cert_file, key_file and their like)", "tls"),
    *_refused("certificates from servers", "auto_encrypt"),
    *_refused("TLS of gRPC", "ports.grpc_tls", asks=_is_port, flags="grpc-tls-port"),
    *_refused("automatic configuration", "auto_config", asks=_is_enabled),
    *_refused("audit logs", "audit", asks=_is_enabled),
    *_refused("lists of allowed networks", "serf_lan_allowed_cidrs", "serf_wan_allowed_cidrs",
              flags="serf-lan-allowed-cidrs serf-wan-allowed-cidrs"),
    *_refused("a keyring in memory only", "disable_keyring_file", flags="disable-keyring-file",
              bools="disable-keyring-file"),
    *_refused("intentions", "default_intention_policy", asks=_is_other_than("allow")),
    *_refused("a managed control plane", "cloud"),
    # -- changes of behaviour ---------------------------------------------------------------
    *_refused("the service mesh", "connect", asks=_is_enabled),
    *_refused("the service mesh", "config_entries"),
    *_refused("watches (run 'svcmesh watch')", "watches"),
    *_refused("values and transactions above 512 KiB", "limits.kv_max_value_size",
              "limits.txn_max_req_len", asks=_is_above(512 * 1024)),
    *_refused("translated addresses in answers about other data centers", "translate_wan_addrs"),
    *_refused("network segments", "segments"),
    *_refused("network segments", "segment", asks=_is_other_than("<default>"), flags="segment"),
    *_refused("admin partitions", "partition", asks=_is_other_than("default"), flags="partition"),
    *_refused("servers without a vote", "non_voting_server", "read_replica",
              flags="non-voting-server read-replica", bools="non-voting-server read-replica"),
    *_refused("joining data centers by gateways (use retry_join_wan)", "primary_gateways",
              flags="primary-gateway"),
    *_refused("a gossip address of its own (use bind_addr)", "serf_lan", flags="serf-lan-bind"),
    *_refused("addresses by family (use advertise_addr)", "advertise_addr_ipv4",
              "advertise_addr_ipv6", "tagged_addresses"),
    *_refused("addresses by family (use advertise_addr_wan)", "advertise_addr_wan_ipv4",
              "advertise_addr_wan_ipv6"),
    *_refused("a limit of its own for departed clients (use reconnect_timeout)",
              "advertise_reconnect_timeout"),
    *_refused("reloading by itself (send SIGHUP)", "auto_reload_config",
              flags="auto-reload-config", bools="auto-reload-config"),
    # Only `true` can be kept: the id is drawn, never derived from the host.
    *_refused("node ids derived from the host", "disable_host_node_id",
              asks=lambda value: value is False or value == "false",
              flags="disable-host-node-id", bools="disable-host-node-id"),
)  # fmt: skip

FOREIGN_BY_PATH: Final = {key.path: key for key in FOREIGN if key.path}
FOREIGN_BY_FLAG: Final = {key.flag: key for key in FOREIGN if key.flag}
