import io
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcmesh.config import AgentConfig, load_config
from svcmesh.errors import ConfigError
from svcmesh.runtime import logs
from svcmesh.runtime.logfiles import LogFiles
from svcmesh.runtime.logs import Syslog, set_up_logging


def config(**flags: object) -> AgentConfig:
    return load_config({"dev": True} | {k.replace("_", "-"): v for k, v in flags.items()}, [])


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level


def test_a_line_has_time_level_component_and_message(root_logger: logging.Logger) -> None:
    out = io.StringIO()
    set_up_logging(config(), out)
    logging.getLogger("agent.serf").warning("member %s failed", "n7")
    assert re.fullmatch(
        r"    \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[WARN\]  agent\.serf: member n7 failed\n",
        out.getvalue(),
    )


def test_lines_below_the_level_are_left_out(root_logger: logging.Logger) -> None:
    out = io.StringIO()
    set_up_logging(config(log_level="warn"), out)
    logging.getLogger("agent").info("quiet")
    assert out.getvalue() == ""


def test_control_codes_and_broken_names_of_strangers_are_made_visible(
    root_logger: logging.Logger,
) -> None:
    out = io.StringIO()
    set_up_logging(config(), out)
    logging.getLogger("agent").info("member joined: %s", "n\x1b[2J\n\udcff7")
    assert out.getvalue().endswith("member joined: n?[2J??7\n")


def test_json_lines_have_consuls_keys(root_logger: logging.Logger) -> None:
    out = io.StringIO()
    set_up_logging(config(log_json=True), out)
    logging.getLogger("agent.serf").warning("member %s failed", "n\x1b\udcff7")
    line = json.loads(out.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("@timestamp"))
    assert line == {
        "@level": "warn", "@module": "agent.serf", "@message": "member n\x1b\udcff7 failed",
    }  # fmt: skip


def test_a_log_file_gets_the_lines_that_standard_output_gets(
    root_logger: logging.Logger, tmp_path: Path
) -> None:
    out = io.StringIO()
    set_up_logging(config(log_file=f"{tmp_path}/agent.txt"), out)
    logging.getLogger("agent").info("hello")
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"agent-\d{19}\.txt", path.name)
    assert path.read_text() == out.getvalue() != ""
    assert path.stat().st_mode & 0o007 == 0


def test_a_log_file_that_cannot_be_made_is_refused_by_name(root_logger: logging.Logger) -> None:
    with pytest.raises(ConfigError, match="open /nonexistent/x: No such file"):
        set_up_logging(config(log_file="/nonexistent/x"))


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("agent", logging.INFO, "", 0, message, None, None)


def test_a_full_file_is_followed_by_another_and_old_ones_go(tmp_path: Path) -> None:
    files = LogFiles(f"{tmp_path}/", bytes_max=20, files_max=2)
    (tmp_path / "svcmesh-notes.log").write_text("not ours")
    for number in range(10):
        files.emit(record(f"line {number:4}"))
    files.close()
    kept = sorted(tmp_path.glob("svcmesh-*.log"))
    assert [path.read_text() for path in kept] == [
        "line    4\nline    5\n", "line    6\nline    7\n", "line    8\nline    9\n", "not ours",
    ]  # fmt: skip


@pytest.mark.parametrize(("files_max", "count"), [(0, 5), (-1, 1)])
def test_none_or_all_of_the_old_files_can_be_kept(
    tmp_path: Path, files_max: int, count: int
) -> None:
    files = LogFiles(f"{tmp_path}/a", bytes_max=1, files_max=files_max)
    for _ in range(5):
        files.emit(record("x"))
    files.close()
    assert len(list(tmp_path.iterdir())) == count


def test_a_file_is_followed_by_another_when_it_is_old(tmp_path: Path) -> None:
    files = LogFiles(f"{tmp_path}/a", duration_s=0)
    files.emit(record("x"))
    files.emit(record("y"))
    files.close()
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["x\n", "y\n"]


def test_a_line_that_the_disk_refuses_is_lost_and_the_next_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LogFiles(f"{tmp_path}/a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_: os.dup(full.fileno()))
        with open("/dev/full", "w") as full:
            files.close()
            files.emit(record("lost"))
    files.emit(record("kept"))
    files.close()
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["", "kept\n"]


def test_syslog_gets_the_lines_with_the_facility(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        syslog = Syslog("LOCAL3", path)
        syslog.emit(record("hello"))
        assert daemon.recv(1000) == b"<158>svcmesh: hello"  # 19 * 8 + 6
        for _ in range(10_000):
            syslog.emit(record("x" * 100))  # Nobody reads: it must not wait.
        syslog.close()


def test_a_host_without_syslog_is_told_so(
    root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logs.Syslog, "__init__", _nobody_listens)
    with pytest.raises(ConfigError, match="Failed to setup logging: open /dev/log"):
        set_up_logging(config(syslog=True))


def _nobody_listens(*_: object) -> None:
    raise FileNotFoundError(2, "No such file or directory")
