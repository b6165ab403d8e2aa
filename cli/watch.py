"""`svcmesh watch`: the current state of something, once, or a program for every change of it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Final, NoReturn

import click

from cli.client import (
    Client,
    Json,
    NotBuiltError,
    agent_itself,
    client_flags,
    client_from_flags,
    read_flags,
    read_query,
)
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, flag
from cli.printing import say
from cli.tables import compact_json, pretty_json
from cli.watchtypes import Parameters, Question, events_after, question
from svcmesh.goformats import duration_string, parse_bool

RETRY_S: Final = 5.0
RETRY_S_MAX: Final = 180.0
"""Pauses grow with the square of the failures, as Consul's do."""

POLL_S: Final = 1.0

_PARAMETERS: Final = ("key", "prefix", "service", "tag", "passingonly", "state", "name")

Sleep = Callable[[float], None]


@click.command("watch", cls=GoCommand, arguments="[child...]")
@client_flags
@read_flags
@flag("type", help="What to watch: services, service, nodes, checks, event, key or keyprefix.")
@flag("service", help="Name of the service. For `service`; optional for `checks`.")
@flag("tag", kind="list", help="Only instances with this tag. For `service`. Can be repeated.")
@flag("passingonly", metavar="true|false", help="Only instances that pass. For `service`.")
@flag("state", help="Only checks in this state. For `checks`.")
@flag("name", help="Only events of this name. For `event`.")
@flag("key", help="For `key`.")
@flag("prefix", help="For `keyprefix`.")
@flag(
    "shell",
    kind="bool",
    help="Run the child by the shell of the environment variable SHELL. Default: true.",
)
def watch(
    args: tuple[str, ...], type: str | None, shell: bool | None, **flags: str | tuple[str, ...]
) -> int:
    """Print something as JSON, or run a program whenever it changes.

    Without a child, the current result is printed and the command ends. With one, the child is
    started for every new result, which it gets as one line of JSON on its standard input, with the
    index in the environment variable CONSUL_INDEX; when a child fails, so does the command.
    """
    if not type:
        raise FlagError("Watch type must be specified")
    asked = question(type, _parameters(flags))
    client = client_from_flags(flags)
    agent_itself(client)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    handle = _Child(args, by_shell=shell is not False) if args else _print
    follow(client, asked, read_query(flags), handle, kind=type, sleep=time.sleep)
    return 0


def follow(
    client: Client,
    asked: Question,
    base: Sequence[tuple[str, str]],
    handle: "Callable[[Json, int], bool]",
    *,
    kind: str,
    sleep: Sleep,
) -> None:
    """Hand every new result to `handle`, until that returns false.

    What fails is asked again after a pause; the failure goes to standard error.
    """
    index, failures = 0, 0
    last: Json = None
    is_first = True
    while True:
        try:
            result, new_index = asked.ask(client, base, index)
        except NotBuiltError as error:
            raise CommandError(f"Watch errored: {error}") from None
        except ApiError as error:
            failures += 1
            pause_s = min(RETRY_S * failures**2, RETRY_S_MAX)
            _log_failure(kind, error, pause_s)
            sleep(pause_s)
            # The agent may be another run, whose indexes say nothing about ours.
            index = 0
            continue
        failures = 0
        if asked.is_event:
            result = events_after(result, index)
        # An index that went back is of another run: begin anew.
        index, old_index = (0 if new_index < index else new_index), index
        if is_first or (new_index != old_index and result != last):
            is_first, last = False, result
            if not handle(result, new_index):
                return
        if not index:
            # Without an index, nothing holds the next question back.
            sleep(POLL_S)


class _Child:
    """Runs a program for each result."""

    def __init__(self, args: Sequence[str], *, by_shell: bool) -> None:
        self._command = list(args)
        if by_shell:
            self._command = [os.environ.get("SHELL") or "/bin/sh", "-c", " ".join(args)]

    def __call__(self, result: Json, index: int) -> bool:
        environment = {**os.environ, "CONSUL_INDEX": str(index)}
        try:
            # What the user asks for, by shell unless told otherwise.
            child = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environment)  # noqa: S603
        except OSError as error:
            why = "executable file not found in $PATH"
            if not isinstance(error, FileNotFoundError):
                why = (error.strerror or str(error)).lower()
            raise CommandError(
                f'Error starting handler: exec: "{self._command[0]}": {why}'
            ) from None
        child.communicate(f"{compact_json(result)}\n".encode())
        if child.returncode < 0:
            name = signal.strsignal(-child.returncode) or str(-child.returncode)
            raise CommandError(f"Error executing handler: signal: {name.lower()}")
        if child.returncode:
            raise CommandError(f"Error executing handler: exit status {child.returncode}")
        return True


def _print(result: Json, index: int) -> bool:
    say(pretty_json(result))
    return False


def _parameters(flags: dict[str, str | tuple[str, ...]]) -> Parameters:
    given: dict[str, str | bool | tuple[str, ...]] = {
        name: value for name in _PARAMETERS if (value := flags.get(name))
    }
    if "passingonly" in given:
        try:
            given["passingonly"] = parse_bool(str(given["passingonly"]))
        except ValueError as error:
            raise CommandError(f"Failed to parse passingonly flag: {error}") from None
    return Parameters(given)


def _log_failure(kind: str, error: ApiError, pause_s: float) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    say(
        f'{now}Z [ERROR] watch.watch: Watch errored: type={kind} error="{error}" '
        f"retry={duration_string(pause_s)}",
        err=True,
    )


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Ending it is how a watch with a child is meant to end: no failure."""
    # Not by an exception: one that is raised while some object is freed goes no further.
    os._exit(0)
