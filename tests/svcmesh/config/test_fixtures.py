"""Configuration as Consul's users have it, unchanged.

A real Consul 1.8.7 takes the client's files and the services; the server's need an `eth0`.
"""

from pathlib import Path

from svcmesh.config import AgentConfig, load_config
from tests.svcmesh.config.hosts import on_interface

FIXTURES = Path(__file__).parent / "fixtures"
HOST = [on_interface("eth0", "10.0.0.21/24")]


def load(*names: str, **flags: object) -> AgentConfig:
    return load_config(flags, [FIXTURES / name for name in names], addresses_of_host=lambda: HOST)


def test_a_server_as_installation_guides_have_it() -> None:
    config = load("server.hcl")
    assert (config.node_name, config.server, config.bootstrap_expect) == (
        "consul-server-1", True, 3,
    )  # fmt: skip
    assert (config.bind_addr, config.advertise_addr) == ("10.0.0.21", "10.0.0.21")
    assert (config.http_addrs, config.dns_addrs) == (("127.0.0.1",), ("0.0.0.0",))
    assert len(config.encrypt or b"") == 32
    assert (config.log_file, config.log_rotate_max_files) == ("/var/log/consul/", 7)
    ignored = {
        warning.split(": ")[1].removesuffix(" is ignored")
        for warning in config.warnings
        if "ignored" in warning
    }
    assert ignored == {
        "ui", "raft_protocol", "ports.grpc", "performance", "connect", "acl", "telemetry",
    }  # fmt: skip


def test_a_client_with_most_of_what_discovery_has() -> None:
    config = load("client.json")
    assert (config.datacenter, config.domain) == ("east-aws", "consul.")
    assert config.http_addrs == ("127.0.0.1", "unix:///var/run/consul.sock")
    assert (config.ports.dns, config.ports.https) == (53, -1)
    assert config.recursors == (("8.8.8.8", 53), ("1.1.1.1", 53))
    assert (config.retry_interval_s, config.retry_max) == (15.0, 5)
    assert config.dns.service_ttl_s == {"*": 5, "web*": 30}
    assert (config.dns.only_passing, config.dns.soa.min_ttl_s) == (True, 60)
    assert config.unix_sockets.mode == 0o770
    assert (config.enable_syslog, config.syslog_facility) == (True, "local5")
    assert config.http_config.response_headers == {"Access-Control-Allow-Origin": "*"}
    assert config.gossip_lan.suspicion_mult == 6


def test_services_and_checks_in_every_shape() -> None:
    config = load("client.json", "services.d")
    assert {service.id for service in config.services} == {
        "web-1", "redis", "worker", "api", "front", "db-1", "cache", "queue",
    }  # fmt: skip
    assert {check.id for check in config.checks} == {"mem", "heartbeat"}
    checks = {service.id: len(service.checks) for service in config.services}
    assert checks == {
        "web-1": 1, "redis": 2, "worker": 1, "api": 1, "front": 1, "db-1": 1, "cache": 0,
        "queue": 0,
    }  # fmt: skip
