"""The running configuration as `/v1/agent/self` shows it, by Consul's names. Secrets are hidden."""

from typing import Final

from svcmesh.api.rows import definition_json
from svcmesh.config import AgentConfig
from svcmesh.config.network import UNIX
from svcmesh.goformats import duration_string, join_host_port

HIDDEN: Final = "hidden"


def debug_config(config: AgentConfig, *, node_id: str, version: str) -> dict[str, object]:
    """Settings that Consul has too, as they are in force here."""
    dns, ports = config.dns, config.ports
    gossip, gossip_wan = config.gossip_lan, config.gossip_wan
    return {
        "ACLsEnabled": False,
        "AdvertiseAddrLAN": config.advertise_addr,
        "AdvertiseAddrWAN": config.advertise_addr_wan,
        "BindAddr": config.bind_addr,
        "Bootstrap": config.bootstrap,
        "BootstrapExpect": config.bootstrap_expect,
        "AllowWriteHTTPFrom": [str(one) for one in config.http_config.allow_write_http_from],
        "CheckOutputMaxSize": config.check_output_max_size,
        "CheckUpdateInterval": duration_string(config.check_update_interval_s),
        "CAFile": config.tls.ca_file,
        "CAPath": config.tls.ca_path,
        "CertFile": config.tls.cert_file,
        "ClientAddrs": list(config.client_addrs),
        "ConnectEnabled": False,
        "DNSARecordLimit": dns.a_record_limit,
        "DNSAddrs": [
            _url(network, host, ports.dns)
            for host in config.dns_addrs
            for network in ("tcp", "udp")
        ],
        "DNSAllowStale": dns.allow_stale,
        "DNSAltDomain": config.alt_domain,
        "DNSDomain": config.domain,
        "DNSEnableTruncate": dns.enable_truncate,
        "DNSMaxStale": duration_string(dns.max_stale_s),
        "DNSNodeMetaTXT": dns.enable_additional_node_meta_txt,
        "DNSNodeTTL": duration_string(dns.node_ttl_s),
        "DNSOnlyPassing": dns.only_passing,
        "DNSPort": ports.dns,
        "DNSRecursorTimeout": duration_string(dns.recursor_timeout_s),
        "DNSRecursors": [join_host_port(host, port) for host, port in config.recursors],
        "DNSSOA": {
            "Expire": dns.soa.expire_s,
            "Minttl": dns.soa.min_ttl_s,
            "Refresh": dns.soa.refresh_s,
            "Retry": dns.soa.retry_s,
        },
        "DNSServiceTTL": {name: duration_string(ttl) for name, ttl in dns.service_ttl_s.items()},
        "DNSUDPAnswerLimit": dns.udp_answer_limit,
        "DataDir": str(config.data_dir or ""),
        "Datacenter": config.datacenter,
        "DefaultQueryTime": duration_string(config.default_query_time_s),
        "DevMode": config.dev,
        "DisableCoordinates": config.disable_coordinates,
        "DiscardCheckOutput": config.discard_check_output,
        "DiscoveryMaxStale": duration_string(config.discovery_max_stale_s),
        # Without it `consul debug` gives up; nothing here can be profiled over HTTP.
        "EnableDebug": False,
        "EnableLocalScriptChecks": config.enable_local_script_checks,
        "EnableRemoteScriptChecks": config.enable_script_checks,
        "EnableUI": False,
        "EncryptKey": HIDDEN,
        "EncryptVerifyIncoming": config.encrypt_verify_incoming,
        "EncryptVerifyOutgoing": config.encrypt_verify_outgoing,
        "GRPCAddrs": [],
        "GRPCPort": -1,
        "GossipLANGossipInterval": duration_string(gossip.gossip_interval_s),
        "GossipLANGossipNodes": gossip.gossip_nodes,
        "GossipLANProbeInterval": duration_string(gossip.probe_interval_s),
        "GossipLANProbeTimeout": duration_string(gossip.probe_timeout_s),
        "GossipLANRetransmitMult": gossip.retransmit_mult,
        "GossipLANSuspicionMult": gossip.suspicion_mult,
        "GossipWANGossipInterval": duration_string(gossip_wan.gossip_interval_s),
        "GossipWANGossipNodes": gossip_wan.gossip_nodes,
        "GossipWANProbeInterval": duration_string(gossip_wan.probe_interval_s),
        "GossipWANProbeTimeout": duration_string(gossip_wan.probe_timeout_s),
        "GossipWANRetransmitMult": gossip_wan.retransmit_mult,
        "GossipWANSuspicionMult": gossip_wan.suspicion_mult,
        "HTTPAddrs": [
            one if one.startswith(UNIX) else _url("tcp", one, ports.http)
            for one in config.http_addrs
        ],
        "HTTPBlockEndpoints": list(config.http_config.block_endpoints),
        "HTTPMaxConnsPerClient": config.limits.http_max_conns_per_client,
        "HTTPPort": ports.http,
        "HTTPResponseHeaders": config.http_config.response_headers,
        "HTTPSAddrs": [_url("tcp", host, ports.https) for host in config.https_addrs]
        if ports.https > 0
        else [],
        "HTTPSPort": ports.https,
        "KeyFile": HIDDEN,
        "LeaveOnTerm": config.leave_on_terminate,
        "Logging": {
            "EnableSyslog": config.enable_syslog,
            "LogFilePath": config.log_file,
            "LogJSON": config.log_json,
            "LogLevel": config.log_level,
            "LogRotateBytes": config.log_rotate_bytes,
            "LogRotateDuration": duration_string(config.log_rotate_duration_s),
            "LogRotateMaxFiles": config.log_rotate_max_files,
            "SyslogFacility": config.syslog_facility,
        },
        "MaxQueryTime": duration_string(config.max_query_time_s),
        "NodeID": node_id,
        "NodeMeta": config.node_meta,
        "NodeName": config.node_name,
        "PidFile": str(config.pid_file or ""),
        "PrimaryDatacenter": config.datacenter,
        "ReconnectTimeoutLAN": duration_string(config.reconnect_timeout_s),
        "ReconnectTimeoutWAN": duration_string(config.reconnect_timeout_wan_s),
        "RejoinAfterLeave": config.rejoin_after_leave,
        "RetryJoinIntervalLAN": duration_string(config.retry_interval_s),
        "RetryJoinIntervalWAN": duration_string(config.retry_interval_wan_s),
        "RetryJoinLAN": list(config.retry_join),
        "RetryJoinMaxAttemptsLAN": config.retry_max,
        "RetryJoinMaxAttemptsWAN": config.retry_max_wan,
        "RetryJoinWAN": list(config.retry_join_wan),
        "SegmentName": "",
        "SerfAdvertiseAddrLAN": _url("tcp", config.advertise_addr, ports.serf_lan),
        "SerfAdvertiseAddrWAN": _url("tcp", config.advertise_addr_wan, ports.serf_wan)
        if ports.serf_wan > 0
        else "",
        "SerfBindAddrLAN": _url("tcp", config.bind_addr, ports.serf_lan),
        "SerfBindAddrWAN": _url("tcp", config.serf_wan_addr, ports.serf_wan)
        if ports.serf_wan > 0
        else "",
        "SerfPortLAN": ports.serf_lan,
        "SerfPortWAN": ports.serf_wan,
        "ServerMode": config.server,
        "ServerPort": ports.server,
        "SessionTTLMin": duration_string(config.session_ttl_min_s),
        "Services": [definition_json(definition) for definition in config.services],
        "SkipLeaveOnInt": config.skip_leave_on_interrupt,
        "StartJoinAddrsLAN": list(config.start_join),
        "StartJoinAddrsWAN": list(config.start_join_wan),
        "TLSMinVersion": config.tls.tls_min_version,
        "VerifyIncoming": config.tls.verify_incoming,
        "VerifyIncomingHTTPS": config.tls.verify_incoming_https,
        "VerifyIncomingRPC": config.tls.verify_incoming_rpc,
        "VerifyOutgoing": config.tls.verify_outgoing,
        "VerifyServerHostname": config.tls.verify_server_hostname,
        "Version": version,
    }


def _url(network: str, host: str, port: int) -> str:
    return f"{network}://{join_host_port(host, port)}"
