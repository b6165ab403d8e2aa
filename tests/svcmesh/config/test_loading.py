"""From files and flags to an `AgentConfig`. Texts marked so are a recorded Consul 1.8.7's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from svcmesh.config import AgentConfig, load_config, load_services
from svcmesh.errors import ConfigError
from tests.svcmesh.config.hosts import on_interface

KEY = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="


Write = Callable[[str, object], Path]
"""Writes a file of this name with a JSON value, or with text as it is."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_file


def load(*files: Path, private: tuple[str, ...] = ("10.0.0.5",), **flags: object) -> AgentConfig:
    """Load with a data folder, on a host of our own invention."""
    return load_config(
        {"data-dir": "/var/lib/svcmesh"} | {k.replace("_", "-"): v for k, v in flags.items()},
        files,
        addresses_of_host=lambda: [on_interface("eth0", f"{one}/24") for one in private],
        host_name=lambda: "host-1",
    )


def refusal(*files: Path, private: tuple[str, ...] = ("10.0.0.5",), **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*files, private=private, **flags)
    return str(caught.value)


# -- defaults ---------------------------------------------------------------------------------


def test_dev_needs_nothing_else_and_stays_on_loopback_and_in_memory() -> None:
    config = load_config({"dev": True}, [], host_name=lambda: "host-1")
    assert (config.node_name, config.server, config.data_dir) == ("host-1", True, None)
    assert {config.bind_addr, config.advertise_addr, *config.http_addrs, *config.dns_addrs} == {
        "127.0.0.1"
    }
    assert config.warnings == ()


def test_defaults_are_consuls_but_for_the_domain() -> None:
    config = load()
    assert (config.datacenter, config.server, config.bind_addr) == ("dc1", False, "0.0.0.0")
    ports = config.ports
    assert (ports.dns, ports.http, ports.serf_lan, ports.serf_wan, ports.server) == (
        8600, 8500, 8301, 8302, 8300,
    )  # fmt: skip
    assert (config.retry_interval_s, config.retry_max) == (30.0, 0)
    assert config.encrypt is None
    assert (config.encrypt_verify_incoming, config.encrypt_verify_outgoing) == (True, True)
    assert config.reconnect_timeout_s == 72 * 3600
    assert (config.domain, config.alt_domain) == ("svcmesh.", "consul.")
    assert config.dns.udp_answer_limit == 3


@pytest.mark.parametrize(("server", "leaves", "skips"), [(True, False, True), (False, True, False)])
def test_whether_a_signal_means_leaving_depends_on_the_role(
    server: bool, leaves: bool, skips: bool
) -> None:
    config = load(server=server)
    assert (config.leave_on_terminate, config.skip_leave_on_interrupt) == (leaves, skips)


def test_without_dev_a_data_folder_is_required() -> None:
    assert refusal(data_dir="") == "data_dir cannot be empty"  # Consul's


# -- precedence -------------------------------------------------------------------------------


def test_later_files_win_over_earlier_ones_and_flags_over_all(write: Write) -> None:
    first = write("1.json", {"node_name": "one", "datacenter": "one", "log_level": "debug"})
    second = write("2.json", {"node_name": "two", "datacenter": "two"})
    config = load(first, second, node="three")
    assert (config.node_name, config.datacenter, config.log_level) == ("three", "two", "DEBUG")


def test_lists_of_all_sources_are_joined_with_those_of_flags_first(write: Write) -> None:
    first = write("1.json", {"retry_join": ["a"], "node_meta": {"x": "1", "y": "1"}})
    second = write("2.json", {"retry_join": ["b"], "node_meta": {"y": "2"}})
    config = load(first, second, retry_join=("c",))
    assert config.retry_join == ("c", "a", "b")
    assert config.node_meta == {"x": "1", "y": "2"}


def test_files_win_over_what_dev_changes(write: Write) -> None:
    config = load(write("1.json", {"server": False}), dev=True, data_dir=None)
    assert config.server is False


def test_a_folder_gives_its_json_files_in_alphabetical_order(write: Write, tmp_path: Path) -> None:
    write("conf/b.json", {"node_name": "b"})
    write("conf/a.json", {"node_name": "a", "datacenter": "east"})
    write("conf/README.md", "not ours")
    config = load(tmp_path / "conf")
    assert (config.node_name, config.datacenter) == ("b", "east")


def test_keys_are_matched_without_regard_to_case(write: Write) -> None:
    assert load(write("1.json", {"Node_Name": "x"})).node_name == "x"


def test_older_names_of_a_setting_are_understood(write: Write) -> None:
    config = load(write("1.json", {"recursor": "10.0.0.1", "recursors": ["10.0.0.2"]}))
    assert config.recursors == (("10.0.0.1", 53), ("10.0.0.2", 53))


def test_null_is_as_good_as_absent(write: Write) -> None:
    assert load(write("1.json", {"node_name": None, "ports": {"http": None}})).ports.http == 8500


# -- errors of files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"no_such_option": 1}, "1 error occurred:\n\t* invalid config key no_such_option"),
        (
            {"no_such_option": 1, "ports": {"htp": 1}},
            "2 errors occurred:\n\t* invalid config key no_such_option\n"
            "\t* invalid config key ports.htp",
        ),
        ("{x", "Expecting property name"),
        ("{", "unexpected end of JSON input"),
        ('{"a":', "unexpected end of JSON input"),
        (" ", "unexpected end of JSON input"),
        ("[]", "expected a JSON object"),
        ({"ports": 5}, "ports: expected one object, got number"),
        ({"service": {"name": "x", "bogus": 1}}, "invalid config key service.bogus"),
        ({"services": {"name": "x"}}, "services: expected array of objects"),
        ({"services": [{"name": "a"}, {}]}, "services[1]: Missing service name"),
    ],
)
def test_what_is_wrong_in_a_file_names_the_file_and_the_key(
    write: Write, content: object, problem: str
) -> None:
    path = write("unk.json", content)
    text = refusal(path)
    assert text.startswith(f"failed to parse {path}: ")
    assert problem in text


def test_a_file_that_is_missing_is_named_with_the_reason() -> None:
    assert refusal(Path("nofile.json")) == (
        "config: Open failed on nofile.json. open nofile.json: no such file or directory"
    )  # Consul's


def test_hcl_is_told_by_the_extension_or_by_a_flag(write: Write, tmp_path: Path) -> None:
    write("conf/b.hcl", 'node_name = "b"')
    write("conf/a.json", {"node_name": "a", "datacenter": "east"})
    config = load(tmp_path / "conf")
    assert (config.node_name, config.datacenter) == ("b", "east")
    plain = write("a.conf", 'node_name = "x"')
    assert load(plain, config_format="hcl").node_name == "x"
    assert "the extension must be .hcl or .json" in refusal(plain)
    assert refusal(config_format="xml") == "-config-format must be either 'hcl' or 'json'"


def test_fragments_on_the_command_line_win_over_flags() -> None:
    config = load(node="a", hcl=('node_name = "b"', "ports { http = 1 }"))
    assert (config.node_name, config.ports.http) == ("b", 1)  # as in Consul
    assert refusal(hcl=("a = 1", "x")).startswith(
        "failed to parse flags-0.hcl: 1 error occurred:\n\t* invalid config key a"
    )


def test_blocks_of_services_register_each(write: Write) -> None:
    path = write("a.hcl", 'service { name = "a" } service { name = "b" } services { name = "c" }')
    assert [service.name for service in load(path).services] == ["a", "b", "c"]


def test_an_empty_file_says_nothing(write: Write) -> None:
    assert load(write("a.json", "")) == load(write("a.json", {}))  # as in Consul


def test_a_group_that_is_given_twice_is_refused(write: Write) -> None:
    path = write("a.hcl", "ports { http = 1 }\nports { dns = 2 }")
    assert "ports: expected one object, got 2 of them" in refusal(path)


def test_a_key_that_is_nearly_right_is_pointed_to(write: Write) -> None:
    text = refusal(write("a.json", {"bnd_addr": "x", "dns_config": {"only_pasing": True}}))
    assert "invalid config key bnd_addr (did you mean bind_addr?)" in text
    assert (
        "invalid config key dns_config.only_pasing (did you mean dns_config.only_passing?)" in text
    )


def test_a_folders_other_files_are_passed_over_with_a_warning(write: Write, tmp_path: Path) -> None:
    other = write("conf/README.md", "not ours")
    write("conf/sub/x.json", "{broken")
    assert load(tmp_path / "conf").warnings == (
        f"skipping file {other}, extension must be .hcl or .json, or config format must be set",
    )  # Consul's


# -- features that are not built --------------------------------------------------------------


def test_harmless_keys_of_consuls_are_warnings_that_name_file_and_key(write: Write) -> None:
    harmless = {
        "ui": True, "ui_config": {"enabled": True}, "telemetry": {"statsd_address": "x"},
        "performance": {"raft_multiplier": 1}, "disable_update_check": True,
        "connect": {"enabled": False}, "non_voting_server": False, "raft_protocol": 3,
        "acl": {"enabled": False}, "auto_encrypt": {}, "watches": [],
        "ports": {"grpc": 8502, "grpc_tls": -1}, "dns_config": {"use_cache": True},
    }  # fmt: skip
    path = write("1.json", harmless)
    warnings = load(path).warnings
    named = [warning.removeprefix(f"{path}: ").split(" is ignored: ")[0] for warning in warnings]
    assert named == [
        *list(harmless)[:11], "ports.grpc", "ports.grpc_tls", "dns_config.use_cache",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        {"acl": {"enabled": True}},
        {"acl_datacenter": "dc1"},
        {"auto_encrypt": {"tls": True}},
        {"tls": {"defaults": {"verify_outgoing": True}}},
        {"auto_encrypt": {"allow_tls": True}},
        {"ports": {"grpc_tls": 8503}},
        {"serf_lan_allowed_cidrs": ["10.0.0.0/8"]},
        {"default_intention_policy": "deny"},
        {"watches": [{"type": "nodes"}]},
        {"connect": {"enabled": True}},
        {"primary_gateways": ["x"]},
        {"disable_host_node_id": False},
    ],
    ids=lambda content: next(iter(content)),
)
def test_keys_that_promise_security_or_change_behaviour_are_errors(
    write: Write, content: dict[str, object]
) -> None:
    text = refusal(write("1.json", content))
    assert "not built yet" in text
    assert next(iter(content)) in text


def test_flags_of_what_is_not_built_are_judged_like_keys() -> None:
    assert load(ui=True, raft_protocol=("3",)).warnings == (
        "-ui is ignored: there is no web page yet",
        "-raft-protocol is ignored: Raft's timing, log and snapshots have no settings",
    )
    assert refusal(segment="x").startswith("-segment: ")
    assert refusal(bogus="1") == "flag provided but not defined: -bogus"  # Consul's


# -- validation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        # Consul's words.
        ({"datacenter": "DC 1"}, 'datacenter cannot be "dc 1". Please use only [a-z0-9-_]'),
        ({"bootstrap_expect": "3"}, "'bootstrap_expect > 0' requires 'server = true'"),
        (
            {"server": True, "bootstrap_expect": "-1"},
            "bootstrap_expect cannot be -1. Must be greater than or equal to zero",
        ),
        (
            {"dev": True, "bootstrap_expect": "2"},
            "'bootstrap_expect > 0' not allowed in dev mode",
        ),
        (
            {"log_level": "foo"},
            "Invalid log level: foo. Valid log levels are: [TRACE DEBUG INFO WARN ERR ERROR]",
        ),
        ({"dns_port": "99999"}, "1 error occurred:\n\t* ports.dns: invalid port: 99999"),
        (
            {"node_meta": ("a b:c",)},
            "node_meta invalid: Couldn't load metadata pair ('a b', 'c'): "
            "Key contains invalid characters",
        ),
        ({"advertise": "0.0.0.0"}, "Advertise address cannot be 0.0.0.0, :: or [::]"),
        ({"advertise": "foo"}, "advertise_addr: invalid ip address: foo"),
        (
            {"bind": "127.0.0.1", "http_port": "8600"},
            "HTTP address 127.0.0.1:8600 already configured for DNS",
        ),
        (
            {"retry_interval": "5"},
            'retry_interval: invalid duration: "5": time: missing unit in duration "5"',
        ),
        # Ours.
        ({"serf_lan_port": "-1"}, "1 error occurred:\n\t* ports.serf_lan: invalid port: -1"),
        (
            {"bind": '{{ GetInterfaceIP "lo" }}'},
            'bind_addr cannot be empty: {{ GetInterfaceIP "lo" }} finds no address on this host',
        ),
        ({"bind": "unix:///tmp/x"}, "bind_addr: cannot be a Unix socket: unix:///tmp/x"),
        ({"client": "unix://x"}, "client_addr: the path of a Unix socket begins with /"),
        (
            {"allow_write_http_from": ("x",)},
            "1 error occurred:\n\t* allow_write_http_from: invalid cidr: x",  # Consul's
        ),
        ({"hcl": ('unix_sockets { mode = "9" }',)}, "unix_sockets.mode: must be octal"),
        (
            {"hcl": ("verify_outgoing = true",)},
            "verify_outgoing set, and no CA certificate provided",
        ),
        ({"retry_join": ("provider=aws tag_key=x",)}, "cloud auto-join is not built yet"),
        ({"encrypt": "A"}, "encrypt has invalid key: not base64"),
        ({"encrypt": "AAAA"}, "encrypt has invalid key: key size must be 16, 24 or 32 bytes"),
        ({"node_id": "foo"}, 'node_id "foo" is not a UUID'),
        ({"domain": "a..b"}, 'domain cannot be "a..b"'),
        ({"domain": "."}, "domain cannot be empty"),
        ({"retry_max": "-1"}, "retry_max cannot be -1"),
        ({"retry_interval": "0s"}, "retry_interval: must be greater than zero"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_refused_by_name(flags: dict[str, object], text: str) -> None:
    assert text in refusal(**flags)  # type: ignore[arg-type]  # no flag is called `private`


def test_contradictions_inside_a_group_are_refused(write: Write) -> None:
    path = write("1.json", {"gossip_lan": {"probe_timeout": "2s"}})
    assert refusal(path).startswith("gossip_lan.probe_timeout")


def test_an_expectation_of_one_server_is_bootstrap() -> None:
    config = load(server=True, bootstrap_expect="1")
    assert (config.bootstrap, config.bootstrap_expect) == (True, 0)


def test_names_are_normalised() -> None:
    config = load(datacenter="East-1", domain="Mesh.Example", alt_domain="mesh.example.")
    assert (config.datacenter, config.domain) == ("east-1", "mesh.example.")
    assert config.alt_domain == "", "the same domain twice is one"


def test_the_key_is_decoded_and_does_not_show() -> None:
    config = load(encrypt=KEY)
    assert config.encrypt is not None
    assert len(config.encrypt) == 32
    assert "encrypt=" not in repr(config)


def test_a_name_that_dns_cannot_ask_for_is_a_warning() -> None:
    assert "will not be discoverable via DNS" in load(node="a b").warnings[0]


# -- addresses --------------------------------------------------------------------------------


def test_bound_to_every_address_the_hosts_only_private_one_is_advertised() -> None:
    assert load().advertise_addr == "10.0.0.5"
    assert load(bind="127.0.0.2").advertise_addr == "127.0.0.2"
    assert load(advertise="192.0.2.9").advertise_addr == "192.0.2.9"


def test_no_or_several_private_addresses_need_a_word_from_the_operator() -> None:
    several = ("10.0.0.5", "172.17.0.1")
    assert refusal(private=()).startswith("No private IPv4 address found.")
    assert refusal(private=several).startswith("Multiple private IPv4 addresses found.")
    assert load(advertise="172.17.0.1", private=several).advertise_addr == "172.17.0.1"


def test_a_host_with_nothing_but_loopback_is_a_cluster_of_its_own() -> None:
    assert load(private=("127.0.0.1",)).advertise_addr == "127.0.0.1"
    assert load(private=("127.0.0.1", "10.0.0.5")).advertise_addr == "10.0.0.5"
    assert refusal(private=("127.0.0.1", "192.0.0.9")).startswith("No private IPv4 address found.")


def test_limits_above_what_is_built_are_refused_and_others_named(write: Write) -> None:
    small = {"limits": {"kv_max_value_size": 1000, "txn_max_req_len": 524_288}}
    warnings = load(write("1.json", small)).warnings
    assert [warning.split(" is ignored")[0].rpartition(" ")[2] for warning in warnings] == [
        "limits.kv_max_value_size",
        "limits.txn_max_req_len",
    ]
    large = {"limits": {"kv_max_value_size": 1_000_000}}
    assert "limits.kv_max_value_size: values and" in refusal(write("2.json", large))
    translated = write("3.json", {"translate_wan_addrs": True})
    assert "translate_wan_addrs" in refusal(translated)


def test_a_token_in_a_definition_is_named_as_without_effect(write: Write) -> None:
    config = load(
        write(
            "1.json",
            {
                "services": [
                    {"name": "a", "token": "", "check": {"ttl": "1s", "token": "secret"}},
                    {"name": "b", "token": "secret", "checks": [{"ttl": "1s", "token": "secret"}]},
                ],
                "check": {"name": "c", "ttl": "1s", "Token": "secret"},
            },
        )
    )
    assert [warning.partition(": ")[2] for warning in config.warnings] == [
        "services[0].check.token is ignored: there is no access control",
        "services[1].token is ignored: there is no access control",
        "services[1].checks.token is ignored: there is no access control",
        "check.token is ignored: there is no access control",
    ]
    assert "secret" not in "".join(config.warnings)


def test_several_client_addresses_serve_http_and_dns_unless_those_have_their_own(
    write: Write,
) -> None:
    config = load(write("1.json", {"addresses": {"dns": "127.0.0.9"}}), client="127.0.0.1 [::1]")
    assert config.client_addrs == config.http_addrs == ("127.0.0.1", "::1")
    assert config.dns_addrs == ("127.0.0.9",)


def test_http_and_dns_can_be_turned_off() -> None:
    config = load(http_port="-1", dns_port="-1")
    assert (config.ports.http, config.ports.dns) == (-1, -1)


def test_address_templates_are_filled_in_where_addresses_stand(write: Write) -> None:
    config = load(
        write("1.json", {"retry_join": ["{{ GetPrivateIP }}:8301"]}),
        bind="{{ GetPrivateIP }}",
        client='127.0.0.1 {{ GetInterfaceIP "eth0" }}',
    )
    assert config.bind_addr == "10.0.0.5"
    assert config.client_addrs == ("127.0.0.1", "10.0.0.5")
    assert config.retry_join == ("10.0.0.5:8301",)


def test_this_host_can_be_asked_for_its_addresses() -> None:
    config = load_config({"dev": True, "bind": "127.0.0.1"}, [])
    assert config.node_name


# -- for the libraries ------------------------------------------------------------------------


def test_gossip_and_dns_settings_reach_the_libraries(write: Write) -> None:
    config = load(
        write(
            "1.json",
            {
                "gossip_lan": {"probe_interval": "2s", "suspicion_mult": 6},
                "dns_config": {
                    "service_ttl": {"*": "5s", "web": "1500ms"},
                    "soa": {"min_ttl": 7},
                    "enable_truncate": True,
                },
            },
        )
    )
    swim, dns = config.swim_config(), config.dns_server_config()
    assert (swim.probe_interval_s, swim.suspicion_mult, swim.gossip_nodes) == (2.0, 6, 3)
    assert dns.service_ttl_s == {"*": 5, "web": 1}
    assert (dns.soa.min_ttl_s, dns.enable_truncate, dns.domain) == (7, True, "svcmesh.")


# -- services ---------------------------------------------------------------------------------


def test_services_of_all_files_are_read_and_the_last_of_an_id_counts(write: Write) -> None:
    first = write("1.json", {"service": {"name": "web", "port": 80}})
    second = write("2.json", {"services": [{"name": "db"}, {"id": "web", "name": "web2"}]})
    config = load(first, second)
    assert [(s.id, s.name) for s in config.services] == [("web", "web2"), ("db", "db")]
    assert config.warnings == ('service id "web" is defined more than once; the last counts',)


def test_services_alone_can_be_read_from_files_that_are_no_whole_configuration(
    write: Write,
) -> None:
    path = write("web.json", {"service": {"name": "web"}})
    assert [service.name for service in load_services([path])] == ["web"]


def test_the_wan_is_where_the_lan_is_unless_told_otherwise() -> None:
    def wan(**flags: str) -> tuple[str, str]:
        config = load_config({"dev": True, "bind": "10.0.0.1", **flags}, [])
        return config.serf_wan_addr, config.advertise_addr_wan

    assert wan() == ("10.0.0.1", "10.0.0.1")
    assert wan(advertise="192.0.2.1") == ("10.0.0.1", "192.0.2.1")
    assert wan(**{"advertise-wan": "192.0.2.1"}) == ("10.0.0.1", "192.0.2.1")
    assert wan(**{"serf-wan-bind": "10.9.0.1"}) == ("10.9.0.1", "10.9.0.1")
    assert wan(**{"serf-wan-bind": "0.0.0.0"}) == ("0.0.0.0", "10.0.0.1")
    with pytest.raises(ConfigError, match="Advertise WAN address cannot be"):
        wan(**{"advertise-wan": "0.0.0.0"})
    with pytest.raises(ConfigError, match="serf_wan cannot contain multiple addresses"):
        wan(**{"serf-wan-bind": "10.0.0.1 10.0.0.2"})


def test_only_a_server_joins_over_the_wan(tmp_path: Path) -> None:
    client: dict[str, object] = {"data-dir": str(tmp_path), "bind": "127.0.0.1"}
    (warning,) = load_config({**client, "retry-join-wan": ["x"]}, []).warnings
    assert warning.startswith("retry_join_wan has no effect")
    with pytest.raises(ConfigError, match="start_join_wan: only a server"):
        load_config({**client, "join-wan": ["x"]}, [])
    with pytest.raises(ConfigError, match="start_join_wan: only a server"):
        load_config({"dev": True, "join-wan": ["x"], "serf-wan-port": -1}, [])
    config = load_config({"dev": True, "retry-join-wan": ["x"], "join-wan": ["y"]}, [])
    assert (config.retry_join_wan, config.start_join_wan) == (("x",), ("y",))
    assert not config.warnings


# -- health checks ------------------------------------------------------------------------------


def test_checks_are_defined_alone_and_with_their_service(write: Write) -> None:
    config = load(
        write("1.json", {
            "check": {"id": "disk", "name": "disk space", "ttl": "90s", "notes": "n"},
            "checks": [{"name": "mem", "tcp": "127.0.0.1:1", "interval": "10s"}],
        }),
        write("2.json", {
            "service": {"name": "web", "check": {"id": "w", "http": "http://x/", "interval": "5s"}},
            "services": [{"name": "db", "checks": [{"ttl": "5s"}, {"alias_service": "web"}]}],
        }),
    )  # fmt: skip
    assert [(check.id, check.name, check.type) for check in config.checks] == [
        ("disk", "disk space", "ttl"),
        ("mem", "mem", "tcp"),
    ]
    assert {
        service.name: [(check.id, check.type) for check in service.checks]
        for service in config.services
    } == {
        "web": [("w", "http")],
        "db": [("service:db:1", "ttl"), ("service:db:2", "alias")],
    }


def test_checks_in_hcl_blocks_are_the_same(write: Write) -> None:
    text = """
        check { id = "disk"  name = "disk"  ttl = "90s" }
        service {
          name = "web"
          check { args = ["/bin/true"]  interval = "10s"  failures_before_critical = 3 }
        }
    """
    file = write("1.hcl", text)
    # Consul's words.
    assert refusal(file).startswith(
        'Failed to register check "service:web": Scripts are disabled on this agent; to enable'
    )
    config = load(file, enable_local_script_checks="true")
    ((check,),) = [service.checks for service in config.services]
    assert [one.id for one in config.checks] == ["disk"]
    assert (check.id, check.type, check.failures_before_critical) == ("service:web", "script", 3)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"check": {"name": "x"}}, "check: Invalid check: TTL must be > 0 for TTL checks"),
        ({"checks": [{"name": "x", "ttl": "soon"}]},
         'checks[0].TTL: time: invalid duration "soon"'),
        ({"service": {"name": "x", "check": {"ttl": 5, "bogus": 1}}},
         "invalid config key service.Check.bogus"),
        ({"check": {"name": "x", "docker_container_id": "y", "interval": "5s"}},
         "check: docker_container_id: Docker checks are not built yet"),
    ],
)  # fmt: skip
def test_a_wrong_check_is_an_error_that_says_where(
    write: Write, content: dict[str, object], text: str
) -> None:
    assert text in refusal(write("1.json", content))


def test_settings_of_checks(write: Write) -> None:
    config = load(write("1.json", {"check_output_max_size": 100}), enable_script_checks="true")
    assert (config.enable_script_checks, config.check_output_max_size) == (True, 100)
    assert (config.check_update_interval_s, config.discard_check_output) == (300.0, False)
    assert load(dev=True).check_update_interval_s == 0.0
