"""Who may connect, and whom we connect to: the rules, and words for why TLS was refused.

Contexts and names come from whoever reads the configuration (`runtime/tls.py`); nothing here reads
files.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TLS_RECORD: Final = 0x16
"""First byte of a TLS handshake."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptRules:
    """What is asked of whoever connects to us."""

    tls: ssl.SSLContext | None = None
    """None: we have no certificate, and TLS cannot be spoken."""
    requires_tls: bool = False
    server_names: tuple[str, ...] = ()
    """What the certificate of a server has; only then its peer may call what servers call.
    Empty: anybody may."""
    handshake_timeout_s: float = 5.0
    """From connecting to the end of the handshake, or to the first bytes without TLS."""
    per_address_max: int = 100
    """Connections from one IP address."""

    def has_tls_of(self, other: "AcceptRules") -> bool:
        """Whether who was let in by the other rules need not come in anew."""
        return (self.tls, self.requires_tls, self.server_names) == (
            other.tls,
            other.requires_tls,
            other.server_names,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DialRules:
    """How we connect to others."""

    tls: ssl.SSLContext | None = None
    """None: without TLS."""
    datacenter: str = ""
    """Ours: where addresses are that nobody says otherwise of."""
    domains: tuple[str, ...] = ()
    """With TLS the certificate must be for `server.DATACENTER.DOMAIN`, with one of these; none:
    it may have any name."""

    def server_names(self, datacenter: str = "") -> tuple[str, ...]:
        """Names of which a server of a data center must have one; empty: any will do."""
        return server_names(datacenter or self.datacenter, self.domains)


def server_names(datacenter: str, domains: tuple[str, ...]) -> tuple[str, ...]:
    """Names that certificates of a data center's servers have."""
    return tuple(f"server.{datacenter}.{domain.rstrip('.')}".lower() for domain in domains)


def dns_names(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """DNS names of a peer's certificate, as `SSLSocket.getpeercert` gives it; it is verified.

    The common name does not count, and `*` stands for nothing: who may be a server is exact.
    """
    found = () if certificate is None else certificate.get("subjectAltName", ())
    return tuple(value.lower() for kind, value in found if kind == "DNS")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection did not come about: a word for counters, a sentence for people."""

    reason: str
    text: str


_VERIFY_REASONS: Final = {
    9: ("not-yet-valid", "its certificate is not valid yet"),
    10: ("expired", "its certificate has expired"),
    26: ("wrong-purpose", "its certificate is not for this purpose"),
    **dict.fromkeys(
        (2, 18, 19, 20, 21), ("unknown-authority", "its certificate is of another authority")
    ),
}
"""By OpenSSL's X509_V_ERR_ codes."""

_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("no-certificate", "it has no certificate"),
    "NO_SHARED_CIPHER": ("no-common-cipher", "it has no cipher in common with us"),
    "UNSUPPORTED_PROTOCOL": ("old-tls", "its TLS is older than tls_min_version"),
    "TLSV1_ALERT_PROTOCOL_VERSION": ("old-tls", "our TLS is older than it accepts"),
    "WRONG_VERSION_NUMBER": ("not-tls", "it does not speak TLS"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": ("refused-by-peer", "it wants a certificate of ours"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": ("refused-by-peer", "it says that ours has expired"),
    **dict.fromkeys(
        ("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE"),
        ("refused-by-peer", "it does not accept our certificate"),
    ),
    # What OpenSSL answers with when its peer has none, before TLS 1.3.
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "refused-by-peer",
        "it ended the handshake (does it want a certificate of ours?)",
    ),
}
"""By OpenSSL's reasons."""


def refusal_of(error: Exception) -> Refusal:
    """Say why a handshake failed, about the peer (`it`)."""
    match error:
        case ssl.SSLCertVerificationError():
            reason, text = _VERIFY_REASONS.get(
                error.verify_code, ("bad-certificate", "its certificate is not good")
            )
            return Refusal(reason, f"{text} ({error.verify_message})")
        case ssl.SSLError():
            known = _REASONS.get(error.reason or "")
            if known is not None:
                return Refusal(*known)
            return Refusal("tls-error", f"TLS: {error.reason or error}")
        case ConnectionAbortedError() | TimeoutError():
            return Refusal("handshake-timeout", "it did not finish the handshake in time")
        case ConnectionError():
            return Refusal("hung-up", "it hung up during the handshake")
        case _:
            return Refusal("tls-error", str(error) or type(error).__name__)
