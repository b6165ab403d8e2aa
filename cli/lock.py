"""`svcmesh lock`: a program that runs only while a lock is held."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import click

from cli.client import Client, access_from_flags, agent_itself, client_flags
from cli.errors import CommandError, FlagError
from cli.flags import GoCommand, flag
from cli.printing import say
from svcmesh.agentaccess import AgentAccess
from svcmesh.client.asynchronous import AsyncClient
from svcmesh.client.errors import ClientError, DeadlineExceededError, LockLostError
from svcmesh.client.holding import LockConfig
from svcmesh.client.locks import Lock
from svcmesh.goformats import parse_duration

GRACE_S: Final = 5.0
"""Between the request to end and the end of a child."""

CHILD_FAILED_STATUS: Final = 2
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    prefix: str
    child: Sequence[str]
    limit: int
    wait_s: float | None
    config: LockConfig
    passes_stdin: bool
    is_verbose: bool

    def say(self, text: str) -> None:
        if self.is_verbose:
            say(text)


@click.command("lock", cls=GoCommand, arguments="prefix child...")
@client_flags
@flag("child-exit-code", kind="bool", help="Exit with 2 when the child has failed.")
@flag(
    "monitor-retry",
    kind="int",
    metavar="int",
    help="How many more times to look at the lock, a second apart, when the agent fails to say "
    "whether it is still ours. The end of the session's time is not waited for. Default: 3.",
)
@flag(
    "n",
    kind="int",
    metavar="int",
    help="How many may hold the lock at a time: with more than one, it is a semaphore. Default: 1.",
)
@flag("name", help="Name of the session. Default: made of the child and the prefix.")
@flag("pass-stdin", kind="bool", help="Give our standard input to the child.")
@flag("shell", kind="bool", help="Run the child by the shell of SHELL. Default: true.")
@flag(
    "timeout",
    "try",
    metavar="duration",
    help="How long to wait for the lock. Default: as long as it takes.",
)
@flag("verbose", kind="bool", help="Say what happens.")
def lock(
    args: tuple[str, ...],
    child_exit_code: bool | None,
    monitor_retry: int | None,
    n: int | None,
    name: str | None,
    pass_stdin: bool | None,
    shell: bool | None,
    timeout: str | None,
    verbose: bool | None,
    **http: object,
) -> int:
    """Run a program while holding a lock, which keeps others with the same prefix waiting.

    When the lock is lost, or cannot be said to be held any more, the child gets SIGTERM, with all
    that it has started, and five seconds later SIGKILL; the exit status is 1. The lock is lost
    before anybody else can have it, also when no agent answers.
    """
    if len(args) < 2:
        raise CommandError("Key prefix and child command must be specified")
    limit = 1 if n is None else n
    if limit <= 0:
        raise CommandError("Lock holder limit must be positive")
    prefix, child = args[0].removeprefix("/"), list(args[1:])
    text = " ".join(child)
    retries = 3 if monitor_retry is None else monitor_retry
    if retries < 0:
        raise CommandError("Number for 'monitor-retry' must be >= 0")
    job = _Job(
        prefix=prefix,
        child=child if shell is False else [os.environ.get("SHELL") or "/bin/sh", "-c", text],
        limit=limit,
        wait_s=_wait_s(timeout),
        config=LockConfig(
            name=name or f"svcmesh lock for '{text}' at '{prefix}'",
            monitor_retries=retries,
            removes_key=True,
        ),
        passes_stdin=bool(pass_stdin),
        is_verbose=bool(verbose),
    )
    access = access_from_flags(http)
    agent_itself(Client(access))
    has_failed = asyncio.run(_run(job, access))
    return CHILD_FAILED_STATUS if has_failed and child_exit_code else 0


def _wait_s(timeout: str | None) -> float | None:
    """For how long to wait; None: as long as it takes."""
    if not timeout:
        return None
    try:
        wait_s = parse_duration(timeout)
    except ValueError:
        raise FlagError(f'invalid value "{timeout}" for flag -timeout: parse error') from None
    if wait_s < 0:
        raise CommandError("Timeout must be positive")
    return wait_s or None


async def _run(job: _Job, access: AgentAccess) -> bool:
    """Whether the child has failed.

    Raises:
        CommandError: The lock was not to be had, or was lost.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, ended.set)
    async with AsyncClient(access) as client:
        key = f"{job.prefix}/.lock"
        if job.limit == 1:
            job.say(f"Setting up lock at path: {key}")
            held = client.lock(key, config=job.config, wait_s=job.wait_s)
        else:
            job.say(f"Setting up semaphore (limit {job.limit}) at prefix: {job.prefix}")
            held = client.semaphore(job.prefix, job.limit, config=job.config, wait_s=job.wait_s)
        await _acquire(job, held, ended)
        error: CommandError | None = None
        has_failed = False
        try:
            has_failed = await _run_child(job, held, ended)
        except CommandError as failure:
            error = failure
        was_held = held.is_held
        with suppress(LockLostError):
            await held.__aexit__(None, None, None)
        if error is not None:
            raise error
        if not was_held:
            raise CommandError("Lock lost")
        job.say("Cleanup succeeded" if held.is_removed else "Cleanup aborted, lock in use")
        return has_failed


async def _acquire(job: _Job, held: Lock, ended: asyncio.Event) -> None:
    job.say("Attempting lock acquisition")
    waiting = asyncio.create_task(held.__aenter__())
    stopping = asyncio.create_task(ended.wait())
    await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not waiting.done():
        waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        raise CommandError("Shutdown triggered during lock acquisition") from None
    except DeadlineExceededError as error:
        if error.__cause__ is None:
            text = "Shutdown triggered or timeout during lock acquisition"
            raise CommandError(text) from None
        raise CommandError(f"Lock acquisition failed: {error.__cause__}") from None
    except ClientError as error:
        raise CommandError(f"Lock acquisition failed: {error}") from None


async def _run_child(job: _Job, held: Lock, ended: asyncio.Event) -> bool:
    """Whether the child has failed.

    Raises:
        CommandError: It was not started.
    """
    job.say("Starting handler")
    try:
        child = await asyncio.create_subprocess_exec(
            *job.child,
            env={**os.environ, "CONSUL_LOCK_HELD": "true"},
            stdin=None if job.passes_stdin else DEVNULL,
            # In a group of its own, so that what it starts can be ended with it. One that reads
            # from the terminal has to stay in ours.
            start_new_session=not job.passes_stdin,
        )
    except OSError as error:
        why = "executable file not found in $PATH"
        if not isinstance(error, FileNotFoundError):
            why = (error.strerror or str(error)).lower()
        text = f'Error starting handler: exec: "{job.child[0]}": {why}'
        say(text, err=True)
        return True
    waits = [asyncio.create_task(each) for each in (child.wait(), held.lost.wait(), ended.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits[1:]:
            each.cancel()
    if child.returncode is None:
        why = "Lock lost" if held.lost.is_set() else "Shutdown triggered"
        job.say(f"{why}, killing child")
        await _end_child(job, child)
    job.say("Child terminated, releasing lock")
    await waits[0]
    status = child.returncode
    if status == 0:
        return False
    assert status is not None
    how = f"exit status {status}"
    if status < 0:
        how = f"signal: {(signal.strsignal(-status) or str(-status)).lower()}"
    say(f"Error running handler: {how}", err=True)
    return True


async def _end_child(job: _Job, child: Process) -> None:
    """End a child, and what it has started unless that shares our terminal."""

    def send(number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if job.passes_stdin:
                child.send_signal(number)
            else:
                os.killpg(child.pid, number)

    job.say(f"Terminating child pid {child.pid}")
    send(signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            await child.wait()
    if child.returncode is None:
        job.say(f"Child {child.pid} does not end: killing it")
    # Also when the child itself is gone: one that it started may have ignored the request.
    send(signal.SIGKILL)
    await child.wait()
