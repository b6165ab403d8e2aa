"""The checks of one agent: their states, and when which of them is run. No I/O.

| input                      | does                                                            |
|----------------------------|-----------------------------------------------------------------|
| `put`, `remove`            | add, replace or drop a check                                    |
| `handle_timer`             | start probes that are due, expire TTLs, publish late output     |
| `handle_result`            | take the result of a probe, by the check's thresholds           |
| `report`, `follow`         | take the state of a TTL check; of an alias                      |

What comes out are the effects below. The shell runs probes, publishes records, and re-arms one
timer at `next_deadline_at`. One call handles no more than `BATCH` deadlines, so that a late one
does not stall the loop; `next_deadline_at` is in the past then.

Probes keep a fixed rate: a run is due one interval after the last one was due, however late that
one came. A run that has not ended when the next is due delays it; two runs of one check never
overlap. The first runs of many new checks are spread: `FIRST_RUNS_PER_S`, then each check goes on
at a phase of its own.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import OUTPUT_BYTES_MAX, CheckDefinition, Probe, Ttl

FIRST_RUNS_PER_S: Final = 1000.0
"""Of new checks; more of them wait their turn."""

BATCH: Final = 8
"""Probes started and deadlines handled in one call; opening a connection takes some 0.2 ms."""

SLOW_S: Final = 1.0
"""A check whose probe takes longer waits in a queue of its own."""

LATE_S: Final = 1.0
"""A probe that starts so much later than it was due counts as late."""

FIRST_RUN_S_MAX: Final = 1.0
"""A new check that is alone starts within this time, however long its interval."""


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """What the agent's settings say about all checks."""

    output_bytes_max: int = OUTPUT_BYTES_MAX
    discards_output: bool = False
    """Keep no output of any check."""
    update_interval_s: float = 300.0
    """How often output alone, without a change of status, is published; 0: at once."""
    probes_max: int = 1024
    """Probes that run at the same time; more of them wait, and start late. Slow ones, whose last
    run took over `SLOW_S`, get half of them at most: dead targets do not delay the others."""


@dataclass(frozen=True, slots=True)
class StartProbe:
    """Run this now, and hand the result in with its number."""

    check_id: str
    run: int
    definition: CheckDefinition
    output_bytes_max: int


@dataclass(frozen=True, slots=True)
class CancelProbe:
    """End this run, if it has not ended: nobody waits for its result."""

    run: int


@dataclass(frozen=True, slots=True)
class CheckChanged:
    """The state of a check has changed, or output is due: publish it."""

    check_id: str
    has_turned: bool = False
    """Whether this is news: another status, but not that a new check passes."""


@dataclass(frozen=True, slots=True)
class ServiceExpired:
    """A check of a service was critical for too long: deregister the service."""

    service_id: str
    check_id: str


CheckEffect = StartProbe | CancelProbe | CheckChanged | ServiceExpired


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How a probe ended. A shortened output says so itself."""

    status: HealthStatus
    output: str


@dataclass(frozen=True, slots=True)
class CheckState:
    """A check as the API shows it."""

    definition: CheckDefinition
    status: HealthStatus
    output: str
    since: float
    """Monotonic instant of the last change of status."""
    checked_at: float | None
    """Monotonic instant of the last result or report."""


class _Check:
    """One check. Its deadlines are infinite while they do not apply.

    Invariant: `run` is the number of the probe that is on its way or waits for its turn, 0 without
    one; `run_at` is infinite then.
    """

    __slots__ = (
        "checked_at",
        "definition",
        "deregister_at",
        "expire_at",
        "failures",
        "has_run",
        "heap_at",
        "is_new",
        "is_slow",
        "last_report",
        "output",
        "publish_at",
        "run",
        "run_at",
        "run_due_at",
        "since",
        "started_at",
        "status",
        "successes",
    )

    def __init__(self, definition: CheckDefinition, now: float) -> None:
        self.definition = definition
        self.status, self.output = definition.status, ""
        self.since = now
        self.checked_at: float | None = None
        self.successes = self.failures = 0
        self.has_run = False
        self.run = 0
        self.last_report = ""
        """Output of the last report of a TTL check."""
        self.run_at = self.expire_at = self.publish_at = self.deregister_at = inf
        self.run_due_at = inf
        """When the current run was due."""
        self.started_at = 0.0
        """When the current run was started."""
        self.is_slow = False
        self.is_new = True
        """Whether it has had no result yet, nor a report."""
        self.heap_at = inf
        """The earliest entry of the table's heap for this check."""

    @property
    def deadline_at(self) -> float:
        """When something is to be done about the check."""
        return min(self.run_at, self.expire_at, self.publish_at, self.deregister_at)


class CheckTable:
    """All checks of one agent by id. `rng` spreads runs and publications, and nothing else."""

    def __init__(self, config: CheckConfig, *, rng: Random) -> None:
        self._config, self._rng = config, rng
        self._checks: dict[str, _Check] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._entries = 0
        self._runs = 0
        self._running: dict[int, bool] = {}
        """Numbers of the runs that have been started, and whether each is of a slow check."""
        self._slow_running = 0
        self._waiting: deque[tuple[str, int]] = deque()
        self._slow_waiting: deque[tuple[str, int]] = deque()
        self._first_run_at = -inf
        """When the last of the new checks is run for the first time."""
        self.probes_started = 0
        self.probes_late = 0
        """Those that started more than `LATE_S` after they were due."""

    # -- reading ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._checks)

    def __contains__(self, check_id: object) -> bool:
        return check_id in self._checks

    def __iter__(self) -> Iterator[str]:
        return iter(self._checks)

    def __getitem__(self, check_id: str) -> CheckState:
        check = self._checks[check_id]
        return CheckState(
            check.definition, check.status, check.output, check.since, check.checked_at
        )

    def count(self, source: type) -> int:
        """How many checks have this kind of source."""
        return sum(isinstance(check.definition.source, source) for check in self._checks.values())

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due; infinite when there is nothing to wait for."""
        if self._next_queue() is not None:
            return -inf
        return self._heap[0][0] if self._heap else inf

    @property
    def counters(self) -> Mapping[str, int]:
        """Totals since the start, and what is going on."""
        return {
            "probes_started": self.probes_started,
            "probes_late": self.probes_late,
            "probes_running": len(self._running),
        }

    # -- checks come and go -----------------------------------------------------------------

    def put(
        self,
        definition: CheckDefinition,
        *,
        now: float,
        state: ProbeResult | None = None,
    ) -> list[CheckEffect]:
        """Add or replace a check.

        A check that was there keeps its state, and its schedule unless that changes; a new one
        starts with `state`, or else as its definition says. A TTL begins anew in any case.
        """
        old = self._checks.get(definition.id)
        check = _Check(definition, now)
        if old is not None:
            check.status, check.output, check.since = old.status, old.output, old.since
            check.checked_at, check.last_report = old.checked_at, old.last_report
            check.is_new = old.is_new
        elif state is not None:
            check.status, check.output = state.status, self._shortened(definition, state.output)
            check.last_report = state.output
        if isinstance(definition.source, Ttl):
            check.expire_at = now + definition.source.ttl_s
        elif isinstance(definition.source, Probe):
            self._schedule(check, old, now)
        self._watch_criticality(check, now)
        self._checks[definition.id] = check
        self._arm(check)
        effects: list[CheckEffect] = [CheckChanged(definition.id)]
        if old is not None and old.run != check.run:
            # A run of another definition says nothing about this one.
            self._cancel_run(old, effects)
        return effects

    def remove(self, check_id: str) -> list[CheckEffect]:
        """Drop a check; one that is not there is fine."""
        check = self._checks.pop(check_id, None)
        effects: list[CheckEffect] = []
        if check is not None:
            self._cancel_run(check, effects)
        return effects

    def _schedule(self, check: _Check, old: _Check | None, now: float) -> None:
        definition = check.definition
        if old is not None and _schedule_of(old.definition) == _schedule_of(definition):
            check.run_at, check.run_due_at = old.run_at, old.run_due_at
            check.run, check.has_run, check.started_at = old.run, old.has_run, old.started_at
            check.is_slow = old.is_slow
            check.successes, check.failures = old.successes, old.failures
            return
        turn_at = max(self._first_run_at, now) + 1 / FIRST_RUNS_PER_S
        if turn_at - now > definition.interval_s:
            # The queue is longer than its patience: any moment of the interval is as good.
            check.run_at = now + self._rng.uniform(0, definition.interval_s)
            return
        self._first_run_at = turn_at
        check.run_at = turn_at
        if turn_at - now <= FIRST_RUN_S_MAX / 2:
            check.run_at += self._rng.uniform(0, FIRST_RUN_S_MAX / 2)

    # -- what happens -----------------------------------------------------------------------

    def handle_timer(self, *, now: float) -> list[CheckEffect]:
        """Advance to `now`. An early call does nothing."""
        effects: list[CheckEffect] = []
        for _ in range(BATCH):
            if not self._heap or self._heap[0][0] > now:
                break
            at, _, check_id = heapq.heappop(self._heap)
            check = self._checks.get(check_id)
            if check is None or check.heap_at != at:
                continue
            check.heap_at = inf
            self._advance(check, now, effects)
            self._arm(check)
        self._start_waiting(now, effects)
        return effects

    def handle_result(
        self, check_id: str, run: int, result: ProbeResult, *, now: float
    ) -> list[CheckEffect]:
        """Take the result of a probe; one of a check that is gone or changed has no effect."""
        self._end_run(run)
        effects: list[CheckEffect] = []
        check = self._checks.get(check_id)
        if check is not None and check.run == run:
            check.run = 0
            check.is_slow = now - check.started_at > SLOW_S
            check.run_at = self._next_run_at(check, now)
            check.checked_at = now
            self._judge(check, result, now, effects)
            self._arm(check)
        return effects

    def report(
        self, check_id: str, status: HealthStatus, output: str, *, now: float
    ) -> list[CheckEffect]:
        """Take what a service says of its TTL check, which lives on for its TTL.

        Raises:
            KeyError: There is no such check, or it has no TTL.
        """
        check = self._checks[check_id]
        if not isinstance(check.definition.source, Ttl):
            raise KeyError(check_id)
        check.expire_at = now + check.definition.source.ttl_s
        check.checked_at = now
        check.last_report = self._shortened(check.definition, output)
        effects: list[CheckEffect] = []
        self._set(check, status, check.last_report, now, effects)
        self._arm(check)
        return effects

    def follow(
        self, check_id: str, status: HealthStatus, output: str, *, now: float
    ) -> list[CheckEffect]:
        """Set the state of an alias, as what it follows has it."""
        check = self._checks[check_id]
        check.checked_at = now
        effects: list[CheckEffect] = []
        self._set(check, status, output, now, effects)
        self._arm(check)
        return effects

    def _advance(self, check: _Check, now: float, effects: list[CheckEffect]) -> None:
        if check.expire_at <= now:
            check.expire_at = inf
            output = "TTL expired"
            if check.last_report:
                output += f" (last output before timeout follows): {check.last_report}"
            self._set(check, HealthStatus.CRITICAL, output, now, effects)
        if check.publish_at <= now:
            check.publish_at = inf
            effects.append(CheckChanged(check.definition.id))
        if check.deregister_at <= now:
            check.deregister_at = inf
            effects.append(ServiceExpired(check.definition.service_id, check.definition.id))
        if check.run_at <= now:
            self._runs += 1
            check.run, check.run_due_at, check.run_at = self._runs, check.run_at, inf
            queue = self._slow_waiting if check.is_slow else self._waiting
            queue.append((check.definition.id, check.run))

    def _next_run_at(self, check: _Check, now: float) -> float:
        interval_s = check.definition.interval_s
        if not check.has_run:
            # The phase that the check keeps from now on; all are equally likely.
            check.has_run = True
            return max(now, check.run_due_at + interval_s * self._rng.uniform(0.5, 1.5))
        next_at = check.run_due_at + interval_s
        # More than an interval late: what was missed is not made up for.
        return next_at if next_at > now - interval_s else now

    def _judge(
        self, check: _Check, result: ProbeResult, now: float, effects: list[CheckEffect]
    ) -> None:
        """Apply the thresholds of the check."""
        definition, status = check.definition, result.status
        if status is not HealthStatus.CRITICAL:
            check.successes, check.failures = check.successes + 1, 0
            if check.successes < definition.success_before_passing:
                return
        else:
            check.successes, check.failures = 0, check.failures + 1
            before_critical = definition.failures_before_critical
            if check.failures < before_critical:
                if check.failures < (definition.failures_before_warning or before_critical):
                    return
                status = HealthStatus.WARNING
        self._set(check, status, result.output, now, effects)

    def _set(
        self,
        check: _Check,
        status: HealthStatus,
        output: str,
        now: float,
        effects: list[CheckEffect],
    ) -> None:
        output = "" if self._config.discards_output else output
        check_id = check.definition.id
        if status is not check.status:
            check.status, check.output, check.since = status, output, now
            check.publish_at = inf
            self._watch_criticality(check, now)
            is_news = not check.is_new or status is not HealthStatus.PASSING
            effects.append(CheckChanged(check_id, has_turned=is_news))
        elif output != check.output:
            check.output = output
            wait_s = self._config.update_interval_s
            if wait_s <= 0:
                effects.append(CheckChanged(check_id))
            elif check.publish_at == inf:
                check.publish_at = now + wait_s * self._rng.uniform(0.5, 1.5)
        check.is_new = False

    def _watch_criticality(self, check: _Check, now: float) -> None:
        definition = check.definition
        is_watched = definition.deregister_after_s > 0 and definition.service_id
        if is_watched and check.status is HealthStatus.CRITICAL:
            check.deregister_at = check.since + definition.deregister_after_s
            # A definition that comes late to a critical check counts from now.
            check.deregister_at = max(check.deregister_at, now)
        else:
            check.deregister_at = inf

    # -- running ----------------------------------------------------------------------------

    def _start_waiting(self, now: float, effects: list[CheckEffect]) -> None:
        started = 0
        while started < BATCH and (queue := self._next_queue()) is not None:
            check_id, run = queue.popleft()
            check = self._checks.get(check_id)
            if check is None or check.run != run:
                continue
            started += 1
            self._running[run] = check.is_slow
            self._slow_running += check.is_slow
            self.probes_started += 1
            self.probes_late += now - check.run_due_at > LATE_S
            check.started_at = now
            definition = check.definition
            effects.append(StartProbe(check_id, run, definition, self._output_max(definition)))

    def _next_queue(self) -> deque[tuple[str, int]] | None:
        """Whose turn it is to start a probe; None when nobody waits who may."""
        probes_max = self._config.probes_max
        if len(self._running) >= probes_max:
            return None
        if self._waiting:
            return self._waiting
        if self._slow_waiting and self._slow_running < max(1, probes_max // 2):
            return self._slow_waiting
        return None

    def _end_run(self, run: int) -> bool:
        """Free the place of a run; False if it had none."""
        is_slow = self._running.pop(run, None)
        self._slow_running -= bool(is_slow)
        return is_slow is not None

    def _cancel_run(self, check: _Check, effects: list[CheckEffect]) -> None:
        if self._end_run(check.run):
            effects.append(CancelProbe(check.run))

    def _arm(self, check: _Check) -> None:
        """Let the heap have an entry at the check's deadline, or earlier."""
        at = check.deadline_at
        if at < check.heap_at:
            check.heap_at = at
            self._entries += 1
            heapq.heappush(self._heap, (at, self._entries, check.definition.id))

    def _output_max(self, definition: CheckDefinition) -> int:
        own, agents = definition.output_bytes_max, self._config.output_bytes_max
        return min(own, agents) if own else agents

    def _shortened(self, definition: CheckDefinition, output: str) -> str:
        return shorten(output, self._output_max(definition))


def shorten(output: str, bytes_max: int) -> str:
    """Cut a report to so many bytes, and say so."""
    if len(output) <= bytes_max // 4:
        return output
    raw = output.encode("utf-8", "replace")
    if len(raw) <= bytes_max:
        return output
    kept = raw[:bytes_max].decode("utf-8", "ignore")
    return f"{kept} ... (captured {bytes_max} of {len(raw)} bytes)"


def _schedule_of(definition: CheckDefinition) -> tuple[object, ...]:
    return (definition.source, definition.interval_s, definition.timeout_s)
