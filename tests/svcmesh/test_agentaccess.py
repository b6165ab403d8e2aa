import ssl
from pathlib import Path

import pytest

from svcmesh.agentaccess import AccessError, TlsFiles, agent_access, parse_address


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "base_url"),
    [
        ("127.0.0.1:8500", "http", "127.0.0.1", 8500, "http://127.0.0.1:8500"),
        ("host", "http", "host", 80, "http://host"),
        ("https://host", "https", "host", 443, "https://host"),
        ("http://[::1]:8500", "http", "::1", 8500, "http://[::1]:8500"),
        (":8500", "http", "127.0.0.1", 8500, "http://:8500"),
        ("http://u:p@host:1", "http", "host", 1, "http://host:1"),
    ],
)
def test_an_address_is_read_with_or_without_its_scheme(
    text: str, scheme: str, host: str, port: int, base_url: str
) -> None:
    access = parse_address(text)
    assert (access.scheme, access.host, access.port) == (scheme, host, port)
    assert access.base_url == base_url


def test_a_socket_has_a_path_and_no_host() -> None:
    access = parse_address("unix:///run/svcmesh.sock")
    assert (access.socket_path, access.host) == ("/run/svcmesh.sock", "")


def test_nothing_given_is_the_default() -> None:
    access = agent_access(environ={})
    assert access.base_url == "http://127.0.0.1:8500"
    assert access.headers() == {}


def test_our_variables_win_over_consuls() -> None:
    environ = {"CONSUL_HTTP_ADDR": "consul:1", "SVCMESH_HTTP_ADDR": "svcmesh:1"}
    assert agent_access(environ=environ).host == "svcmesh"
    assert agent_access("given:1", environ=environ).host == "given"


@pytest.mark.parametrize(("address", "scheme"), [("h:1", "https"), ("http://h:1", "http")])
def test_the_ssl_variable_decides_where_the_address_says_nothing(address: str, scheme: str) -> None:
    environ = {"CONSUL_HTTP_SSL": "true", "CONSUL_HTTP_ADDR": address}
    assert agent_access(environ=environ).scheme == scheme


@pytest.mark.parametrize("name", ["CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"])
def test_an_unreadable_switch_never_turns_protection_off(name: str) -> None:
    with pytest.raises(AccessError, match="could not parse"):
        agent_access(environ={name: "yes please"})


def test_secrets_are_sent_and_never_shown() -> None:
    access = agent_access(environ={"CONSUL_HTTP_TOKEN": "t0ken", "CONSUL_HTTP_AUTH": "user:pass"})
    assert access.headers() == {"X-Consul-Token": "t0ken", "Authorization": "Basic dXNlcjpwYXNz"}
    assert "t0ken" not in repr(access)
    assert "pass" not in repr(access)


def test_verification_is_on_until_it_is_turned_off() -> None:
    assert TlsFiles().context().verify_mode is ssl.CERT_REQUIRED
    off = agent_access(environ={"CONSUL_HTTP_SSL_VERIFY": "false"}).tls
    assert off.context().verify_mode is ssl.CERT_NONE


def test_a_certificate_that_is_none_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(AccessError, match="TLS files are not usable"):
        TlsFiles(ca_file=str(file)).context()
