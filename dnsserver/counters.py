"""What the DNS front has done since it was made, for metrics."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from dnsserver.records import RCODE_NAMES


@dataclass(slots=True)
class DnsCounters:
    """Totals; read them at any time, only the server changes them."""

    udp_queries: int = 0
    tcp_queries: int = 0
    responses: Counter[int] = field(default_factory=Counter)
    """By response code."""
    recursor_queries: int = 0
    """Questions that recursors were asked, however many of them."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Messages that were no acceptable query, by reason: short, response, opcode, count,
    oversized, question, record, option."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What the server could not do, by reason: udp_send, udp_receive, tcp_limit, tcp_idle,
    tcp_reset, rate_limit, recursor_failed (one of them), recursor_limit, recursor_reply."""
    slipped: int = 0
    """Responses above the rate limit that were sent with TC and nothing else."""
    shortened: int = 0
    """Responses that leave something out, with TC or without."""
    tcp_connections: int = 0
    """Open now."""

    def totals(self) -> dict[str, int]:
        """Return every counter by name, the parts of a group as `group.part`."""
        return dict(self._totals())

    def _totals(self) -> Iterator[tuple[str, int]]:
        yield "recursor_queries", self.recursor_queries
        yield "shortened", self.shortened
        yield "slipped", self.slipped
        yield "tcp_connections", self.tcp_connections
        yield "tcp_queries", self.tcp_queries
        yield "udp_queries", self.udp_queries
        for reason, count in self.dropped.items():
            yield f"dropped.{reason}", count
        for reason, count in self.rejected.items():
            yield f"rejected.{reason}", count
        for rcode, count in self.responses.items():
            yield f"responses.{RCODE_NAMES[rcode]}", count
