"""An agent's process: what it prints, its signals, its exit codes. One agent, no counterpart."""

import signal
from pathlib import Path

import pytest

from tests.interop.processes import PATIENCE_S, Svcmesh, ended_afterwards

pytestmark = pytest.mark.interop


def test_it_opens_with_what_it_is_and_where_it_listens(tmp_path: Path) -> None:
    agent = Svcmesh("n1", "127.0.24.2", tmp_path, "-encrypt=AAECAwQFBgcICQoLDA0ODw==")
    with ended_afterwards(agent):
        agent.wait_until_up()
        node_id = agent.http("/v1/agent/self")["Config"]["NodeID"]
        opening = agent.output().partition("==> Log data")[0]
    rows = dict(line.strip().split(": ", 1) for line in opening.splitlines() if ": " in line)
    assert rows["Node ID"] == f"'{node_id}'"
    assert rows["Node name"] == "'n1'"
    assert rows["Datacenter"] == "'dc1'"
    assert rows["Server"] == "false (Bootstrap: false)"
    assert rows["Client Addr"] == "[127.0.24.2] (HTTP: 8500, DNS: 8600)"
    assert rows["Cluster Addr"] == "127.0.24.2 (LAN: 8301)"
    assert rows["Encrypt"] == "Gossip: true"


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ((), "cannot listen on 127.0.25.2:8301 (tcp): Address already in use"),
        (("-bind", "127.0.25.3"), "cannot listen for DNS on udp 127.0.25.2:8600"),
        (("-bind", "127.0.25.3", "-dns-port=-1"), "127.0.25.2"),
    ],
    ids=["gossip", "dns", "http"],
)
def test_an_address_in_use_is_one_clear_line(
    tmp_path: Path, flags: tuple[str, ...], complaint: str
) -> None:
    first = Svcmesh("n1", "127.0.25.2", tmp_path)
    with ended_afterwards(first):
        first.wait_until_up()
        second = Svcmesh("n2", "127.0.25.2", tmp_path, *flags)
        with ended_afterwards(second):
            assert second.process.wait(timeout=PATIENCE_S) == 1
            last = second.output().splitlines()[-1]
            assert last.startswith("==> Error starting agent: ")
            assert complaint in last
            assert "Traceback" not in second.output()


def test_joining_nobody_ends_it_with_the_reason(tmp_path: Path) -> None:
    agent = Svcmesh("n1", "127.0.26.2", tmp_path, "-join", "127.0.26.77")
    with ended_afterwards(agent):
        assert agent.process.wait(timeout=PATIENCE_S) == 1
        assert "joining failed: 127.0.26.77: " in agent.output()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    agent = Svcmesh("n1", "127.0.27.2", tmp_path)
    with ended_afterwards(agent):
        agent.wait_until_up()
        # Either begins to leave, which takes a second; two of the same kind might count as one.
        agent.process.send_signal(signal.SIGINT)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(timeout=PATIENCE_S) == 1
        assert "leaving the cluster" in agent.output()
        assert "Graceful leave complete" not in agent.output()


def test_a_service_survives_kill_and_an_unfinished_line_behind_it(tmp_path: Path) -> None:
    agent = Svcmesh("n1", "127.0.28.2", tmp_path)
    with ended_afterwards(agent):
        agent.wait_until_up()
        agent.register(Name="web", Port=80)
        agent.kill()
    journal = tmp_path / "n1" / "registrations.journal"
    journal.write_bytes(journal.read_bytes() + b'0badc0de services/x {"name": "ha')
    again = Svcmesh("n1", "127.0.28.2", tmp_path)
    with ended_afterwards(again):
        again.wait_until_up()
        assert list(again.http("/v1/agent/services")) == ["web"]
        assert "an unfinished last line was cut off" in again.output()
