"""Agents on disks that fail: full, read-only, somebody else's; and processes that are killed."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from random import Random

import pytest

from tests.interop.processes import (
    PATIENCE_S,
    Svcmesh,
    ended_afterwards,
    require_program,
    wait_until,
)

pytestmark = pytest.mark.interop

KILL_ROUNDS = 8


@contextlib.contextmanager
def small_disk(path: Path, *options: str) -> Iterator[Path]:
    """A file system of 256 KiB; only root can have one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(["size=256k", *options]), "tmpfs", str(path)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> Path:
    """A file that takes all the room there is."""
    filler = path / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def start_and_wait(address: str, data_dir: Path, *, as_user: str = "") -> tuple[int, str]:
    """Start an agent that should refuse; its exit code and what it says."""
    command = [
        *(["setpriv", f"--reuid={as_user}", "--clear-groups"] if as_user else []),
        *(sys.executable, "-m", "cli", "agent", "-node", "n1", "-bind", address),
        *("-client", address, "-data-dir", str(data_dir)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stderr.strip()


def refusal(agent: Svcmesh, name: str) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        # More than what is left of the journal's last page.
        agent.register(Name=name, Meta={f"k{number}": "x" * 500 for number in range(20)})
    with caught.value as answer:
        return answer.code, answer.read().decode()


def services(agent: Svcmesh) -> set[str]:
    return set(agent.http("/v1/agent/services"))


def test_an_agent_goes_on_with_a_full_disk_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        data_dir = ("-data-dir", str(disk / "n1"))
        agent = Svcmesh("n1", "127.0.0.31", tmp_path, *data_dir)
        with ended_afterwards(agent):
            agent.wait_until_up()
            agent.register(Name="before")
            filler = fill(disk)
            status, text = refusal(agent, "refused")
            assert status == 500
            assert f"{disk / 'n1'}: No space left on device" in text
            assert services(agent) == {"before"}, "what was refused is not there either"
            time.sleep(2)
            assert agent.http("/v1/status/peers") is not None, "it goes on"
            filler.unlink()
            wait_until(lambda: agent.register(Name="after") is None, what="recovered")
            agent.kill()
            again = Svcmesh("n1", "127.0.0.31", tmp_path, *data_dir)
            with ended_afterwards(again):
                again.wait_until_up()
                assert services(again) == {"before", "after"}


def test_a_read_only_folder_is_refused_by_name(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        status, text = start_and_wait("127.0.0.31", disk / "n1")
        assert (status, text) == (
            1, f"==> Error starting agent: data_dir {disk / 'n1'}: Read-only file system",
        )  # fmt: skip


def test_a_folder_of_somebody_else_is_refused_by_name(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    nobody = [require_program("setpriv"), "--reuid=65534", "--clear-groups"]
    if subprocess.run(
        [*nobody, sys.executable, "-c", "import cli"], capture_output=True
    ).returncode:
        pytest.skip("nobody may not read this program")
    folder = Path("/tmp") / f"svcmesh-of-root-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        status, text = start_and_wait("127.0.0.31", folder / "n1", as_user="65534")
    finally:
        folder.rmdir()
    assert status == 1
    assert f"data_dir {folder / 'n1'}: Permission denied" in text


def test_a_second_agent_is_told_who_has_the_folder(tmp_path: Path) -> None:
    agent = Svcmesh("n1", "127.0.0.31", tmp_path)
    with ended_afterwards(agent):
        agent.wait_until_up()
        status, text = start_and_wait("127.0.0.32", tmp_path / "n1")
        assert status == 1
        assert f"in use by another agent (process {agent.process.pid})" in text


def test_what_was_acknowledged_survives_kills_at_any_instant(tmp_path: Path) -> None:
    """Registers and deregisters until it is killed, several times; seed 1."""
    rng = Random(1)
    acknowledged: dict[str, int] = {}
    doubtful: set[str] = set()
    identities = set()
    for number in range(KILL_ROUNDS):
        agent = Svcmesh("n1", "127.0.0.31", tmp_path)
        with ended_afterwards(agent):
            agent.wait_until_up()
            about = agent.http("/v1/agent/self")
            identities.add(about["Config"]["NodeID"])
            found = {
                name: entry["Port"] for name, entry in agent.http("/v1/agent/services").items()
            }
            for name in found.keys() ^ acknowledged.keys():
                assert name in doubtful, (number, name)
            for name in found.keys() & acknowledged.keys():
                assert found[name] == acknowledged[name] or name in doubtful, (number, name)
            acknowledged, doubtful = found, set()
            end = time.monotonic() + rng.uniform(0.05, 0.6)
            while time.monotonic() < end:
                name, port = f"s{rng.randrange(20)}", rng.randrange(1, 1000)
                doubtful = {name}
                if rng.random() < 0.3 and name in acknowledged:
                    agent.http(f"/v1/agent/service/deregister/{name}", method="PUT")
                    del acknowledged[name]
                else:
                    agent.register(Name=name, Port=port)
                    acknowledged[name] = port
                doubtful = set()
            _kill_while_registering(agent, rng, acknowledged, doubtful)
    assert len(identities) == 1
    assert not list((tmp_path / "n1").rglob("*.corrupt"))


def _kill_while_registering(
    agent: Svcmesh, rng: Random, acknowledged: dict[str, int], doubtful: set[str]
) -> None:
    """Kill the process while a thread of its own has a request under way."""
    timer = threading.Timer(rng.uniform(0, 0.03), agent.process.kill)
    timer.start()
    with contextlib.suppress(OSError, HTTPException, json.JSONDecodeError):
        while True:
            name, port = f"s{rng.randrange(20)}", rng.randrange(1, 1000)
            doubtful.clear()
            doubtful.add(name)
            agent.register(Name=name, Port=port)
            acknowledged[name] = port
    timer.join()
    agent.process.wait()
