"""Timing and bounds of one Raft server."""

from dataclasses import dataclass, fields

from svcmesh.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class RaftConfig:
    """Durations in seconds, sizes in bytes. Timing must be the same on all servers."""

    election_timeout_s: float = 0.8
    """A follower that hears nothing this long, and up to as much again, stands for election. For
    this long after it heard a leader it gives nobody else its vote."""
    heartbeat_s: float = 0.1
    """Between a leader's signs of life; a small part of `election_timeout_s`."""
    lease_s: float = 0.55
    """A leader answers `default` reads alone for this long after a majority has heard it. It stays
    below `election_timeout_s` by what clocks of two servers may run apart in that time: they
    must agree on the length of `election_timeout_s` within 30 percent."""
    append_bytes_max: int = 512 * 1024
    """Data of the entries of one message; one entry is sent whatever its size."""
    append_entries_max: int = 2048
    inflight_max: int = 32
    """Appends to one follower that are not answered yet."""

    def __post_init__(self) -> None:
        for f in fields(self):
            if getattr(self, f.name) <= 0:
                raise ConfigError(f"{f.name}: must be positive, got {getattr(self, f.name)}")
        if self.heartbeat_s * 3 > self.election_timeout_s:
            raise ConfigError("heartbeat_s: at most a third of election_timeout_s")
        if self.lease_s >= self.election_timeout_s:
            raise ConfigError("lease_s: must be below election_timeout_s")
