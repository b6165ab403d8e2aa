"""What the agent speaks TLS with: contexts made of settings and files, made again by a reload.

HTTPS and the calls between agents share certificate, key and authorities; they differ in whom they
want a certificate from. A reload makes everything anew before anything is put in place of what was
there, so files that do not fit together change nothing.
"""

import hashlib
import logging
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from svcmesh.config import AgentConfig, TlsConfig
from svcmesh.config.setting import settings_of
from svcmesh.config.settings import LimitsConfig
from svcmesh.errors import ConfigError
from svcmesh.rpc import AcceptRules, Callers, DialRules
from svcmesh.rpc.security import server_names

logger = logging.getLogger("agent.tls")

TLS_SETTINGS: Final = tuple(
    one.path for group in (TlsConfig, LimitsConfig) for one in settings_of(group) if one.reloadable
)
"""Settings that `TlsMaterial` takes up."""

EXPIRY_WARNING: Final = timedelta(days=30)

MINIMUM_VERSIONS: Final = {
    "tls10": ssl.TLSVersion.TLSv1,
    "tls11": ssl.TLSVersion.TLSv1_1,
    "tls12": ssl.TLSVersion.TLSv1_2,
    "tls13": ssl.TLSVersion.TLSv1_3,
}


@dataclass(frozen=True, slots=True)
class Contexts:
    """What one reading of the files made."""

    https: ssl.SSLContext | None
    incoming: ssl.SSLContext | None
    """Of calls between agents; None without a certificate."""
    outgoing: ssl.SSLContext | None
    """None: we do not encrypt what we send."""
    fingerprint: bytes
    """Of all that went in: equal ones make contexts that do the same."""
    expires_utc: datetime | None
    """When our certificate does."""


class TlsMaterial:
    """The contexts in use. Making it reads files: blocking."""

    def __init__(self, config: AgentConfig) -> None:
        """Load.

        Raises:
            ConfigError: A file is missing or is not what it should be; the text names the setting.
        """
        self._config = config
        self._contexts = _load(config)
        self.https = _front(self._https_context) if config.ports.https > 0 else None
        """For the listener; stays the same object."""
        self._set_up_front(config.tls)
        self._warn_of_expiry()

    def prepare(self, config: AgentConfig) -> Contexts:
        """Load what a new configuration and the files of now make; nothing changes yet.

        Raises:
            ConfigError: As when made.
        """
        return _load(config)

    def take_up(self, config: AgentConfig, prepared: Contexts) -> bool:
        """Use what was prepared; whether anything differs from before."""
        if prepared.fingerprint == self._contexts.fingerprint:
            return False
        self._config, self._contexts = config, prepared
        self._set_up_front(config.tls)
        self._warn_of_expiry()
        return True

    def accept_rules(self) -> AcceptRules:
        """How servers let in other agents."""
        config = self._config
        tls = config.tls
        is_checked = tls.verifies_incoming_rpc and tls.verify_server_hostname
        return AcceptRules(
            tls=self._contexts.incoming,
            requires_tls=tls.verifies_incoming_rpc,
            server_names=server_names(config.datacenter, _domains(config)) if is_checked else (),
            handshake_timeout_s=config.limits.rpc_handshake_timeout_s,
            per_address_max=config.limits.rpc_max_conns_per_client or sys.maxsize,
        )

    def dial_rules(self) -> DialRules:
        """How this agent connects to servers."""
        config = self._config
        return DialRules(
            tls=self._contexts.outgoing,
            datacenter=config.datacenter,
            domains=_domains(config) if config.tls.verify_server_hostname else (),
        )

    @property
    def expires_utc(self) -> datetime | None:
        """When our certificate expires; None without one."""
        return self._contexts.expires_utc

    def _https_context(self) -> ssl.SSLContext:
        assert self._contexts.https is not None
        return self._contexts.https

    def _set_up_front(self, tls: TlsConfig) -> None:
        # What a context says of versions and verification counts from the first byte of a
        # handshake; certificates and authorities come from the one that takes over (`_front`).
        if self.https is not None:
            self.https.minimum_version = MINIMUM_VERSIONS[tls.tls_min_version]
            self.https.verify_mode = self._https_context().verify_mode

    def _warn_of_expiry(self) -> None:
        expires = self._contexts.expires_utc
        if expires is None:
            return
        left = expires - datetime.now(UTC)
        if left <= timedelta(0):
            logger.error("cert_file: our certificate has expired on %s", expires.date())
        elif left < EXPIRY_WARNING:
            logger.warning(
                "cert_file: our certificate expires on %s, in %d days", expires.date(), left.days
            )


class CallInsight:
    """What the API shows of calls between agents (`facade.Calls`)."""

    def __init__(self, tls: TlsMaterial, callers: Callable[[], Callers]) -> None:
        self._tls = tls
        self.callers = callers

    @property
    def certificate_expires_utc(self) -> datetime | None:
        """When our certificate expires; None without one."""
        return self._tls.expires_utc


def _domains(config: AgentConfig) -> tuple[str, ...]:
    """Both of the agent's: certificates made for Consul's default domain serve as they are."""
    return tuple(filter(None, (config.domain, config.alt_domain)))


def _front(current: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context for a listener that stays, which hands every handshake to the current one."""
    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def take_over(connection: ssl.SSLSocket | ssl.SSLObject, _: str, __: ssl.SSLContext) -> None:
        connection.context = current()

    # Called for every handshake, also when the client names no host.
    front.sni_callback = take_over
    return front


def _load(config: AgentConfig) -> Contexts:
    files = _Files(config.tls)
    tls = config.tls
    has_certificate = bool(tls.cert_file and tls.key_file)
    https = incoming = outgoing = None
    if config.ports.https > 0:
        if not has_certificate:
            raise ConfigError("ports.https: needs cert_file and key_file")
        https = files.context(ssl.PROTOCOL_TLS_SERVER, verifies=tls.verifies_incoming_https)
    if has_certificate:
        incoming = files.context(ssl.PROTOCOL_TLS_SERVER, verifies=tls.verifies_incoming_rpc)
    if tls.verifies_outgoing:
        outgoing = files.context(ssl.PROTOCOL_TLS_CLIENT, verifies=True)
    settings = (tls, config.datacenter, _domains(config), config.limits)
    return Contexts(
        https,
        incoming,
        outgoing,
        fingerprint=hashlib.sha256(repr(settings).encode() + files.digest).digest(),
        expires_utc=files.expires_utc,
    )


class _Files:
    """Certificate, key and authorities, read once for all contexts."""

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
        certificate = _read(tls.cert_file, "cert_file")
        key = _read(tls.key_file, "key_file")
        self._authorities = _authorities(tls)
        self.digest = b"".join(
            hashlib.sha256(part).digest() for part in (certificate, key, *self._authorities)
        )
        self.expires_utc = _expires_utc(certificate) if certificate else None

    def context(self, protocol: int, *, verifies: bool) -> ssl.SSLContext:
        """Make one for a side; `verifies`: the other side must have a certificate."""
        tls = self._tls
        context = ssl.SSLContext(protocol)
        context.minimum_version = MINIMUM_VERSIONS[tls.tls_min_version]
        # Names are looked at by who knows them (`DialRules`).
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
        # As in Go, whatever stands in ca_file is trusted, also what is not signed by itself.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # A resumed session would skip the check of its certificate.
        context.options |= ssl.OP_NO_TICKET
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        if tls.tls_cipher_suites:
            context.set_ciphers(":".join(tls.tls_cipher_suites))
        if tls.cert_file and tls.key_file:
            try:
                context.load_cert_chain(tls.cert_file, tls.key_file)
            except OSError as error:
                # What OpenSSL says of a file that is no PEM helps nobody alone.
                raise ConfigError(
                    f"cert_file {tls.cert_file}, key_file {tls.key_file}: "
                    f"no certificate with its key in PEM: {_why(error)}"
                ) from error
        for authority in self._authorities:
            try:
                context.load_verify_locations(cadata=authority.decode("ascii"))
            except (ValueError, ssl.SSLError) as error:
                where = f"ca_file: {tls.ca_file}" if tls.ca_file else f"ca_path: {tls.ca_path}"
                raise ConfigError(f"{where}: no certificates in PEM: {_why(error)}") from error
        return context


def _authorities(tls: TlsConfig) -> list[bytes]:
    """What `ca_file` has, or else every file in `ca_path`, as Consul reads them."""
    if tls.ca_file:
        return [_read(tls.ca_file, "ca_file")]
    if not tls.ca_path:
        return []
    try:
        paths = sorted(path for path in Path(tls.ca_path).iterdir() if path.is_file())
    except OSError as error:
        raise ConfigError(f"ca_path: {tls.ca_path}: {_why(error)}") from error
    if not paths:
        raise ConfigError(f"ca_path: {tls.ca_path}: there are no files")
    return [_read(str(path), "ca_path") for path in paths]


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes() if path else b""
    except OSError as error:
        raise ConfigError(f"{setting}: {path}: {_why(error)}") from error


def _expires_utc(certificate: bytes) -> datetime:
    # Imported here: most agents have no certificate, and it takes its time.
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError as error:
        raise ConfigError(f"cert_file: no certificate in PEM: {error}") from error


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
