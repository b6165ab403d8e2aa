"""`svcmesh tls`: makes a certificate authority, and certificates for agents and people.

Needs no agent. Files are named as Consul's are; private keys are readable by their owner only.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli.errors import CommandError
from cli.flags import GoCommand, check_arguments, flag
from cli.groups import Entry, LazyGroup

if TYPE_CHECKING:
    from svcmesh.certificates import Pair, Purpose

DOMAIN: Final = "consul"
"""Consul's default. Agents accept names in `domain` and in `alt_domain`, which is `consul.`."""
DATACENTER: Final = "dc1"
CA, CA_KEY = "{}-agent-ca.pem", "{}-agent-ca-key.pem"
CA_DAYS: Final = 1825
DAYS: Final = 365
KEY_MODE: Final = 0o600
CERTIFICATE_MODE: Final = 0o644

SERVER_WARNING: Final = """\
==> WARNING: Server Certificates grants authority to become a
    server and access all state in the cluster including root keys
    and all ACL tokens. Do not distribute them to production hosts
    that are not server nodes. Store them as securely as CA keys."""

tls: Final = LazyGroup(
    "tls",
    {
        "ca": Entry("cli.tls", "ca", "Make certificate authorities"),
        "cert": Entry("cli.tls", "cert", "Make certificates"),
    },
    purpose="Make certificates for TLS between agents and for HTTPS.",
    no_command_status=1,
)
ca: Final = LazyGroup(
    "ca",
    {"create": Entry("cli.tls", "create_authority", "Make a certificate authority")},
    purpose="Make a certificate authority.",
    no_command_status=1,
)
cert: Final = LazyGroup(
    "cert",
    {"create": Entry("cli.tls", "create_certificate", "Make a certificate")},
    purpose="Make certificates.",
    no_command_status=1,
)


@click.command("create", cls=GoCommand)
@flag(
    "additional-name-constraint",
    kind="list",
    help="With -name-constraint: one more domain that certificates may be for. Can be repeated.",
)
@flag("days", kind="int", metavar="int", help=f"Days that the CA is valid. Default: {CA_DAYS}.")
@flag("domain", help=f"Domain of the cluster, in the file names. Default: {DOMAIN}.")
@flag(
    "name-constraint",
    kind="bool",
    help="Certificates of this CA are only good for names in -domain, localhost and those of "
    "-additional-name-constraint. Cannot be added later.",
)
def create_authority(
    args: tuple[str, ...],
    additional_name_constraint: tuple[str, ...],
    days: int | None,
    domain: str | None,
    name_constraint: bool | None,
) -> int:
    """Make a certificate authority in this folder: DOMAIN-agent-ca.pem and -key.pem.

    Whoever has the key can make servers. Keep it off the hosts of the agents.
    """
    from svcmesh.certificates import LOCALHOST, make_authority

    check_arguments(args)
    domain = domain or DOMAIN
    certificate, key = (Path(name.format(domain)) for name in (CA, CA_KEY))
    for path in (certificate, key):
        if path.exists():
            raise CommandError(f"{path} already exists.")
    permitted = (*additional_name_constraint, domain, LOCALHOST) if name_constraint else ()
    made = make_authority(days=_days(days, CA_DAYS), permitted=permitted)
    _save(made, certificate, key)
    return 0


@click.command("create", cls=GoCommand)
@flag(
    "additional-dnsname",
    kind="list",
    help="One more DNS name, besides localhost. Can be repeated.",
)
@flag(
    "additional-ipaddress",
    kind="list",
    help="One more IP address, besides 127.0.0.1. Can be repeated.",
)
@flag("ca", metavar="path", help="The CA's certificate. Default: DOMAIN-agent-ca.pem.")
@flag("cli", kind="bool", help="For people and programs that call the HTTP API.")
@flag("client", kind="bool", help="For agents that are no servers.")
@flag("days", kind="int", metavar="int", help=f"Days that it is valid. Default: {DAYS}.")
@flag("dc", help=f"Data center; of a server, it is checked. Default: {DATACENTER}.")
@flag("domain", help=f"Domain of the cluster; of a server, it is checked. Default: {DOMAIN}.")
@flag("key", metavar="path", help="The CA's key. Default: DOMAIN-agent-ca-key.pem.")
@flag("node", help="With -server: also for the name NODE.server.DATACENTER.DOMAIN.")
@flag("server", kind="bool", help="For servers.")
def create_certificate(
    args: tuple[str, ...],
    additional_dnsname: tuple[str, ...],
    additional_ipaddress: tuple[str, ...],
    ca: str | None,
    cli: bool | None,
    client: bool | None,
    days: int | None,
    dc: str | None,
    domain: str | None,
    key: str | None,
    node: str | None,
    server: bool | None,
) -> int:
    """Make a certificate, signed by the CA in this folder: DC-server-DOMAIN-0.pem and -key.pem.

    One of -server, -client and -cli says for whom. Numbers go up; nothing is overwritten.
    """
    from svcmesh.certificates import (
        CertificateError,
        Pair,
        Purpose,
        Subject,
        make_certificate,
        parse_address,
    )

    check_arguments(args)
    given = {Purpose.SERVER: server, Purpose.CLIENT: client, Purpose.CLI: cli}
    purposes = [purpose for purpose, is_given in given.items() if is_given]
    if len(purposes) != 1:
        raise CommandError("Please provide either -server, -client, or -cli")
    [purpose] = purposes
    if node and purpose is not Purpose.SERVER:
        raise CommandError("-node requires -server")
    domain, dc = domain or DOMAIN, dc or DATACENTER
    ca_path = Path(ca or CA.format(domain))
    key_path = Path(key or CA_KEY.format(domain))
    authority = Pair(_read("CA", ca_path), _read("CA key", key_path))
    if purpose is Purpose.SERVER:
        click.echo(SERVER_WARNING)
    click.echo(f"==> Using {ca_path} and {key_path}")
    try:
        subject = Subject(
            purpose=purpose,
            datacenter=dc,
            domain=domain,
            node=node or "",
            dns_names=additional_dnsname,
            addresses=tuple(map(parse_address, additional_ipaddress)),
        )
        made = make_certificate(authority, subject, days=_days(days, DAYS))
    except CertificateError as error:
        raise CommandError(str(error)) from None
    _save(made, *_unused_paths(purpose, dc, domain))
    return 0


def _days(given: int | None, default: int) -> int:
    days = default if given is None else given
    if days < 1:
        # Differs from Consul, which makes a CA that has expired.
        raise CommandError(f"-days must be at least 1, not {days}")
    return days


def _unused_paths(purpose: "Purpose", dc: str, domain: str) -> tuple[Path, Path]:
    number = 0
    while True:
        prefix = f"{dc}-{purpose.value}-{domain}-{number}"
        certificate, key = Path(f"{prefix}.pem"), Path(f"{prefix}-key.pem")
        if not (certificate.exists() or key.exists()):
            return certificate, key
        number += 1


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CommandError(f"Error reading {what}: open {path}: {why}") from None


def _save(made: "Pair", certificate: Path, key: Path) -> None:
    for path, content, mode in (
        (certificate, made.certificate, CERTIFICATE_MODE),
        (key, made.key, KEY_MODE),
    ):
        try:
            # Never over an existing file, which may be the only copy of a key.
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from None
        click.echo(f"==> Saved {path}")
