"""How an agent's own writes go out: batched for a moment, cut to datagrams, within a budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from math import log as ln
from random import Random

from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.log import Log
from svcmesh.catalog.messages import Pages, Summaries, Summary
from svcmesh.catalog.paging import next_page

ENVELOPE_BYTES = 160
"""Room for names, ids and numbers around the records of one datagram."""

RUMORS_MAX = 32
"""Datagrams of one log cut in one step."""


@dataclass(slots=True)
class PublishBudget:
    """A token bucket of records. Sending may overdraw it; the next batch waits until it is paid."""

    rate_per_s: float
    burst: float
    tokens: float
    updated_at: float

    def spend(self, records: int, *, now: float) -> None:
        """Take what was sent."""
        self._refill(now)
        self.tokens -= records

    def free_at(self, *, now: float) -> float:
        """When the next batch may go."""
        self._refill(now)
        return now + max(0.0, 1.0 - self.tokens) / self.rate_per_s

    def _refill(self, now: float) -> None:
        earned = (now - self.updated_at) * self.rate_per_s
        self.tokens = min(self.burst, self.tokens + earned)
        self.updated_at = now


class OutgoingLog:
    """Up to where one of our own logs has gone out."""

    def __init__(self, *, is_external: bool) -> None:
        self._is_external = is_external
        self._sent_through = 0

    def has_news(self, log: Log) -> bool:
        """Whether something has not gone out yet."""
        return self._sent_through < log.through

    def skip(self, log: Log) -> None:
        """Count everything as gone out: there is nobody to tell."""
        self._sent_through = log.through

    def take_rumors(
        self, log: Log, config: ReplicaConfig, *, pass_on: bool
    ) -> tuple[list[Pages | Summaries], int]:
        """Messages of about a datagram with what is new, and how many records that is.

        At most `RUMORS_MAX`. A record too large for one is announced with the log's version, once;
        receivers pull it.
        """
        room_bytes = config.datagram_bytes_max - ENVELOPE_BYTES
        messages: list[Pages | Summaries] = []
        records = 0
        has_large = False
        for _ in range(RUMORS_MAX):
            if not self.has_news(log):
                break
            page = next_page(log, self._sent_through, room_bytes, is_external=self._is_external)
            records += len(page.entries)
            self._sent_through = page.through
            if len(page.entries) == 1 and page.entries[0].size_bytes > room_bytes:
                has_large = True
            else:
                messages.append(Pages((page,), is_answer=False, pass_on=pass_on))
        if has_large:
            content = 0 if self._is_external else log.hash
            summary = Summary(
                self._is_external, log.origin, log.through, log.floor, content, log.loose_hash
            )
            messages.append(Summaries((), (summary,), is_answer=False))
        return messages, records


def rumor_targets(peers: Sequence[str], config: ReplicaConfig, *, rng: Random) -> Sequence[str]:
    """Who gets a rumor first hand: everybody in a small cluster, ln(N) + c of a large one."""
    if len(peers) <= config.broadcast_peers_max:
        return peers
    return rng.sample(peers, min(len(peers), ceil(ln(len(peers))) + config.fanout_extra))
