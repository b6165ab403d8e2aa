"""Script probes: a command in a process group of its own, which ends with its time."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Final

from svcmesh.catalog.records import HealthStatus
from svcmesh.checks.definition import ScriptProbe
from svcmesh.checks.probes.dialing import ProbeError, os_reason
from svcmesh.checks.table import ProbeResult

READ_BYTES: Final = 4096

KILLED_S: Final = 1.0
"""How long a killed command is waited for."""

_STATUSES: Final = {0: HealthStatus.PASSING, 1: HealthStatus.WARNING}


async def probe_script(probe: ScriptProbe, *, output_bytes_max: int) -> ProbeResult:
    """Run the command; when cancelled, kill it and all its children.

    Raises:
        ProbeError: It could not be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *probe.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProbeError(_start_failure(probe.args[0], error)) from error
    kept, total, has_ended = bytearray(), 0, False
    try:
        assert process.stdout is not None
        while chunk := await process.stdout.read(READ_BYTES):
            total += len(chunk)
            kept += chunk
            # The end of the output is what counts, as in Consul.
            del kept[:-output_bytes_max]
        code = await process.wait()
        has_ended = True
    finally:
        if not has_ended:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(KILLED_S):
                    await process.wait()
    output = kept.decode("utf-8", "replace")
    if total > output_bytes_max:
        output = f"Captured {output_bytes_max} of {total} bytes\n...\n{output}"
    return ProbeResult(_STATUSES.get(code, HealthStatus.CRITICAL), output)


def _start_failure(command: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError) and "/" not in command:
        return f'exec: "{command}": executable file not found in $PATH'
    reason = os_reason(error) if isinstance(error, OSError) else str(error)
    return f"fork/exec {command}: {reason}"
