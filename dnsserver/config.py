"""Settings of the DNS front: Consul's `dns_config` with Consul's defaults, and the server's bounds.

Which instances are healthy enough (`only_passing`) is the directory's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dnsserver.errors import DnsConfigError
from dnsserver.labels import encode_name

TTL_S_MAX = 2**31 - 1
"""RFC 2181 section 8."""
SMALL_ANSWERS_MAX = 8
"""Most answers about a service for a client without EDNS0, whatever the configuration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoaConfig:
    """Fields of the SOA record, seconds, 0 to 2^31 - 1."""

    refresh_s: int = 3600
    retry_s: int = 600
    expire_s: int = 86400
    min_ttl_s: int = 0
    """How long a negative answer may be cached; also the SOA's own TTL (RFC 2308)."""

    def __post_init__(self) -> None:
        """Raise `DnsConfigError` for a value out of range."""
        for name in ("refresh_s", "retry_s", "expire_s", "min_ttl_s"):
            _check_ttl(f"soa.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class RecursorConfig:
    """Who is asked for names outside our domains."""

    addresses: tuple[tuple[str, int], ...] = ()
    """(IP, port) of each, in the order in which they are asked. Empty: such names are refused."""
    timeout_s: float = 2.0
    """How long one of them may take before the next is asked. Above 0."""
    is_random: bool = False
    """Whether each query goes to them in an order of its own."""
    queries_max: int = 512
    """Queries under way at a time; a further one fails. At least 1; each takes a socket."""

    def __post_init__(self) -> None:
        """Raise `DnsConfigError` for a value out of range."""
        if self.timeout_s <= 0:
            raise DnsConfigError(f"recursor timeout_s: {self.timeout_s} is not above 0")
        if self.queries_max < 1:
            raise DnsConfigError(f"recursor queries_max: {self.queries_max} is below 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsConfig:
    """How names are answered."""

    domain: str = "svcmesh."
    """The primary domain; with or without the final dot, in any letter case."""
    alt_domain: str = "consul."
    """A second domain with the same content; empty for none."""
    node_ttl_s: int = 0
    """TTL of answers about nodes, hex addresses and name servers."""
    service_ttl_s: Mapping[str, int] = field(default_factory=dict)
    """TTL by service name. `prefix*` is a pattern, `*` is for all; a full name wins, then the
    longest prefix. Services without an entry have TTL 0. Letter case does not matter."""
    udp_answer_limit: int = 3
    """Most answers about a service over UDP to a client without EDNS0, or with a size up to 512.
    There are never more than 8. 0: none."""
    a_record_limit: int = 0
    """Most addresses in the answer for a service, on any transport. 0: no limit."""
    enable_truncate: bool = False
    """Whether TC is set when something was left out."""
    enable_additional_node_meta_txt: bool = True
    """Whether a node's metadata comes along as TXT where only its address was asked for."""
    soa: SoaConfig = field(default_factory=SoaConfig)
    recursors: RecursorConfig = field(default_factory=RecursorConfig)

    def __post_init__(self) -> None:
        """Raise `DnsConfigError` for a value out of range."""
        if encode_name(self.domain) in (None, b"\0"):
            raise DnsConfigError(f"domain: {self.domain!r} is not a domain name")
        if encode_name(self.alt_domain) is None:
            raise DnsConfigError(f"alt_domain: {self.alt_domain!r} is not a domain name")
        _check_ttl("node_ttl_s", self.node_ttl_s)
        for service, ttl_s in self.service_ttl_s.items():
            _check_ttl(f"service_ttl_s[{service!r}]", ttl_s)
        for name in ("udp_answer_limit", "a_record_limit"):
            if getattr(self, name) < 0:
                raise DnsConfigError(f"{name}: {getattr(self, name)} is below 0")

    @property
    def has_recursors(self) -> bool:
        """Whether names outside our domains are passed on, and RA is set."""
        return bool(self.recursors.addresses)

    @property
    def small_answers_max(self) -> int:
        """The limit that is in force for a small response about a service."""
        return min(SMALL_ANSWERS_MAX, self.udp_answer_limit)


class ServiceTtls:
    """Finds the TTL of a service by its name or the longest matching prefix."""

    def __init__(self, ttl_s_by_pattern: Mapping[str, int]) -> None:
        folded = {pattern.lower(): ttl_s for pattern, ttl_s in ttl_s_by_pattern.items()}
        self._exact = {name: ttl_s for name, ttl_s in folded.items() if not name.endswith("*")}
        self._prefixes = sorted(
            ((name[:-1], ttl_s) for name, ttl_s in folded.items() if name.endswith("*")),
            key=lambda entry: len(entry[0]),
            reverse=True,
        )

    def ttl_s(self, service: str) -> int:
        """Return the TTL for `service`, which is in lower case; 0 when nothing matches."""
        exact = self._exact.get(service)
        if exact is not None:
            return exact
        return next((ttl_s for prefix, ttl_s in self._prefixes if service.startswith(prefix)), 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerLimits:
    """Bounds of the listening side."""

    responses_per_s: int = 0
    """UDP responses that a client's network (IPv4 /24, IPv6 /56) may have in a second; 0: any."""
    slip: int = 2
    """One in so many responses above that limit is sent with TC and nothing else, the others are
    dropped. 1: all are, 0: none."""
    batch_queries: int = 64
    """Queries of one socket answered before the event loop gets its turn; at least 1."""
    batch_s: float = 0.002
    """The same as a time: no further query is begun after this long."""
    tcp_connections_max: int = 512
    """Open TCP connections; a further one takes the place of the one that is idle for longest. At
    least 1."""
    tcp_idle_timeout_s: float = 8.0
    """A connection ends when this long passes without a whole query, or with an answer that the
    client does not take. Above 0."""
    tcp_pending_max: int = 64
    """Queries of one connection for which others are being asked; nothing is read meanwhile when
    there are so many. At least 1."""

    def __post_init__(self) -> None:
        """Raise `DnsConfigError` for a value out of range."""
        for name in ("batch_queries", "tcp_connections_max", "tcp_pending_max"):
            if getattr(self, name) < 1:
                raise DnsConfigError(f"{name}: {getattr(self, name)} is below 1")
        for name in ("responses_per_s", "slip"):
            if getattr(self, name) < 0:
                raise DnsConfigError(f"{name}: {getattr(self, name)} is below 0")
        for name in ("batch_s", "tcp_idle_timeout_s"):
            if getattr(self, name) <= 0:
                raise DnsConfigError(f"{name}: {getattr(self, name)} is not above 0")


def _check_ttl(name: str, value: int) -> None:
    if not 0 <= value <= TTL_S_MAX:
        raise DnsConfigError(f"{name}: {value} is not between 0 and {TTL_S_MAX} seconds")
