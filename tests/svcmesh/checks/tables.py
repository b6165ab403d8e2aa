"""A check table with a clock that a test moves, and probes that end as the test says."""

from collections.abc import Callable, Iterable
from random import Random

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import CheckDefinition, Source, TcpProbe, Ttl
from svcmesh.checks.table import (
    CancelProbe,
    CheckChanged,
    CheckConfig,
    CheckEffect,
    CheckTable,
    ProbeResult,
    ServiceExpired,
    StartProbe,
)

PASSING, WARNING, CRITICAL = HealthStatus

Outcome = Callable[[str, float], ProbeResult | None]


def check(check_id: str = "c", source: Source | None = None, **more: object) -> CheckDefinition:
    fields = {"interval_s": 10.0, "timeout_s": 1.0, **more}
    return CheckDefinition(
        id=check_id,
        name=check_id,
        source=source or TcpProbe("127.0.0.1:1"),
        **fields,  # type: ignore[arg-type]  # the caller knows the fields' types
    )


def ttl_check(ttl_s: float = 10.0, check_id: str = "c", **more: object) -> CheckDefinition:
    return check(check_id, Ttl(ttl_s), interval_s=0.0, timeout_s=0.0, **more)


class Bench:
    """Runs a table. `outcome(check_id, now)` gives the result of a probe; None: it hangs."""

    def __init__(self, config: CheckConfig | None = None, outcome: Outcome | None = None) -> None:
        self.table = CheckTable(config or CheckConfig(update_interval_s=0.0), rng=Random(7))
        self.now = 1000.0
        self.outcome = outcome or (lambda check_id, now: ProbeResult(PASSING, "ok"))
        self.starts: list[tuple[float, str]] = []
        self.published: list[tuple[float, str, str]] = []
        self.expired: list[tuple[float, str]] = []
        self.hanging: dict[int, str] = {}
        self.batch_max = 0

    def put(self, *definitions: CheckDefinition, state: ProbeResult | None = None) -> None:
        for definition in definitions:
            self.take(self.table.put(definition, now=self.now, state=state))

    def report(self, status: HealthStatus, output: str = "", check_id: str = "c") -> None:
        self.take(self.table.report(check_id, status, output, now=self.now))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.table.next_deadline_at <= end:
            self.now = max(self.now, self.table.next_deadline_at)
            effects = self.table.handle_timer(now=self.now)
            self.batch_max = max(self.batch_max, len(effects))
            self.take(effects)
        self.now = end

    def finish(self, run: int, result: ProbeResult) -> None:
        self.take(self.table.handle_result(self.hanging.pop(run), run, result, now=self.now))

    def take(self, effects: Iterable[CheckEffect]) -> None:
        for effect in effects:
            match effect:
                case StartProbe():
                    self.starts.append((self.now, effect.check_id))
                    result = self.outcome(effect.check_id, self.now)
                    if result is None:
                        self.hanging[effect.run] = effect.check_id
                        continue
                    self.take(
                        self.table.handle_result(effect.check_id, effect.run, result, now=self.now)
                    )
                case CancelProbe():
                    del self.hanging[effect.run]
                case CheckChanged():
                    state = self.table[effect.check_id]
                    self.published.append((self.now, effect.check_id, state.status.value))
                case ServiceExpired():
                    self.expired.append((self.now, effect.service_id))

    @property
    def statuses(self) -> list[str]:
        """What was published, in order."""
        return [status for _, _, status in self.published]

    def starts_of(self, check_id: str) -> list[float]:
        return [at for at, started in self.starts if started == check_id]


def results(*statuses: HealthStatus) -> Outcome:
    """One result after the other, the last one for ever."""
    left = list(statuses)

    def outcome(check_id: str, now: float) -> ProbeResult:
        status = left.pop(0) if len(left) > 1 else left[0]
        return ProbeResult(status, status.value)

    return outcome
