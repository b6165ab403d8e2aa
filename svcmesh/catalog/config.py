"""Settings of catalog replication: meaning, unit, default."""

from dataclasses import dataclass, fields

from svcmesh.catalog.records import RECORD_BYTES_MAX
from svcmesh.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaConfig:
    """One agent's replication. Durations in seconds, sizes in bytes."""

    repair_interval_s: float = 1.0
    """Between comparisons with a random peer, give or take a fifth."""
    quiet_repair_interval_s: float = 3.0
    """The same when nothing has changed for so long. Whoever missed the first news after that still
    compares this often; all who heard it look around at the interval above."""
    ready_after_s: float = 5.0
    """An agent that expects peers counts as in sync after this long at the latest."""
    reply_timeout_s: float = 3.0
    """A peer that answers later is given up for this round."""
    flush_delay_s: float = 0.003
    """Between two flushes of own writes: what comes in this time travels together."""
    publish_rate_per_s: float = 2000.0
    """Own records sent a second, in the long run; more are batched, the latest of a key wins."""
    publish_burst: int = 4000
    datagram_bytes_max: int = 1200
    """A rumor's payload; larger records are announced and pulled by stream."""
    page_bytes: int = 32_768
    """Records in one answer to a pull, and entries in one exchange of them."""
    broadcast_peers_max: int = 64
    """Up to so many peers a rumor goes to all of them at once."""
    fanout_extra: int = 3
    """Beyond, it goes to ln(N) + this many, whose receivers pass it on once."""
    tombstone_s: float = 24 * 3600.0
    """How long a delete is remembered, by the local monotonic clock."""
    tombstones_max: int = 65_536
    """Deletes remembered for each origin; the oldest go first."""
    unbound_s: float = 60.0
    """How long records of a node that the member table does not know are kept aside."""
    unbound_max: int = 1024
    """Nodes kept aside at most."""
    contest_doubt_s: float = 2.0
    """Our identity is lost when it is still contested after this long. A peer that has not yet
    heard of our restart under a new id contests our name for a moment."""
    contest_s: float = 15.0
    """Our identity is ours again when nobody has contested it for this long."""
    epoch_raise_s: float = 10.0
    """Our own epoch is raised at most once in this time."""
    drift_warning_s: float = 5.0
    """Clock difference to the peers' median that is worth a warning."""
    record_bytes_max: int = RECORD_BYTES_MAX
    records_per_origin_max: int = 65_536
    external_records_max: int = 262_144
    external_origins_max: int = 16_384
    message_bytes_max: int = 1_048_576

    def __post_init__(self) -> None:
        for f in fields(self):
            if getattr(self, f.name) <= 0:
                raise ConfigError(f"{f.name}: must be positive, got {getattr(self, f.name)}")
        if self.page_bytes * 4 > self.message_bytes_max:
            raise ConfigError("page_bytes: at most a quarter of message_bytes_max")
