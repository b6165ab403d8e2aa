"""A configuration read again: what is taken up, what awaits a restart, what a bad file does."""

import json
from pathlib import Path

import pytest

from svcmesh.config import AgentConfig, Reload, load_config, reload_config
from svcmesh.errors import ConfigError
from tests.svcmesh.config.hosts import on_interface

HOST = [on_interface("eth0", "10.0.0.5/24")]


def load(folder: Path, **flags: object) -> AgentConfig:
    return load_config(
        {"data-dir": "/var/lib/svcmesh", "node": "n1"}
        | {k.replace("_", "-"): v for k, v in flags.items()},
        [folder],
        addresses_of_host=lambda: HOST,
    )


def write(folder: Path, **content: object) -> None:
    (folder / "agent.json").write_text(json.dumps(content))


def again(running: AgentConfig) -> Reload:
    return reload_config(running, addresses_of_host=lambda: HOST)


def test_the_same_files_again_change_nothing(tmp_path: Path) -> None:
    write(tmp_path, log_level="debug", service={"name": "web"}, ports={"http": 1})
    running = load(tmp_path)
    found = again(running)
    assert (found.applied_lines(), found.restart_lines()) == ([], [])
    assert found.config == running


def test_settings_that_can_be_reloaded_take_their_new_values(tmp_path: Path) -> None:
    write(tmp_path, dns_config={"service_ttl": {"*": "5s"}, "soa": {"refresh": 9}})
    running = load(tmp_path)
    write(tmp_path, log_level="debug", dns_config={"service_ttl": {"*": "6s", "web": "1m"}})
    found = again(running)
    assert found.applied_lines() == [
        "dns_config.service_ttl: *=5s -> *=6s, web=1m",
        "dns_config.soa.refresh: 9 -> 3600",
        "log_level: INFO -> debug",
    ]
    assert found.config.log_level == "DEBUG"
    assert found.config.dns.service_ttl_s == {"*": 6, "web": 60}
    assert found.config.dns.soa.refresh_s == 3600


def test_settings_that_need_a_restart_stay_and_are_named_every_time(tmp_path: Path) -> None:
    write(tmp_path)
    running = load(tmp_path)
    write(tmp_path, ports={"http": 8501}, server=True, log_level="warn")
    first = again(running)
    second = again(first.config)
    assert (
        first.restart_lines()
        == second.restart_lines()
        == [
            "server: false -> true",
            "ports.http: 8500 -> 8501",
        ]
    )
    assert second.applied_lines() == []
    assert (second.config.ports.http, second.config.server) == (8500, False)
    assert second.config.log_level == "WARN"


def test_flags_still_win(tmp_path: Path) -> None:
    write(tmp_path)
    running = load(tmp_path, log_level="err")
    write(tmp_path, log_level="debug")
    assert again(running).config.log_level == "ERR"


def test_definitions_are_compared_one_by_one(tmp_path: Path) -> None:
    write(tmp_path, services=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    running = load(tmp_path)
    write(tmp_path, services=[{"name": "d"}, {"name": "b", "port": 80}, {"name": "c"}])
    found = again(running)
    assert found.applied_lines() == [
        "service d: added",
        "service b: changed",
        "service a: removed",
    ]
    assert [service.name for service in found.config.services] == ["d", "b", "c"]


def test_checks_of_the_node_are_compared_too(tmp_path: Path) -> None:
    write(tmp_path, checks=[{"id": "a", "name": "a", "ttl": "10s"}])
    running = load(tmp_path)
    write(tmp_path, checks=[{"id": "a", "name": "a", "ttl": "20s"}])
    assert again(running).applied_lines() == ["check a: changed"]


def test_a_bad_file_is_refused_whole(tmp_path: Path) -> None:
    write(tmp_path)
    running = load(tmp_path)
    write(tmp_path, log_level="debug", retry_max=-1)
    with pytest.raises(ConfigError, match="retry_max cannot be -1"):
        again(running)


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path)
    running = load(tmp_path)
    write(tmp_path, encrypt="pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=")
    assert again(running).restart_lines() == ["encrypt: (hidden) -> (hidden)"]


def test_an_address_that_the_host_has_lost_stays_advertised_until_a_restart(
    tmp_path: Path,
) -> None:
    write(tmp_path)
    running = load(tmp_path, bind="{{ GetPrivateIP }}")
    moved = [on_interface("eth0", "10.0.0.99/24")]
    found = reload_config(running, addresses_of_host=lambda: moved)
    assert found.config.advertise_addr == "10.0.0.5"
