"""Real programs as children of a test: agents of ours, and counterparts."""

import contextlib
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


def require_program(name: str) -> str:
    """The path of a program, or a skip that says what to install."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def wait_until(
    condition: Callable[[], object], *, within_s: float, what: str, every_s: float = 0.05
) -> float:
    """Poll until `condition` is truthy; seconds it took, or a failure that says `what`."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > within_s:
            pytest.fail(f"not within {within_s:.0f} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - start


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
        return self.process.wait(timeout=20)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


class Svcmesh(Child):
    """One agent of ours, all ports at their defaults on an address of its own."""

    def __init__(self, name: str, address: str, folder: Path, *flags: str) -> None:
        self.name, self.address = name, address
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
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if content.strip() else None

    def statuses(self) -> dict[str, str]:
        """Status by member name; empty while there is no answer."""
        with contextlib.suppress(urllib.error.URLError, OSError):
            return {
                member["Name"]: SERF_STATUS[member["Status"]]
                for member in self.http("/v1/agent/members")
            }
        return {}

    def register(self, **definition: object) -> None:
        self.http("/v1/agent/service/register", method="PUT", body=definition)

    def wait_until_up(self) -> None:
        def is_up() -> bool:
            assert self.process.poll() is None, self.output()
            return bool(self.statuses())

        wait_until(is_up, within_s=30, what=f"{self.name} answers HTTP\n{self.output()}")


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
            timeout=30,
        )
        return done.stdout

    def statuses(self) -> dict[str, str]:
        with contextlib.suppress(ValueError):
            members = json.loads(self.command("members", "-format=json"))["members"]
            return {member["name"]: member["status"] for member in members}
        return {}

    def wait_until_up(self) -> None:
        wait_until(self.statuses, within_s=30, what=f"{self.name} answers\n{self.output()}")


@contextlib.contextmanager
def ended_afterwards(*children: Child) -> Iterator[None]:
    """Kill whatever of `children` still runs at the end."""
    try:
        yield
    finally:
        for child in children:
            if child.process.poll() is None:
                child.kill()
