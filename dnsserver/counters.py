"""What the DNS front has done since it was made, for metrics."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class DnsCounters:
    """Totals; read them at any time, only the server changes them."""

    udp_queries: int = 0
    tcp_queries: int = 0
    responses: Counter[int] = field(default_factory=Counter)
    """By response code."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Messages that were no acceptable query, by reason: short, response, opcode, count,
    oversized, question, record, option."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What the server could not do, by reason: udp_send, udp_receive, tcp_limit, tcp_idle,
    tcp_reset."""
    shortened: int = 0
    """Responses that leave something out, with TC or without."""
    tcp_connections: int = 0
    """Open now."""

    def count_query(self, *, is_tcp: bool) -> None:
        """Count one message that came in, whatever it holds."""
        if is_tcp:
            self.tcp_queries += 1
        else:
            self.udp_queries += 1
