"""Load balancing inside the process: picks an instance for each call and learns from the outcome.

A failed instance is set aside for a short time that doubles with every further failure. When the
time is over, one call tries it: it is set aside again until that call has succeeded. When
everything is set aside, the instance whose time ends first is picked, so there is always an
answer while an instance is known.

Thread-safe, and never blocks for longer than a pick takes; one picker serves threads and tasks.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

from svcmesh.client.errors import ClientError, NoInstanceError
from svcmesh.client.instances import Instance
from svcmesh.client.policies import Candidate, Policy, RoundRobin

AVOID_TRIES: Final = 8
"""Choices of the policy before one is taken that is not avoided, whatever the policy says."""

JITTER: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class PickerConfig:
    """How long failures keep an instance out."""

    aside_s_min: float = 1.0
    """After the first failure; twice as long after each further one."""
    aside_s_max: float = 60.0
    failures_to_set_aside: int = 1
    """Failures in a row that set an instance aside."""

    def __post_init__(self) -> None:
        """Check the relations of the fields."""
        if not 0 < self.aside_s_min <= self.aside_s_max or self.failures_to_set_aside < 1:
            raise ValueError("0 < aside_s_min <= aside_s_max and failures_to_set_aside >= 1")


@dataclass(frozen=True, slots=True)
class Freshness:
    """How good what a picker has is."""

    is_stale: bool
    """True while the agent does not answer: the instances are those of `as_of_utc`."""
    as_of_utc: float | None
    """Unix time of the last answer; None: there has been none, not even on disk."""
    failure: ClientError | None
    """Why there is no answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a picker knows of an instance, for people to look at."""

    instance: Instance
    pending: int
    calls: int
    failures: int
    """In a row, up to now."""
    aside_s: float
    """How much longer it is set aside; 0: it is picked."""


@dataclass(slots=True, eq=False)
class _Record:
    candidate: Candidate
    calls: int = 0
    failures: int = 0
    aside_until_at: float = 0.0
    failed_after: int = 0
    """The call, by number, that was the latest to begin when it failed last."""


class Picker:
    """Picks among the instances that `update` was told last.

    Invariant: the policy's candidates are the records that are not set aside, or, when there is
    none, the one whose time ends first.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        config: PickerConfig = PickerConfig(),
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self._policy = policy or RoundRobin()
        self._config, self._clock, self._rng = config, clock, rng or Random()
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str], _Record] = {}
        self._rtts_s: Mapping[str, float] = {}
        self._freshness = Freshness(is_stale=True, as_of_utc=None, failure=None)
        self._calls = 0
        self._review_at = float("inf")
        """When the first of those set aside comes back."""

    # -- what there is ----------------------------------------------------------------------

    def update(self, instances: Sequence[Instance]) -> None:
        """Pick among these from now on. What is known of those that stay is kept."""
        with self._lock:
            records = {}
            for instance in instances:
                record = self._records.get(instance.key)
                if record is None or _has_moved(record.candidate.instance, instance):
                    record = _Record(Candidate(instance))
                record.candidate.instance = instance
                record.candidate.rtt_s = self._rtts_s.get(instance.node, float("inf"))
                records[instance.key] = record
            self._records = records
            self._review(self._clock())

    def update_rtts(self, rtts_s: Mapping[str, float]) -> None:
        """Take estimated round trips by node name."""
        with self._lock:
            self._rtts_s = rtts_s
            for record in self._records.values():
                node = record.candidate.instance.node
                record.candidate.rtt_s = rtts_s.get(node, float("inf"))
            self._review(self._clock())

    def update_freshness(self, freshness: Freshness) -> None:
        """Take in how good the instances are."""
        with self._lock:
            self._freshness = freshness

    @property
    def freshness(self) -> Freshness:
        """How good the instances are."""
        with self._lock:
            return self._freshness

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All that are known, set aside or not."""
        with self._lock:
            return tuple(record.candidate.instance for record in self._records.values())

    def standings(self) -> list[Standing]:
        """What is known of each instance."""
        with self._lock:
            now = self._clock()
            return [
                Standing(
                    record.candidate.instance,
                    record.candidate.pending,
                    record.calls,
                    record.failures,
                    max(0.0, record.aside_until_at - now),
                )
                for record in self._records.values()
            ]

    # -- picking ----------------------------------------------------------------------------

    def pick(self, *, avoid: Collection[Instance] = ()) -> Instance:
        """Choose an instance without saying how the call goes; prefer one that is not in `avoid`.

        Raises:
            NoInstanceError: None is known.
        """
        with self._lock:
            return self._choose(avoid).candidate.instance

    @contextmanager
    def use(
        self,
        *,
        avoid: Collection[Instance] = (),
        failures: tuple[type[BaseException], ...] = (Exception,),
    ) -> Iterator[Instance]:
        """Choose an instance for one call, which is pending as long as the context lasts.

        Leaving by an exception of `failures` is a failure of the instance, leaving without one
        a success; a cancelled call says nothing.

        Raises:
            NoInstanceError: None is known.
        """
        with self._lock:
            record = self._choose(avoid)
            call = self._begin(record)
        try:
            yield record.candidate.instance
        except failures:
            self._end(record, call, is_success=False)
            raise
        except BaseException:
            self._end(record, call, is_success=None)
            raise
        self._end(record, call, is_success=True)

    def fail(self, instance: Instance) -> None:
        """Report a failure that was no exception, such as an answer of 503."""
        with self._lock:
            record = self._records.get(instance.key)
            if record is not None:
                self._set_aside(record, self._calls)

    # -- inside the lock --------------------------------------------------------------------

    def _choose(self, avoid: Collection[Instance]) -> _Record:
        if not self._records:
            raise NoInstanceError("no instance is known")
        now = self._clock()
        if now >= self._review_at:
            self._review(now)
        avoided = {instance.key for instance in avoid}
        chosen = self._policy.choose()
        for _ in range(AVOID_TRIES):
            if chosen.instance.key not in avoided:
                break
            chosen = self._policy.choose()
        else:
            others = [
                record
                for key, record in self._records.items()
                if key not in avoided and record.aside_until_at <= now
            ]
            if others:
                return self._rng.choice(others)
        return self._records[chosen.instance.key]

    def _begin(self, record: _Record) -> int:
        self._calls += 1
        record.candidate.pending += 1
        record.calls += 1
        if record.failures >= self._config.failures_to_set_aside:
            # The one call that tries it: until it is over, nobody else does.
            record.aside_until_at = self._clock() + self._aside_s(record.failures)
            self._review(self._clock())
        return self._calls

    def _end(self, record: _Record, call: int, *, is_success: bool | None) -> None:
        with self._lock:
            record.candidate.pending -= 1
            # A call that began before the last failure says nothing about what came after it,
            # and a hundred that fail together are one failure.
            if call <= record.failed_after and record.failures:
                return
            if is_success and record.failures:
                record.failures, record.aside_until_at = 0, 0.0
                self._review(self._clock())
            elif is_success is False:
                self._set_aside(record, self._calls)

    def _set_aside(self, record: _Record, latest_call: int) -> None:
        record.failures += 1
        if record.failures >= self._config.failures_to_set_aside:
            record.failed_after = latest_call
            record.aside_until_at = self._clock() + self._aside_s(record.failures)
            self._review(self._clock())

    def _aside_s(self, failures: int) -> float:
        doublings = min(failures - self._config.failures_to_set_aside, 32)
        longest_s = min(self._config.aside_s_max, self._config.aside_s_min * 2.0**doublings)
        return longest_s * self._rng.uniform(1 - JITTER, 1)

    def _review(self, now: float) -> None:
        aside = [one for one in self._records.values() if one.aside_until_at > now]
        self._review_at = min((one.aside_until_at for one in aside), default=float("inf"))
        usable = [one for one in self._records.values() if one.aside_until_at <= now]
        if not usable and aside:
            usable = [min(aside, key=lambda one: one.aside_until_at)]
        if usable:
            self._policy.replace([one.candidate for one in usable])


def _has_moved(old: Instance, new: Instance) -> bool:
    """Whether it is another process by all appearances: what failed there says nothing now."""
    return (old.address, old.port) != (new.address, new.port)
