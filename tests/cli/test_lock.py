"""Texts and exit codes are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.svcmesh.client.fakes import DEADLINE_S, AgentThread

HELD = "lk/test/.lock"


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentThread]:
    subject = AgentThread()
    monkeypatch.setenv("SVCMESH_HTTP_ADDR", subject.fake.address)
    monkeypatch.setenv("SHELL", "/bin/sh")
    try:
        yield subject
        assert subject.fake.sessions == {}
    finally:
        subject.stop()
        subject.end()


def until(condition: Callable[[], object]) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def started(*args: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "lock", *args], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "Key prefix and child command must be specified"),
        (("lk/test",), "Key prefix and child command must be specified"),
        (("-n=0", "lk/test", "true"), "Lock holder limit must be positive"),
    ],
)
def test_what_is_missing_is_said(run: Run, args: tuple[str, ...], text: str) -> None:
    result = run("lock", *args)
    assert (result.status, result.out, result.err) == (1, "", f"{text}\n")


@pytest.mark.parametrize(
    ("args", "status"),
    [(("lk/test", "exit 3"), 0), (("-child-exit-code", "lk/test", "exit 3"), 2)],
)
def test_a_child_that_fails_is_reported(
    agent: AgentThread, run: Run, args: tuple[str, ...], status: int
) -> None:
    result = run("lock", f"-http-addr={agent.fake.address}", *args)
    assert (result.status, result.err) == (status, "Error running handler: exit status 3\n")


@pytest.mark.parametrize(
    ("places", "what"),
    [(1, f"lock at path: {HELD}"), (2, "semaphore (limit 2) at prefix: lk/test")],
)
def test_the_child_runs_with_the_lock_and_nothing_stays(
    agent: AgentThread, tmp_path: Path, places: int, what: str
) -> None:
    child = (
        f"echo $CONSUL_LOCK_HELD; touch {tmp_path}/up; cat; "
        f"until [ -e {tmp_path}/go ]; do sleep 0.02; done"
    )
    command = started("-verbose", f"-n={places}", "lk/test", child)
    until((tmp_path / "up").exists)
    assert HELD in agent.fake.keys
    (tmp_path / "go").touch()
    out, err = command.communicate("not for the child\n", timeout=DEADLINE_S)
    assert (command.returncode, err) == (0, "")
    assert out.splitlines() == [
        f"Setting up {what}",
        "Attempting lock acquisition",
        "Starting handler",
        "true",
        "Child terminated, releasing lock",
        "Cleanup succeeded",
    ]
    assert agent.fake.keys == {}


def test_standard_input_is_passed_when_asked_for(agent: AgentThread) -> None:
    command = started("-pass-stdin", "lk/test", "cat")
    assert command.communicate("for the child", timeout=DEADLINE_S) == ("for the child", "")


def test_a_lock_that_is_held_is_waited_for_no_longer_than_asked(
    agent: AgentThread, run: Run
) -> None:
    async def hold() -> None:
        agent.fake.write(HELD, flags=3304740253564472344, session="another")

    agent.do(hold)
    for name in ("timeout", "try"):
        address = f"-http-addr={agent.fake.address}"
        result = run("lock", address, f"-{name}=100ms", "lk/test", "echo late")
        text = "Shutdown triggered or timeout during lock acquisition\n"
        assert (result.status, result.out, result.err) == (1, "", text)


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_lost_lock_ends_the_child_and_what_it_started(
    agent: AgentThread, tmp_path: Path, is_deaf: bool
) -> None:
    trap = "trap '' TERM; " if is_deaf else ""
    inner = f"{trap}echo $$ > {tmp_path}/pid; while true; do sleep 0.1; done"
    (tmp_path / "inner").write_text(inner)
    command = started("lk/test", f"{trap}/bin/sh {tmp_path}/inner & wait; sleep 60")
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())

    async def end() -> None:
        agent.fake.end_session(*agent.fake.sessions)

    agent.do(end)
    _, err = command.communicate(timeout=DEADLINE_S)
    assert command.returncode == 1
    assert err.endswith("Lock lost\n")
    pid = int((tmp_path / "pid").read_text())
    # Somebody else's child by now: gone, or about to be collected.
    until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_interrupted_command_ends_its_child_and_releases(
    agent: AgentThread, tmp_path: Path
) -> None:
    command = started("lk/test", f"touch {tmp_path}/up; exec sleep 60")
    until((tmp_path / "up").exists)
    os.kill(command.pid, signal.SIGTERM)
    command.communicate(timeout=DEADLINE_S)
    assert agent.fake.keys == {}
