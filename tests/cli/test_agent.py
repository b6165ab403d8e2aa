"""`svcmesh agent` and `validate`: from the command line to a configuration."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from svcmesh.config import AgentConfig
from tests.cli.conftest import Run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[AgentConfig]:
    """What the process would be run with; it ends at once, with status 7."""
    configs: list[AgentConfig] = []

    def run_process(config: AgentConfig) -> int:
        configs.append(config)
        return 7

    process = ModuleType("svcmesh.process")
    process.__dict__["run"] = run_process
    monkeypatch.setitem(sys.modules, "svcmesh.process", process)
    return configs


def test_every_form_of_flag_reaches_the_agent_and_its_status_comes_back(
    run: Run, started: list[AgentConfig]
) -> None:
    result = run(
        "agent", "-data-dir", "/tmp/x", "-server=true", "--node=n1", "-bind=127.0.0.2",
        "-retry-join", "a", "-retry-join=b", "-http-port", "-1", "-rejoin=false",
        "-node-meta=k:v", "-retry-interval=5s", "-bootstrap-expect", "3",
    )  # fmt: skip
    assert (result.status, result.out, result.err) == (7, "", "")
    (config,) = started
    assert (config.server, config.node_name, config.bind_addr) == (True, "n1", "127.0.0.2")
    assert config.retry_join == ("a", "b")
    assert (config.ports.http, config.rejoin_after_leave, config.bootstrap_expect) == (-1, False, 3)
    assert (config.node_meta, config.retry_interval_s) == ({"k": "v"}, 5.0)


def test_dev_alone_is_enough(run: Run, started: list[AgentConfig]) -> None:
    assert run("agent", "-dev").status == 7
    assert started[0].dev


def test_files_and_folders_count_in_the_order_of_the_command_line(
    run: Run, started: list[AgentConfig], tmp_path: Path
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.json").write_text('{"node_name": "folder", "datacenter": "folder"}')
    (tmp_path / "b.json").write_text('{"node_name": "file"}')
    folder, file = f"-config-dir={tmp_path}/conf", f"-config-file={tmp_path}/b.json"
    run("agent", "-dev", folder, file)
    run("agent", "-dev", file, folder)
    assert [(c.node_name, c.datacenter) for c in started] == [
        ("file", "folder"), ("folder", "folder"),
    ]  # fmt: skip


def test_flags_of_what_is_not_built_are_warned_of_or_refused(
    run: Run, started: list[AgentConfig]
) -> None:
    assert run("agent", "-dev", "-ui", "-raft-protocol", "3").status == 7
    assert [warning.split()[0] for warning in started[0].warnings] == ["-ui", "-raft-protocol"]
    result = run("agent", "-dev", "-segment", "x")
    assert result.status == 1
    assert result.err.startswith("==> -segment: ")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        # Consul's words.
        ((), "==> data_dir cannot be empty"),
        (("-dev", "foo", "bar"), "==> Unexpected extra arguments: [foo bar]"),
        (
            ("-config-file", "nofile.json"),
            "==> config: Open failed on nofile.json. open nofile.json: no such file or directory",
        ),
        (("-dev", "-bootstrap-expect=2"), "==> 'bootstrap_expect > 0' not allowed in dev mode"),
        # Ours.
        (
            ("-dev", "-http-port=x"),
            '==> invalid value "x" for flag -http-port: expected int',
        ),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    run: Run, started: list[AgentConfig], args: tuple[str, ...], text: str
) -> None:
    result = run("agent", *args)
    assert (result.status, result.out, result.err) == (1, "", f"{text}\n")
    assert started == []


def test_an_unknown_flag_is_named_with_the_usage(run: Run, started: list[AgentConfig]) -> None:
    result = run("agent", "-dev", "-bogus")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("flag provided but not defined: -bogus\n\nUsage: svcmesh agent")


# -- validate ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    conf = tmp_path / "conf.d"
    conf.mkdir()
    (conf / "ok.json").write_text('{"data_dir": "/tmp/x", "bind_addr": "127.0.0.5", "ui": true}')
    return tmp_path


def test_a_valid_configuration_is_good_news_unless_quiet(run: Run, folder: Path) -> None:
    result = run("validate", "conf.d")
    assert (result.status, result.out) == (0, "Configuration is valid!\n")
    assert result.err == "conf.d/ok.json: ui is ignored: there is no web page yet\n"
    assert run("validate", "conf.d/ok.json").status == 0
    assert run("validate", "-quiet", "conf.d").out == ""


def test_what_is_wrong_is_told_in_consuls_words(run: Run, folder: Path) -> None:
    (folder / "bad.json").write_text("{")
    (folder / "unk.json").write_text('{"no_such_option": 1}')
    for args, text in (
        ((), "Must specify at least one config file or directory"),
        (
            ("bad.json",),
            "Config validation failed: failed to parse bad.json: unexpected end of JSON input",
        ),
        (
            ("unk.json",),
            "Config validation failed: failed to parse unk.json: 1 error occurred:\n"
            "\t* invalid config key no_such_option",
        ),
        (
            ("none",),
            "Config validation failed: config: Open failed on none. "
            "open none: no such file or directory",
        ),
    ):
        result = run("validate", *args)
        assert (result.status, result.out, result.err) == (1, "", f"{text}\n")
