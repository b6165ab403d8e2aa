"""Texts are those of Consul 1.8.7's command, where it has the same."""

import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.client import Client
from cli.debugging import Capture
from svcmesh.agentaccess import agent_access
from tests.cli.conftest import Run, StubApi

ABOUT = {"Config": {"Version": "9.9.9"}}


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("extra",), "==> debug: Too many arguments provided, expected 0"),
        (("-duration=1s",), "==> Capture validation failed: duration must be longer than 10s"),
        (("-interval=1s",), "==> Capture validation failed: interval must be longer than 5s"),
        (
            ("-duration=10s", "-interval=11s"),
            "==> Capture validation failed: duration (10s) must be longer than interval (11s)",
        ),
        (("-capture=bogus",), "==> Capture validation failed: target not found: bogus"),
        (("-capture=pprof",), "==> Capture validation failed: pprof: profiles of Go programs;"),
        (
            ("-http-addr=127.0.0.1:1",),
            "==> Capture validation failed: error querying target agent: Get "
            '"http://127.0.0.1:1/v1/agent/self": dial tcp 127.0.0.1:1: connect: connection '
            "refused. verify connectivity and agent address",
        ),
    ],
)
def test_what_cannot_be_captured_is_said_before_anything_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("debug", *args)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(text)
    assert list(tmp_path.iterdir()) == []


def test_a_duration_that_is_none_is_a_wrong_flag(run: Run) -> None:
    result = run("debug", "-duration=foo")
    assert result.err.startswith('invalid value "foo" for flag -duration: parse error\n\nUsage: ')


@pytest.mark.parametrize("taken", ["here", "here.tar.gz"])
def test_what_is_there_already_is_not_overwritten(
    run: Run, api: StubApi, tmp_path: Path, taken: str
) -> None:
    api.answer("/v1/agent/self", ABOUT)
    (tmp_path / taken).mkdir()
    result = run("debug", f"-output={tmp_path / 'here'}")
    assert result.status == 1
    assert f"already exists: {tmp_path / taken}" in result.err


def test_the_archive_holds_what_was_captured_and_replaces_the_folder(
    run: Run, api: StubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answer("/v1/agent/self", ABOUT)
    api.answer("/v1/agent/members", [{"Name": "n1"}])
    api.answer("/v1/agent/metrics", {"Gauges": []})
    monkeypatch.setattr("cli.debugging.DURATION_S_MIN", 0)
    monkeypatch.setattr("cli.debugging.INTERVAL_S_MIN", 0)
    out = tmp_path / "out"
    result = run(
        "debug", f"-output={out}", "-duration=150ms", "-interval=100ms",
        "-capture=agent", "-capture=cluster", "-capture=metrics",
    )  # fmt: skip
    assert (result.status, result.err) == (0, "")
    assert "    Saved debug archive: " + f"{out}.tar.gz\n" in result.out
    assert "Capture: 'agent, cluster, metrics'" in result.out
    with tarfile.open(f"{out}.tar.gz") as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("out/index.json"))  # type: ignore[arg-type]  # a file
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar.gz"]
    assert {"out/agent.json", "out/cluster.json"} < set(names)
    assert any(name.endswith("/metrics.json") for name in names)
    assert (index["AgentVersion"], index["Interval"]) == ("9.9.9", "100ms")


def test_what_the_agent_refuses_is_told_and_the_rest_is_captured(
    api: StubApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answer("/v1/agent/members", [])
    capture = Capture(Client(agent_access(api.address)), tmp_path, ("host", "cluster", "logs"))
    capture.write_static(ABOUT, interval_s=1, duration_s=1)
    capture.run(duration_s=0.05, interval_s=1)
    assert (tmp_path / "cluster.json").exists()
    assert not (tmp_path / "host.json").exists()
    err = capsys.readouterr().err
    assert "Error capturing host: Unexpected response code: 404 (404)\n" in err
    assert "Error capturing logs: Unexpected response code: 404 (404)\n" in err


def test_the_log_is_kept_even_when_it_falls_silent(tmp_path: Path) -> None:
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"one line\n")
            self.wfile.flush()
            is_over.wait(10)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        client = Client(agent_access(f"127.0.0.1:{server.server_port}"))
        # The line may come late on a busy machine: then a longer capture has it.
        for number, duration_s in enumerate((0.3, 3.0, 30.0)):
            folder = tmp_path / str(number)
            folder.mkdir()
            Capture(client, folder, ("logs",)).run(duration_s=duration_s, interval_s=5)
            found = [log.read_text() for log in folder.glob("*/svcmesh.log")]
            if found == ["one line\n"]:
                break
    finally:
        is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()
    assert found == ["one line\n"]
