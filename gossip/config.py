"""Every setting of the gossip library: meaning, unit, default. Validated once, here.

`lan()` is the one full default; `wan()` and `local()` are differences from it
(gossip protocol, 13.1). `PoolConfig` must agree across the cluster; the others are each member's
own choice.
"""

from dataclasses import dataclass, field, fields, replace

from gossip.errors import ConfigError

META_BYTES_MAX = 512
"""Largest encoded tag set (gossip protocol, 13.3)."""

EVENT_BYTES_MAX = 9216
"""Largest `event_bytes_max` (gossip protocol, 13.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolConfig:
    """What every member of one pool must have in common."""

    label: str = ""
    """Pool label, at most 255 bytes; empty sends no header (4.1)."""
    skip_inbound_label_check: bool = False
    verify_incoming: bool = True
    """With keys: refuse plaintext (4.2)."""
    verify_outgoing: bool = True
    """With keys: send ciphertext only."""

    def __post_init__(self) -> None:
        if len(self.label.encode()) > 255:
            raise ConfigError("label: at most 255 bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class SwimConfig:
    """SWIM, Lifeguard and dissemination settings (gossip protocol, 13.1). Durations in seconds."""

    probe_interval_s: float = 1.0
    probe_timeout_s: float = 0.5
    """Until indirect probes start; below `probe_interval_s`."""
    indirect_count: int = 3
    """Members asked to ping on our behalf; 0 turns indirect probes off."""
    tcp_pings: bool = True
    lifeguard: bool = True
    """Local health, nacks, telling the accused first, and suspicions that confirmations shorten.
    Without it this is plain SWIM: a suspicion always lasts its minimum."""
    suspicion_mult: int = 4
    suspicion_max_mult: int = 6
    retransmit_mult: int = 4
    gossip_interval_s: float = 0.2
    gossip_nodes: int = 3
    gossip_to_the_dead_s: float = 30.0
    remember_gone_s: float = 24 * 3600.0
    """How long the incarnation of a dead or left member is remembered: until then nobody's older
    claim brings it back."""
    push_pull_interval_s: float = 30.0
    """0 turns the periodic exchange off."""
    tcp_timeout_s: float = 10.0
    fair_hearing: bool = True
    """Time in which we heard nobody does not count against a suspect, while it lasts the longest
    suspicion holds, and after a confirmation a suspect always has one probe interval to refute."""
    crash_evidence: bool = True
    """Refused connections, seen by two members, shorten a suspicion; silence never does."""
    crash_floor_s: float = 1.5
    """How long after the first refusal a member is declared dead at the earliest: a program that
    restarts within it keeps its place."""
    own_stalls: bool = True
    """Whoever wakes up late lowers its own standing and takes its time before it accuses."""
    stall_s_min: float = 0.25
    """Waking up this late is a stall."""
    awareness_max: int = 8
    """The health score stays below it."""
    udp_buffer_bytes: int = 1400
    """Largest datagram we send; 512 to 65507."""
    dead_node_reclaim_s: float = 0.0
    """After this long a dead member's name may return from another address; 0 is never."""
    members_max: int = 65536
    """New names beyond it are ignored and counted."""
    broadcast_queue_max: int = 8192
    """Queued rumors; beyond it the most transmitted ones are dropped."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ConfigError(f"{f.name}: must not be negative, got {value}")
        for name in ("probe_interval_s", "probe_timeout_s", "gossip_interval_s", "tcp_timeout_s"):
            if getattr(self, name) == 0:
                raise ConfigError(f"{name}: must be positive")
        for name in ("suspicion_mult", "suspicion_max_mult", "retransmit_mult", "awareness_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: must be at least 1")
        if self.probe_timeout_s >= self.probe_interval_s:
            raise ConfigError(
                f"probe_timeout_s: must be below probe_interval_s ({self.probe_interval_s}), "
                f"got {self.probe_timeout_s}"
            )
        if not 512 <= self.udp_buffer_bytes <= 65507:
            raise ConfigError(f"udp_buffer_bytes: 512 to 65507, got {self.udp_buffer_bytes}")


def lan() -> SwimConfig:
    """Members in one data center; round trips of milliseconds."""
    return SwimConfig()


def wan() -> SwimConfig:
    """Servers of several data centers; round trips of hundreds of milliseconds."""
    return replace(
        lan(),
        probe_interval_s=5.0,
        probe_timeout_s=3.0,
        suspicion_mult=6,
        gossip_interval_s=0.5,
        gossip_nodes=4,
        gossip_to_the_dead_s=60.0,
        push_pull_interval_s=60.0,
        tcp_timeout_s=30.0,
    )


def local() -> SwimConfig:
    """All members on one machine."""
    return replace(
        lan(),
        probe_timeout_s=0.2,
        indirect_count=1,
        suspicion_mult=3,
        retransmit_mult=2,
        gossip_interval_s=0.1,
        gossip_to_the_dead_s=15.0,
        push_pull_interval_s=15.0,
        tcp_timeout_s=1.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SerfConfig:
    """Serf's settings (gossip protocol, 13.2). Durations in seconds."""

    broadcast_timeout_s: float = 5.0
    """Longest wait for a leave to be handed on."""
    leave_propagate_delay_s: float = 1.0
    """How long a leaver goes on answering afterwards."""
    reap_interval_s: float = 15.0
    reconnect_interval_s: float = 30.0
    reconnect_timeout_s: float = 24 * 3600.0
    """A failed member is listed no more after this long; it is still dialled now and then."""
    tombstone_timeout_s: float = 24 * 3600.0
    """A left member is forgotten after this long."""
    lost_peers_max: int = 4096
    """Peers that are missed and dialled, listed or not; beyond it the longest lost are given up."""
    recent_intent_timeout_s: float = 300.0
    recent_intents_max: int = 8192
    event_bytes_max: int = 512
    """A user event we send: name and payload, and all of it encoded; at most 9216."""
    coalesce_period_s: float = 0.0
    """Of events that may be coalesced, tell one per name in this time; 0 tells all (10.10)."""
    coalesce_quiet_s: float = 1.0
    """A burst ends when none has come for this long; below `coalesce_period_s`."""
    event_buffer: int = 512
    query_buffer: int = 512
    query_bytes_max: int = 1024
    """A query we send, encoded."""
    response_bytes_max: int = 1024
    """An answer we send, encoded; with the detour around it too."""
    query_timeout_mult: int = 16
    """Gossip intervals, times the digits of the size of the pool, that answers are waited for."""
    resolve_name_conflicts: bool = True
    """Ask the others whose our name is when another member claims it (10.9)."""
    queue_depth_max: int = 4096
    coordinates: bool = True
    """Send our network coordinate with acks and learn the others'."""
    delegate_version: int = 5
    """dcur of our `Vsn`: 5 as `serf agent`, 4 as Consul's agents."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            may_be_zero = isinstance(value, bool) or f.name == "coalesce_period_s"
            if value < 0 or (value == 0 and not may_be_zero):
                raise ConfigError(f"{f.name}: must be positive, got {value}")
        if self.event_bytes_max > EVENT_BYTES_MAX:
            raise ConfigError(f"event_bytes_max: at most {EVENT_BYTES_MAX}")
        if not 2 <= self.delegate_version <= 5:
            raise ConfigError(f"delegate_version: 2 to 5, got {self.delegate_version}")


@dataclass(frozen=True, kw_only=True, slots=True)
class GossipConfig:
    """All of the above, for one member."""

    pool: PoolConfig = field(default_factory=PoolConfig)
    swim: SwimConfig = field(default_factory=lan)
    serf: SerfConfig = field(default_factory=SerfConfig)
