"""Texts, file names and exit codes are those of Consul 1.8.7, tried beside it."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.cli.conftest import Result, Run

WARNING = """\
==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys.
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(name).read_bytes())


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in found]


def saved(name: str) -> str:
    return f"==> Saved {name}.pem\n==> Saved {name}-key.pem\n"


def test_an_authority_is_saved_and_never_overwritten(run: Run) -> None:
    assert run("tls", "ca", "create") == Result(0, saved("consul-agent-ca"), "")
    assert load("consul-agent-ca.pem").not_valid_after_utc > datetime.now(UTC) + timedelta(1824)
    again = run("tls", "ca", "create")
    assert again == Result(1, "", "consul-agent-ca.pem already exists.\n")
    Path("consul-agent-ca.pem").unlink()
    again = run("tls", "ca", "create")
    assert again == Result(1, "", "consul-agent-ca-key.pem already exists.\n")


def test_private_keys_are_their_owners_alone(run: Run) -> None:
    run("tls", "ca", "create")
    run("tls", "cert", "create", "-client")
    for name in ("consul-agent-ca-key.pem", "dc1-client-consul-0-key.pem"):
        assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
        assert Path(name).read_text().startswith("-----BEGIN EC PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("server", ["server.dc1.consul", "localhost", "127.0.0.1"]),
        ("client", ["client.dc1.consul", "localhost", "127.0.0.1"]),
        ("cli", ["cli.dc1.consul", "localhost"]),
    ],
)
def test_certificates_are_numbered_and_have_the_names_of_their_kind(
    run: Run, kind: str, expected: list[str]
) -> None:
    run("tls", "ca", "create")
    for number in range(2):
        assert run("tls", "cert", "create", f"-{kind}") == Result(
            0,
            (WARNING if kind == "server" else "")
            + "==> Using consul-agent-ca.pem and consul-agent-ca-key.pem\n"
            + saved(f"dc1-{kind}-consul-{number}"),
            "",
        )
    certificate = load(f"dc1-{kind}-consul-0.pem")
    assert names(certificate) == expected
    certificate.verify_directly_issued_by(load("consul-agent-ca.pem"))


def test_all_flags_of_a_certificate(run: Run) -> None:
    run("tls", "ca", "create", "-domain", "foo")
    result = run(
        *("tls", "cert", "create", "-server", "-domain=foo", "-dc", "DC2", "-node", "n1"),
        *("-additional-dnsname", "a.b", "-additional-ipaddress", "10.0.0.1"),
        *("-additional-ipaddress", "::1", "--days", "3"),
    )
    assert result.status == 0
    certificate = load("DC2-server-foo-0.pem")
    assert names(certificate) == [
        *("a.b", "n1.server.DC2.foo", "server.DC2.foo", "localhost"),
        *("10.0.0.1", "::1", "127.0.0.1"),
    ]
    validity = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert validity == timedelta(days=3)


def test_an_authority_in_another_place_signs(run: Run) -> None:
    Path("safe").mkdir()
    run("tls", "ca", "create", "-domain", "foo")
    for name in ("foo-agent-ca.pem", "foo-agent-ca-key.pem"):
        Path(name).rename(Path("safe") / name)
    paths = ("-ca", "safe/foo-agent-ca.pem", "-key", "safe/foo-agent-ca-key.pem")
    assert run("tls", "cert", "create", "-client", *paths).status == 0
    load("dc1-client-consul-0.pem").verify_directly_issued_by(load("safe/foo-agent-ca.pem"))


def test_a_constrained_authority_signs_for_its_domains_only(run: Run) -> None:
    run("tls", "ca", "create", "-name-constraint", "-additional-name-constraint", "bar.baz")
    found = load("consul-agent-ca.pem").extensions.get_extension_for_class(x509.NameConstraints)
    assert found.critical
    permitted = found.value.permitted_subtrees or []
    assert [one.value for one in permitted] == ["bar.baz", "consul", "localhost"]
    create = ("tls", "cert", "create", "-server", "-additional-dnsname")
    assert run(*create, "x.bar.baz").status == 0
    assert run(*create, "no.way").err == (
        "x509: a root or intermediate certificate is not authorized to sign for this name: "
        'DNS name "no.way" is not permitted by any constraint\n'
    )


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "Please provide either -server, -client, or -cli\n"),
        (("-server", "-cli"), "Please provide either -server, -client, or -cli\n"),
        (("-client", "-node", "x"), "-node requires -server\n"),
        (("-cli", "-ca", "no.pem"), "Error reading CA: open no.pem: no such file or directory\n"),
        (
            ("-cli", "-key", "no.pem"),
            "Error reading CA key: open no.pem: no such file or directory\n",
        ),
        (("-cli", "-ca", "junk.pem"), "no PEM-encoded data found"),
        (("-cli", "-key", "junk.pem"), "no PEM-encoded data found"),
        (
            ("-cli", "-key", "other-agent-ca-key.pem"),
            "x509: certificate signed by unknown authority",
        ),
        (("-cli", "-days", "0"), "-days must be at least 1, not 0\n"),
        (("-cli", "-additional-ipaddress", "bogus"), "not an IP address: bogus\n"),
        (("-cli", "-domain", "ü"), "Error reading CA: open ü-agent-ca.pem: "),
        (("-cli", "-dc", "ü"), "not a name for a certificate: cli.ü.consul: "),
        (("-cli", "-dc", "a/b"), "a/b-cli-consul-0.pem: No such file or directory\n"),
        (("-cli", "-days", "abc"), 'invalid value "abc" for flag -days: parse error\n'),
        (("-nope",), "flag provided but not defined: -nope\n"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_reason_and_leaves_no_file(
    run: Run, args: tuple[str, ...], text: str
) -> None:
    run("tls", "ca", "create")
    run("tls", "ca", "create", "-domain", "other")
    Path("junk.pem").write_text("junk")
    before = set(Path().iterdir())
    result = run("tls", "cert", "create", *args)
    assert result.status == 1
    assert result.err.startswith(text)
    assert set(Path().iterdir()) == before


def test_an_authority_that_has_expired_does_not_sign() -> None:
    from svcmesh.certificates import (
        CertificateError,
        Purpose,
        Subject,
        make_authority,
        make_certificate,
    )

    authority = make_authority(days=1, now_utc=datetime(2026, 1, 1, tzinfo=UTC))
    subject = Subject(purpose=Purpose.CLI, datacenter="dc1", domain="consul")
    with pytest.raises(CertificateError) as refused:
        make_certificate(authority, subject, days=1, now_utc=datetime(2026, 1, 3, tzinfo=UTC))
    assert str(refused.value) == (
        "x509: certificate has expired or is not yet valid: "
        "current time 2026-01-03T00:00:00Z is after 2026-01-02T00:00:00Z"
    )


@pytest.mark.parametrize("args", [(), ("ca",), ("cert",), ("cert", "nope")])
def test_without_a_subcommand_usage_is_shown(run: Run, args: tuple[str, ...]) -> None:
    result = run("tls", *args)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Usage: svcmesh tls")
