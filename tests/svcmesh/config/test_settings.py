from svcmesh.config.foreign import FOREIGN
from svcmesh.config.settings import BY_PATH, GROUPS, SETTINGS
from svcmesh.config.values import Kind

# Top-level keys of Consul 1.8 to 1.18, from its configuration structure.
CONSUL_KEYS = """
    acl acl_agent_master_token acl_agent_token acl_datacenter acl_default_policy acl_down_policy
    acl_enable_key_list_policy acl_master_token acl_replication_token acl_token acl_ttl addresses
    advertise_addr advertise_addr_ipv4 advertise_addr_ipv6 advertise_addr_wan
    advertise_addr_wan_ipv4 advertise_addr_wan_ipv6 advertise_reconnect_timeout alt_domain audit
    auto_config auto_encrypt auto_reload_config autopilot bind_addr bootstrap bootstrap_expect
    cache ca_file ca_path cert_file check check_output_max_size check_update_interval checks
    client_addr cloud config_entries connect data_dir datacenter default_intention_policy
    default_query_time disable_anonymous_signature disable_coordinates disable_host_node_id
    disable_http_unprintable_char_filter disable_keyring_file disable_remote_exec
    disable_update_check discard_check_output discovery_max_stale dns_config domain
    enable_acl_replication enable_agent_tls_for_checks enable_central_service_config enable_debug
    enable_local_script_checks enable_script_checks enable_syslog encrypt encrypt_verify_incoming
    encrypt_verify_outgoing experiments gossip_lan gossip_wan http_config key_file
    leave_on_terminate license_path limits locality log_file log_json log_level log_rotate_bytes
    log_rotate_duration log_rotate_max_files max_query_time node_id node_meta node_name
    non_voting_server partition peering performance pid_file ports primary_datacenter
    primary_gateways primary_gateways_interval protocol raft_boltdb raft_logstore raft_protocol
    raft_snapshot_interval raft_snapshot_threshold raft_trailing_logs read_replica
    reconnect_timeout reconnect_timeout_wan recursors rejoin_after_leave reporting retry_interval
    retry_interval_wan retry_join retry_join_wan retry_max retry_max_wan rpc segment segments
    serf_lan serf_lan_allowed_cidrs serf_wan serf_wan_allowed_cidrs server server_name
    server_rejoin_age_max service services session_ttl_min skip_leave_on_interrupt snapshot_agent
    start_join start_join_wan syslog_facility tagged_addresses telemetry tls tls_cipher_suites
    tls_min_version tls_prefer_server_cipher_suites translate_wan_addrs ui ui_config
    ui_content_path ui_dir unix_sockets use_streaming_backend verify_incoming
    verify_incoming_https verify_incoming_rpc verify_outgoing verify_server_hostname watches xds
"""

# `consul agent -h` of Consul 1.8.7.
CONSUL_FLAGS = """
    datacenter advertise advertise-wan allow-write-http-from alt-domain bind bootstrap
    bootstrap-expect check_output_max_size client data-dir default-query-time disable-host-node-id
    disable-keyring-file dns-port domain enable-local-script-checks enable-script-checks encrypt
    grpc-port http-port https-port join join-wan log-file log-json log-level log-rotate-bytes
    log-rotate-duration log-rotate-max-files max-query-time node node-id node-meta
    non-voting-server pid-file primary-gateway protocol raft-protocol recursor rejoin
    retry-interval retry-interval-wan retry-join retry-join-wan retry-max retry-max-wan segment
    serf-lan-allowed-cidrs serf-lan-bind serf-lan-port serf-wan-allowed-cidrs serf-wan-bind
    serf-wan-port server server-port syslog ui ui-content-path ui-dir
"""
# Flags that choose how the others are read: config-dir config-file config-format dev hcl.


def test_every_key_of_consuls_is_known() -> None:
    known = {path.split(".")[0] for path in BY_PATH} | {key.path for key in FOREIGN}
    assert set(CONSUL_KEYS.split()) - known == {"service", "services", "check", "checks"}


def test_every_flag_of_consuls_is_known() -> None:
    known = {setting.flag for setting in SETTINGS} | {key.flag for key in FOREIGN}
    assert set(CONSUL_FLAGS.split()) - known == set()


def test_no_key_and_no_flag_is_defined_twice() -> None:
    paths = [s.path for s in SETTINGS] + [key.path for key in FOREIGN if key.path]
    flags = [s.flag for s in SETTINGS if s.flag] + [key.flag for key in FOREIGN if key.flag]
    assert len(paths) == len(set(paths))
    assert len(flags) == len(set(flags))
    assert not GROUPS & set(paths)


def test_every_default_is_of_its_kind_and_every_setting_explained() -> None:
    types = {
        Kind.STRING: str, Kind.INTEGER: int, Kind.BOOLEAN: bool, Kind.DURATION: float,
        Kind.STRINGS: tuple, Kind.STRING_MAP: dict, Kind.DURATION_MAP: dict,
    }  # fmt: skip
    for setting in SETTINGS:
        assert setting.default is None or type(setting.default) is types[setting.kind], setting
        assert setting.doc.endswith("."), setting
