"""Certificate authorities and certificates, as `svcmesh tls` makes them and `consul tls` does.

ECDSA on P-256, with the names and usages of Consul's, so that those of both can be mixed. A
certificate is checked against its authority before anybody gets it. No files are touched here.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from svcmesh.errors import SvcmeshError

SERIAL_BITS: Final = 127
"""As many random ones as keep the number positive in 16 bytes."""
LOCALHOST: Final = "localhost"
LOOPBACK: Final = IPv4Address("127.0.0.1")


class CertificateError(SvcmeshError):
    """A certificate cannot be made; nothing was."""


class Purpose(Enum):
    """Who gets a certificate; the value is how its name begins."""

    SERVER = "server"
    CLIENT = "client"
    CLI = "cli"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Whom a certificate is for."""

    purpose: Purpose
    datacenter: str
    domain: str
    node: str = ""
    """A server's name, if the certificate should have it."""
    dns_names: tuple[str, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()

    @property
    def name(self) -> str:
        """Its common name, the one that agents check."""
        return f"{self.purpose.value}.{self.datacenter}.{self.domain}"

    def all_names(self) -> list[str]:
        """DNS names in Consul's order."""
        node = [f"{self.node}.{self.name}"] if self.node else []
        return [*self.dns_names, *node, self.name, LOCALHOST]

    def all_addresses(self) -> list[IPv4Address | IPv6Address]:
        """IP addresses; the command line's needs none."""
        return [*self.addresses, *([] if self.purpose is Purpose.CLI else [LOOPBACK])]


def make_authority(
    *, days: int, permitted: Sequence[str] = (), now_utc: datetime | None = None
) -> Pair:
    """Make a certificate authority. With `permitted`, it can only sign for these domains."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = secrets.randbits(SERIAL_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"svcmesh Agent CA {serial}")])
    builder = (
        _builder(name, name, key.public_key(), serial, days, now_utc)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_id(key.public_key()), critical=False)
        .add_extension(_authority_key_id(_key_id(key.public_key())), critical=False)
    )
    if permitted:
        subtrees = [x509.DNSName(domain) for domain in permitted]
        builder = builder.add_extension(x509.NameConstraints(subtrees, None), critical=True)
    return _sign(builder, key, key)


def make_certificate(
    authority: Pair, subject: Subject, *, days: int, now_utc: datetime | None = None
) -> Pair:
    """Make a certificate and sign it.

    Raises:
        CertificateError: The authority is none, or may not sign this.
    """
    now = now_utc or datetime.now(UTC)
    try:
        issuer = x509.load_pem_x509_certificate(authority.certificate)
        issuer_key = serialization.load_pem_private_key(authority.key, None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"no PEM-encoded data found: {error}") from error
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the CA's key is not an ECDSA key")
    ends = now + timedelta(days=days)
    _check_may_sign(issuer, issuer_key, subject, now, ends)
    key = ec.generate_private_key(ec.SECP256R1())
    serial = secrets.randbits(SERIAL_BITS)
    try:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])
        alternatives = [
            *map(x509.DNSName, subject.all_names()),
            *map(x509.IPAddress, subject.all_addresses()),
        ]
    except ValueError as error:
        raise CertificateError(f"not a name for a certificate: {subject.name}: {error}") from error
    builder = (
        _builder(issuer.subject, name, key.public_key(), serial, days, now)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_id(key.public_key()), critical=False)
        .add_extension(_authority_key_id(_key_id_of(issuer)), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    )
    if subject.purpose is not Purpose.CLI:
        # Agents call and are called.
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return _sign(builder, key, issuer_key)


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Read an IP address.

    Raises:
        CertificateError: It is none.
    """
    try:
        return ip_address(text)
    except ValueError as error:
        raise CertificateError(f"not an IP address: {text}") from error


def _check_may_sign(
    issuer: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    subject: Subject,
    now: datetime,
    ends: datetime,
) -> None:
    """Refuse what nobody could use: the texts are Go's, where it has them."""
    if key.public_key() != issuer.public_key():
        raise CertificateError(
            "x509: certificate signed by unknown authority (the key is not the CA certificate's)"
        )
    for end in (ends, issuer.not_valid_after_utc):
        if end <= now:
            raise CertificateError(
                "x509: certificate has expired or is not yet valid: current time "
                f"{now:%Y-%m-%dT%H:%M:%SZ} is after {end:%Y-%m-%dT%H:%M:%SZ}"
            )
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return
    permitted = [
        one.value for one in constraints.permitted_subtrees or () if isinstance(one, x509.DNSName)
    ]
    for name in subject.all_names():
        if permitted and not any(name == one or name.endswith(f".{one}") for one in permitted):
            raise CertificateError(
                "x509: a root or intermediate certificate is not authorized to sign for this "
                f'name: DNS name "{name}" is not permitted by any constraint'
            )


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    days: int,
    now_utc: datetime | None,
) -> x509.CertificateBuilder:
    now = now_utc or datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_id(key: CertificateIssuerPublicKeyTypes) -> x509.SubjectKeyIdentifier:
    encoded = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(encoded)
    return x509.SubjectKeyIdentifier(digest.finalize())


def _key_id_of(issuer: x509.Certificate) -> x509.SubjectKeyIdentifier:
    """What the authority calls its key."""
    try:
        return issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())


def _authority_key_id(key_id: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _sign(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> Pair:
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            # "EC PRIVATE KEY", as Consul writes it.
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
    )
