"""Real programs as children of a test: agents of ours, and counterparts."""

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERF_STATUS = {1: "alive", 2: "leaving", 3: "left", 4: "failed"}

PATIENCE_S = 60.0
"""How long anything may take on a busy machine; only what never comes is waited for so long."""


def require_program(name: str) -> str:
    """The path of a program, or a skip that says what to install."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def wait_until(
    condition: Callable[[], object],
    *,
    what: str | Callable[[], str],
    within_s: float = PATIENCE_S,
    every_s: float = 0.05,
) -> float:
    """Poll until `condition` is truthy; seconds it took, or a failure that says `what`.

    A condition that raises OSError, as every refusal of an agent is, does not hold yet.
    """
    start = time.monotonic()
    while True:
        error: OSError | None = None
        try:
            if condition():
                return time.monotonic() - start
        except OSError as caught:
            error = caught
        if time.monotonic() - start > within_s:
            said = what if isinstance(what, str) else what()
            pytest.fail(f"not within {within_s:.0f} s: {said}{f' ({error})' if error else ''}")
        time.sleep(every_s)


def fetch(request: urllib.request.Request | str, *, timeout_s: float = PATIENCE_S) -> bytes:
    """The body of an answer.

    Raises:
        urllib.error.HTTPError: It is no success. The body can be read; the connection is closed.
    """
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
        raise urllib.error.HTTPError(
            error.url, error.code, error.reason, error.headers, io.BytesIO(body)
        ) from None


class Child:
    """A process with its output in a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> int:
        """Ask it to leave; its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=PATIENCE_S)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)


class Svcmesh(Child):
    """One agent of ours, all ports at their defaults on an address of its own."""

    def __init__(self, name: str, address: str, folder: Path, *flags: str) -> None:
        self.name, self.address, self.folder = name, address, folder
        super().__init__(
            [
                *(sys.executable, "-m", "cli", "agent"),
                *("-node", name, "-bind", address, "-client", address),
                *("-data-dir", str(folder / name), *flags),
            ],
            folder / f"{name}.log",
        )

    def http(self, path: str, *, method: str = "GET", body: object = None) -> Any:  # noqa: ANN401  # JSON
        request = urllib.request.Request(
            f"http://{self.address}:8500{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        content = fetch(request)
        return json.loads(content) if content.strip() else None

    def statuses(self) -> dict[str, str]:
        """Status by member name; empty while there is no answer."""
        with contextlib.suppress(OSError):
            return {
                member["Name"]: SERF_STATUS[member["Status"]]
                for member in self.http("/v1/agent/members")
            }
        return {}

    def register(self, **definition: object) -> None:
        self.http("/v1/agent/service/register", method="PUT", body=definition)

    def wait_until_kept(self, member: str, *, pool: str = "peers") -> None:
        """Until its disk knows a member, which it will look for after a restart."""
        file = self.folder / self.name / "serf" / f"{pool}.json"
        wait_until(lambda: f'"{member}"' in file.read_text(), what=f"{member} in {file}")

    def wait_until_up(self) -> None:
        def is_up() -> bool:
            assert self.process.poll() is None, self.output()
            return bool(self.statuses())

        wait_until(is_up, what=lambda: f"{self.name} answers HTTP\n{self.output()}")


class Serf(Child):
    """One `serf agent`."""

    def __init__(self, name: str, address: str, folder: Path, *flags: str) -> None:
        self.name, self.address = name, address
        self.rpc = f"-rpc-addr={address}:7373"
        super().__init__(
            ["serf", "agent", f"-node={name}", f"-bind={address}:8301", self.rpc, *flags],
            folder / f"{name}.log",
        )

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            ["serf", arguments[0], self.rpc, *arguments[1:]],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.stdout

    def statuses(self) -> dict[str, str]:
        with contextlib.suppress(ValueError):
            members = json.loads(self.command("members", "-format=json"))["members"]
            return {member["name"]: member["status"] for member in members}
        return {}

    def wait_until_up(self) -> None:
        wait_until(self.statuses, what=lambda: f"{self.name} answers\n{self.output()}")


@contextlib.contextmanager
def ended_afterwards(*children: Child) -> Iterator[None]:
    """Kill whatever of `children` still runs at the end."""
    try:
        yield
    finally:
        for child in children:
            if child.process.poll() is None:
                child.kill()
