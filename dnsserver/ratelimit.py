"""Response rate limiting: less use for whoever sends queries in other people's names. No I/O.

A flood of queries with a forged source has its answers go to the victim. So UDP responses to one
network are limited, with a bucket of tokens for each; the network stands for the clients in it,
because a forger varies the last bits. Of the responses above the limit one in `slip` is sent, empty
and with TC: a real client of that network comes back over TCP, whose source cannot be forged, and
the victim gets no more than the forger has sent.
"""

from enum import Enum, auto
from ipaddress import IPv6Address
from typing import Final

NETWORKS_MAX: Final = 65536
"""Networks that are kept apart, in both halves of the table together."""

IPV6_PREFIX_BYTES: Final = 7
"""A /56, what one customer mostly gets. IPv4 is limited by /24."""


class Verdict(Enum):
    """What is to be done with a response."""

    SEND = auto()
    SLIP = auto()
    """Send TC in its place."""
    DROP = auto()


class RateLimiter:
    """Decides which responses are sent, for one listener or several.

    A network may have `per_s` responses in a second, and as many at once. `slip` 1: every one above
    that is a TC, 0: none.
    """

    def __init__(self, per_s: int, slip: int) -> None:
        self._per_s, self._slip = per_s, slip
        self._young: dict[str | bytes, list[float]] = {}
        self._old: dict[str | bytes, list[float]] = {}

    def __len__(self) -> int:
        """The number of networks that are kept apart."""
        return len(self._young) + len(self._old)

    def judge(self, host: str, *, now: float) -> Verdict:
        """Say what is to be done with a response to a client at `host`, an IP as text."""
        bucket = self._bucket(_network(host), now)
        tokens, at, refused = bucket
        tokens = min(tokens + (now - at) * self._per_s, float(self._per_s))
        bucket[1] = now
        if tokens >= 1:
            bucket[0] = tokens - 1
            return Verdict.SEND
        bucket[0] = tokens
        if not self._slip:
            return Verdict.DROP
        bucket[2] = refused + 1
        return Verdict.DROP if bucket[2] % self._slip else Verdict.SLIP

    def _bucket(self, network: str | bytes, now: float) -> list[float]:
        """Return tokens, the time they were counted and the responses refused, to be changed."""
        bucket = self._young.get(network)
        if bucket is None:
            if len(self._young) >= NETWORKS_MAX // 2:
                self._old, self._young = self._young, {}
            bucket = self._old.get(network) or [float(self._per_s), now, 0]
            self._young[network] = bucket
        return bucket


def _network(host: str) -> str | bytes:
    if ":" not in host:
        return host.rpartition(".")[0]
    return IPv6Address(host).packed[:IPV6_PREFIX_BYTES]
