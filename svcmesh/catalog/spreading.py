"""How an agent's own writes go out: batched for a moment, cut to datagrams, within a budget."""

from dataclasses import dataclass
from math import ceil, log
from random import Random

from svcmesh.catalog.codec import Page, Pages, Summaries, Summary
from svcmesh.catalog.config import ReplicaConfig
from svcmesh.catalog.log import Log

ENVELOPE_BYTES = 160
"""Room for names, ids and numbers around the records of one datagram."""


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
    """One of our own logs, and up to where it has gone out."""

    def __init__(self, log: Log, *, is_external: bool) -> None:
        self.log = log
        self._is_external = is_external
        self._sent_through = 0

    @property
    def has_news(self) -> bool:
        """Whether something has not gone out yet."""
        return self._sent_through < self.log.through

    def take_rumors(
        self, config: ReplicaConfig, *, pass_on: bool
    ) -> tuple[list[Pages | Summaries], int]:
        """Messages of at most a datagram with everything since the last call, and their records.

        A record too large for one is announced with its version only; receivers pull it.
        """
        room_bytes = config.datagram_bytes_max - ENVELOPE_BYTES
        messages: list[Pages | Summaries] = []
        records = 0
        while self.has_news:
            after = self._sent_through
            entries, through = self.log.page(after, room_bytes)
            records += len(entries)
            if len(entries) == 1 and entries[0].size_bytes > room_bytes:
                messages.append(Summaries((), (self.summary,), is_answer=False))
            else:
                page = Page(
                    self._is_external,
                    self.log.origin,
                    self.log.base,
                    self.log.floor,
                    after,
                    through,
                    False,
                    tuple(entries),
                )
                messages.append(Pages((page,), is_answer=False, pass_on=pass_on))
            self._sent_through = through
        return messages, records

    @property
    def summary(self) -> Summary:
        """The log's version."""
        log = self.log
        content = 0 if self._is_external else log.hash
        return Summary(self._is_external, log.origin, log.through, log.floor, content)


def rumor_targets(
    peers: list[str], config: ReplicaConfig, *, cluster: int, rng: Random
) -> list[str]:
    """Who gets a rumor first hand: everybody in a small cluster, ln(N) + c of a large one."""
    if cluster <= config.broadcast_peers_max:
        return peers
    return rng.sample(peers, min(len(peers), ceil(log(cluster)) + config.fanout_extra))
