"""What the agent measures, in intervals of ten seconds as Consul's go-metrics keeps them. No I/O.

Names are dotted, without the prefix that the API puts before them. Components that count by
themselves hand in their totals; what is only a moment's value (a gauge) is asked for when somebody
looks. Series are bounded: what would be one too many is left out, and counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Final, NamedTuple

INTERVAL_S: Final = 10.0

SERIES_MAX: Final = 2000
"""Of counters and samples together."""

_KNOWN_NAMES: Final = {
    "gossip.bytes_in": "memberlist.udp.received",
    "gossip.bytes_out": "memberlist.udp.sent",
    "gossip.stream_bytes_out": "memberlist.tcp.sent",
    "gossip.streams_in": "memberlist.tcp.accept",
    "gossip.streams_out": "memberlist.tcp.connect",
}
"""What Consul counts too has its name, so that dashboards made for Consul show it."""

Counters = Callable[[], Mapping[str, Mapping[str, int]]]
"""Running totals by group, as `info` shows them: `gossip` -> `packets_in`."""


class Series(NamedTuple):
    """One metric, and what it is about."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Summary:
    """Values, without keeping each of them."""

    count: int = 0
    total: float = 0.0
    square_total: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def add(self, value: float) -> None:
        """Take in one value."""
        self.least = value if not self.count else min(self.least, value)
        self.most = value if not self.count else max(self.most, value)
        self.count += 1
        self.total += value
        self.square_total += value * value

    @property
    def mean(self) -> float:
        """The average, zero without values."""
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation, zero with fewer than two values."""
        if self.count < 2:
            return 0.0
        spread = self.square_total - self.total * self.total / self.count
        return sqrt(max(spread, 0.0) / (self.count - 1))


@dataclass(slots=True)
class Interval:
    """What happened in ten seconds."""

    began_at_utc: float
    counters: dict[Series, Summary] = field(default_factory=dict)
    samples: dict[Series, Summary] = field(default_factory=dict)


class Metrics:
    """Counts and samples of one agent: those of the last interval, and all since the start."""

    def __init__(self, counters: Counters, *, now_utc: float) -> None:
        self._counters = counters
        self.counted: dict[Series, int] = {}
        """Since the start, those that components count by themselves among them."""
        self.sampled: dict[Series, Summary] = {}
        """Since the start."""
        self.left_out = 0
        """Values whose series would have been one too many."""
        self._running = Interval(now_utc)
        self._finished: Interval | None = None

    @property
    def interval(self) -> Interval:
        """The last whole interval; in the first ten seconds the one that is running."""
        return self._finished or self._running

    def count(self, name: str, labels: tuple[tuple[str, str], ...] = (), number: int = 1) -> None:
        """Something happened `number` times."""
        series = Series(name, labels)
        if series not in self.counted and not self._has_room():
            return
        self.counted[series] = self.counted.get(series, 0) + number
        self._running.counters.setdefault(series, Summary()).add(number)

    def sample(self, name: str, value: float, labels: tuple[tuple[str, str], ...] = ()) -> None:
        """A value was measured; durations are in milliseconds."""
        series = Series(name, labels)
        whole = self.sampled.get(series)
        if whole is None:
            if not self._has_room():
                return
            whole = self.sampled[series] = Summary()
        whole.add(value)
        self._running.samples.setdefault(series, Summary()).add(value)

    def refresh(self) -> None:
        """Count what components have counted by themselves up to now."""
        for series, total in totals_by_series(self._counters()).items():
            if (growth := total - self.counted.get(series, 0)) > 0:
                self.count(series.name, series.labels, growth)

    def end_interval(self, *, now_utc: float) -> None:
        """Finish the running interval and begin another."""
        self.refresh()
        self._finished, self._running = self._running, Interval(now_utc)

    def _has_room(self) -> bool:
        if len(self.counted) + len(self.sampled) < SERIES_MAX:
            return True
        self.left_out += 1
        return False


def totals_by_series(groups: Mapping[str, Mapping[str, int]]) -> dict[Series, int]:
    """Counters by series: `dropped.checksum` of `gossip` is `gossip.dropped`, reason `checksum`."""
    totals = {}
    for group, counters in groups.items():
        for key, count in counters.items():
            name, _, reason = key.partition(".")
            dotted = f"{group}.{name}"
            labels = (("reason", reason),) if reason else ()
            totals[Series(_KNOWN_NAMES.get(dotted, dotted), labels)] = count
    return totals
