"""The command line as a whole: finding commands, flags as Go takes them, help, starting fast."""

import base64
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, StubApi

NO_SUCH_AGENT = "-http-addr=127.0.0.1:1"
SLOW_TO_IMPORT = (
    "asyncio", "aiohttp", "cryptography", "dnslib", "dnsserver", "gossip", "msgpack", "orjson",
    "rich", "svcmesh.catalog", "svcmesh.config",
)  # fmt: skip


@pytest.mark.parametrize("args", [(), ("bogus",), ("help",), ("-bogus",)])
def test_without_a_known_command_usage_goes_to_stderr_and_the_status_is_127(
    run: Run, args: tuple[str, ...]
) -> None:
    result = run(*args)
    assert (result.status, result.out) == (127, "")
    assert result.err.startswith("Usage: svcmesh [--version] [--help] <command> [<args>]")
    assert re.search(r"^ {4}members +List the members", result.err, re.MULTILINE)


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
@pytest.mark.parametrize("command", [(), ("members",), ("catalog",), ("catalog", "nodes")])
def test_help_goes_to_stdout_and_is_a_success(
    run: Run, command: tuple[str, ...], flag: str
) -> None:
    result = run(*command, flag)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(" ".join(["Usage: svcmesh", *command]))


def test_help_of_the_agent_has_every_setting_with_a_flag(run: Run) -> None:
    out = run("agent", "-help").out
    for flag in ("-retry-join=<value>", "-server\n", "-http-port=<int>", "-config-dir=<path>"):
        assert f"  {flag}" in out
    assert "Port of the HTTP API; -1 turns it off. Default: 8500" in " ".join(out.split())


@pytest.mark.parametrize("args", [("catalog",), ("catalog", "bogus"), ("services",)])
def test_a_group_without_a_known_subcommand_is_an_error(run: Run, args: tuple[str, ...]) -> None:
    result = run(*args)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"Usage: svcmesh {args[0]} <subcommand> [options] [args]")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("-bogus",), "flag provided but not defined: -bogus"),
        (("--bogus=1",), "flag provided but not defined: -bogus"),
        (("-status",), "flag needs an argument: -status"),
        (("-detailed=x",), 'invalid boolean value "x" for -detailed: parse error'),
    ],
)
def test_a_wrong_flag_is_named_with_the_usage_after_it(
    run: Run, args: tuple[str, ...], text: str
) -> None:
    result = run("members", *args)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"{text}\n")
    assert "Usage: svcmesh members [options]" in result.err


def test_a_wrong_number_is_named(run: Run) -> None:
    result = run("services", "register", "-name=x", "-port=abc")
    assert result.err.startswith('invalid value "abc" for flag -port: parse error\n')


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (("-wan",), "/v1/agent/members?segment=_all&wan=1"),
        (("--wan=true",), "/v1/agent/members?segment=_all&wan=1"),
        (("-wan=false",), "/v1/agent/members?segment=_all"),
        (("-wan", "-wan=0"), "/v1/agent/members?segment=_all"),
        (("-segment", "x"), "/v1/agent/members?segment=x"),
        (("--segment=a=b",), "/v1/agent/members?segment=a%3Db"),
        (("-segment", "-wan"), "/v1/agent/members?segment=-wan"),
        (("extra", "-wan"), "/v1/agent/members?segment=_all"),
        (("--", "-wan"), "/v1/agent/members?segment=_all"),
    ],
)
def test_flags_are_taken_as_go_takes_them(
    run: Run, api: StubApi, args: tuple[str, ...], path: str
) -> None:
    api.answer("/v1/agent/members", [])
    run("members", *args)
    assert [request.path for request in api.requests] == [path]


@pytest.mark.parametrize("args", [("version",), ("-v",), ("--version",), ("version", "x")])
def test_the_version_and_the_protocol_are_printed(run: Run, args: tuple[str, ...]) -> None:
    result = run(*args)
    first, second = result.out.splitlines()
    assert (result.status, first) == (0, "svcmesh v0.1.0")
    assert second.startswith("Protocol 2 spoken by default, understands 2 to 3")


def test_keygen_prints_32_random_bytes_in_base64(run: Run) -> None:
    keys = {run("keygen").out.strip(), run("keygen", "extra").out.strip()}
    assert len(keys) == 2
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {32}


@pytest.mark.parametrize(
    "args", [["members", NO_SUCH_AGENT], ["info", NO_SUCH_AGENT], ["version"], ["keygen"]]
)
def test_a_command_imports_nothing_that_is_slow_to_import(args: list[str]) -> None:
    check = (
        "import sys; from cli.main import main; main(sys.argv[2:]);"
        "print(sorted(set(sys.argv[1].split()) & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", check, " ".join(SLOW_TO_IMPORT), *args],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert found.stderr.splitlines()[-1] == "[]"


def cpu_s(*args: str) -> float:
    """What Python takes at best; of this child alone, and not of who else keeps us busy."""
    took_s = []
    for _ in range(5):
        command = subprocess.Popen(
            [sys.executable, *args], stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
        )
        _, status, usage = os.wait4(command.pid, 0)
        command.returncode = os.waitstatus_to_exitcode(status)
        took_s.append(usage.ru_utime + usage.ru_stime)
    return min(took_s)


def test_a_command_costs_a_few_times_the_cpu_time_of_an_empty_program() -> None:
    assert cpu_s("-m", "cli", "members", NO_SUCH_AGENT) < 8 * cpu_s("-c", "pass")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    ended = subprocess.run(
        f"{sys.executable} -m cli agent -help | true",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert ended.stderr == ""


def test_the_version_is_there_for_programs_too(run: Run) -> None:
    assert json.loads(run("version", "-format=json").out) == {
        "Version": "0.1.0",
        "Revision": "",
        "Prerelease": "",
        "RPC": {"Default": 2, "Min": 2, "Max": 3},
    }
    result = run("version", "-format=foo")
    assert (result.status, result.err) == (1, "Unknown format: foo\n")


@pytest.mark.parametrize(
    ("args", "late"),
    [
        (("why", "n1", "-http-addr=127.0.0.1:1"), "-http-addr=127.0.0.1:1"),
        (("kv", "put", "key", "value", "--flags", "1"), "--flags"),
    ],
)
def test_a_flag_after_the_arguments_is_pointed_at(
    run: Run, args: tuple[str, ...], late: str
) -> None:
    result = run(*args)
    assert result.status == 1
    last = result.err.splitlines()[-1]
    assert last == f"({late} was taken for an argument: flags come before arguments)"


def test_an_error_without_such_a_flag_has_no_word_of_it(run: Run) -> None:
    assert "flags come before" not in run("why", "n1", "-nosuchflag").err


def test_what_others_have_named_things_cannot_steer_a_terminal(
    run: Run, api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answer("/v1/catalog/services", {"evil\x1b[2J\x9b31m": []})
    assert run("catalog", "services").out == "evil\x1b[2J\x9b31m\n", "a program gets it as it is"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "evil?[2J?31m\n" in run("catalog", "services").out


def test_a_terminal_gets_colours_and_a_pipe_plain_columns(api: StubApi) -> None:
    member = {"Name": "n1", "Addr": "::1", "Port": 8301, "Status": 1, "Tags": {"role": "node"}}
    api.answer("/v1/agent/members", [member])
    command = [sys.executable, "-m", "cli", "members", f"-http-addr={api.address}"]
    folder = Path(__file__).parents[2]
    piped = subprocess.run(command, capture_output=True, check=True, cwd=folder)
    assert b"\x1b" not in piped.stdout
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    subprocess.run(command, stdout=theirs, check=True, cwd=folder, env=environment)
    shown = os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    assert b"\x1b[32malive" in shown
    assert b"[::1]:8301" in shown
