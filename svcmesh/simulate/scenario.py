"""Scenarios: how many members, on what network, with which settings, and what happens to them when.

A scenario is a value. `scenario_files.py` reads one from TOML or JSON, `running.py` plays it.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from gossip.config import GossipConfig
from svcmesh.errors import ConfigError
from svcmesh.simulate.network import Link

MEMBERS_MAX = 20_000
DURATION_S_MAX = 7 * 24 * 3600.0


class Start(StrEnum):
    """What the members know of each other when the clock starts."""

    JOINED = "joined"
    """All of all, and have done for long."""
    JOINING = "joining"
    """Nothing: each joins the first one, spread over `joining_s`."""


class Action(StrEnum):
    """What can happen to members. Whatever lasts ends after `for_s`."""

    CRASH = "crash"
    """The process dies; its host refuses connections. At the end it is started again."""
    POWER_OFF = "power-off"
    """The host goes too: nothing refuses, everything is silent."""
    RESTART = "restart"
    """The process dies and is started again at once."""
    LEAVE = "leave"
    """Graceful. At the end it is started again."""
    JOIN = "join"
    """New members come. At the end they leave."""
    PAUSE = "pause"
    """The process gets no processor: what arrives waits, no timer runs, the clock goes on."""
    BLOCK = "block"
    """Messages wait before they are sent and after they have come; timers and the clock go on."""
    SLOW = "slow"
    """The process works `service_ms` on everything that arrives."""
    LINK = "link"
    """The members' links become as said."""
    PARTITION = "partition"
    """They and all others do not reach each other."""
    DEAF = "deaf"
    """Nothing reaches them, though they are heard."""
    MUTE = "mute"
    """Nothing that they send arrives, though they hear."""
    EVENT = "event"
    """They send a user event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One line of the timeline. Seconds count from when the pool stands."""

    do: Action
    at_s: float = 0.0
    for_s: float | None = None
    """How long it lasts; None is to the end."""
    every_s: float | None = None
    """Again after so long, until `until_s`, to the same members unless `choose_again`."""
    until_s: float | None = None
    members: int | float | tuple[str, ...] = 1
    """So many at random, such a share of all (a float), or these by name."""
    choose_again: bool = False
    within_s: float = 0.0
    """Each is struck at a random instant in so many seconds."""
    service_s: float = 0.0
    """For `slow`."""
    link: Link | None = None
    """For `link`."""

    def __post_init__(self) -> None:
        if self.at_s < 0 or self.within_s < 0:
            raise ConfigError(f"{self.do}: at_s and within_s must not be negative")
        for name in ("for_s", "every_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{self.do}: {name} must be positive, got {value}")
        if self.until_s is not None and self.every_s is None:
            raise ConfigError(f"{self.do}: until_s goes with every_s")
        if self.do == Action.LINK and self.link is None:
            raise ConfigError("link: says nothing of the link")
        if self.do == Action.SLOW and self.service_s <= 0:
            raise ConfigError("slow: service_ms must be positive")
        if isinstance(self.members, float) and not 0 < self.members <= 1:
            raise ConfigError(f"{self.do}: members: a share is above 0 and at most 1")
        if isinstance(self.members, int) and self.members < 1:
            raise ConfigError(f"{self.do}: members must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectations:
    """What a run has to show; None and False expect nothing."""

    converged_within_s: float | None = None
    """Every view is right so long after the last fault has ended, and at the end."""
    detected_within_s: float | None = None
    """Every crash is known to every member so soon."""
    no_false_failure: bool = False
    """No member that runs undisturbed is declared failed by anybody."""
    no_resurrection: bool = False
    """No member is seen alive once it has gone for good and all had time to know."""
    event_within_s: float | None = None
    """99.99 % of the members have every user event so soon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """Everything that a run follows from, but the seed."""

    name: str
    description: str = ""
    members: int = 32
    duration_s: float = 120.0
    seeds: tuple[int, ...] = (1,)
    start: Start = Start.JOINED
    joining_s: float = 5.0
    sample_s: float = 1.0
    """How often the views are compared with the truth."""
    link: Link = field(default_factory=Link)
    service_s: float = 0.0
    """How long every process works on everything that arrives."""
    gossip: GossipConfig = field(default_factory=GossipConfig)
    faults: tuple[Fault, ...] = ()
    expect: Expectations = field(default_factory=Expectations)

    def __post_init__(self) -> None:
        if not 1 <= self.members <= MEMBERS_MAX:
            raise ConfigError(f"members: 1 to {MEMBERS_MAX}, got {self.members}")
        if not 0 < self.duration_s <= DURATION_S_MAX:
            raise ConfigError(f"duration_s: above 0, at most {DURATION_S_MAX:g}")
        if self.sample_s <= 0:
            raise ConfigError("sample_s: must be positive")
        if not self.seeds:
            raise ConfigError("seeds: at least one")
        for fault in self.faults:
            if fault.at_s > self.duration_s:
                raise ConfigError(f"{fault.do}: at_s is after the end of the run")
