"""The asyncio shell around a `CheckTable`: its clock, its timer, and the probes that it starts."""

import asyncio
import logging
import resource
from collections.abc import Callable, Iterable
from importlib import import_module
from math import inf
from typing import Final

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import (
    CheckDefinition,
    GrpcProbe,
    HttpProbe,
    ScriptProbe,
    TcpProbe,
    UdpProbe,
)
from svcmesh.checks.probes.dialing import Dialer, ProbeError
from svcmesh.checks.probes.http import probe_http
from svcmesh.checks.probes.script import probe_script
from svcmesh.checks.probes.tcp import probe_tcp, probe_udp
from svcmesh.checks.table import (
    CancelProbe,
    CheckChanged,
    CheckEffect,
    CheckTable,
    ProbeResult,
    ServiceExpired,
    StartProbe,
)
from svcmesh.goformats import duration_string

logger = logging.getLogger("agent.checks")

Fact = CheckChanged | ServiceExpired


PROBES_MAX: Final = 4096


def most_probes() -> int:
    """How many probes may run at the same time: an eighth of the process's file descriptors."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(PROBES_MAX, descriptors // 8))


class CheckRunner:
    """Runs what the table starts; `on_fact` gets all its other effects."""

    def __init__(self, table: CheckTable, *, on_fact: Callable[[Fact], None]) -> None:
        self.table = table
        self._on_fact = on_fact
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._dialer = Dialer()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End all probes."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._dialer.close()

    def carry_out(self, effects: Iterable[CheckEffect]) -> None:
        """Do what the table asks for, and re-arm its timer."""
        for effect in effects:
            match effect:
                case StartProbe():
                    task = self._loop.create_task(self._run(effect))
                    self._tasks[effect.run] = task
                case CancelProbe():
                    if (running := self._tasks.pop(effect.run, None)) is not None:
                        running.cancel()
                case _:
                    self._on_fact(effect)
        self._arm()

    def _arm(self) -> None:
        deadline_at = self.table.next_deadline_at
        if self._timer is not None:
            if self._timer.when() == deadline_at:
                return
            self._timer.cancel()
            self._timer = None
        if deadline_at < inf:
            self._timer = self._loop.call_at(deadline_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.carry_out(self.table.handle_timer(now=self._loop.time()))

    async def _run(self, start: StartProbe) -> None:
        try:
            result = await run_probe(
                start.definition, self._dialer, output_bytes_max=start.output_bytes_max
            )
        except Exception:
            # The last line of defence: a probe that fails by our fault must not end the check.
            logger.exception("check %s: the probe has failed", start.check_id)
            result = ProbeResult(HealthStatus.CRITICAL, "Internal error")
        self._tasks.pop(start.run, None)
        self.carry_out(
            self.table.handle_result(start.check_id, start.run, result, now=self._loop.time())
        )


async def run_probe(
    definition: CheckDefinition, dialer: Dialer, *, output_bytes_max: int
) -> ProbeResult:
    """Run a probe to its end; a failure to reach what it probes is a critical result."""
    try:
        async with asyncio.timeout(definition.timeout_s):
            return await _probe(definition, dialer, output_bytes_max)
    except TimeoutError:
        output = _timed_out(definition)
    except ProbeError as error:
        output = str(error)
    return ProbeResult(HealthStatus.CRITICAL, output)


async def _probe(definition: CheckDefinition, dialer: Dialer, output_bytes_max: int) -> ProbeResult:
    probe = definition.source
    match probe:
        case HttpProbe():
            return await probe_http(probe, dialer, output_bytes_max=output_bytes_max)
        case TcpProbe():
            return await probe_tcp(probe, dialer)
        case UdpProbe():
            return await probe_udp(probe, dialer, timeout_s=definition.timeout_s)
        case ScriptProbe():
            return await probe_script(probe, output_bytes_max=output_bytes_max)
        case GrpcProbe():
            # Imported here: most agents have no such check, and HTTP/2 takes its memory. On a
            # thread, as the import takes its time.
            grpc = await asyncio.to_thread(import_module, "svcmesh.checks.probes.grpc")
            result: ProbeResult = await grpc.probe_grpc(probe, dialer)
            return result
        case _:
            raise AssertionError(f"not a probe: {probe}")


def _timed_out(definition: CheckDefinition) -> str:
    probe = definition.source
    match probe:
        case HttpProbe():
            verb = probe.method[:1].upper() + probe.method[1:].lower()
            return (
                f'{verb} "{probe.url}": context deadline exceeded '
                "(Client.Timeout exceeded while awaiting headers)"
            )
        case TcpProbe():
            return f"dial tcp {probe.address}: i/o timeout"
        case ScriptProbe():
            return f"Timed out ({duration_string(definition.timeout_s)}) running check"
        case GrpcProbe():
            return "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        case _:
            return "i/o timeout"
