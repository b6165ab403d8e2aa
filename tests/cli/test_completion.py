"""Completion as a shell asks for it."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run


def completed(
    run: Run, monkeypatch: pytest.MonkeyPatch, line: str, point: int | None = None
) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line) if point is None else point))
    result = run()
    assert (result.status, result.err) == (0, "")
    return result.out.splitlines()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("svcmesh wat", ["watch"]),
        ("svcmesh catalog ", ["datacenters", "nodes", "services"]),
        ("svcmesh catalog n", ["nodes"]),
        ("svcmesh members -st", ["-status"]),
        ("svcmesh members --det", ["--detailed"]),
        ("svcmesh catalog nodes -near=x -serv", ["-service"]),
        ("svcmesh services register ", []),
        ("svcmesh bogus x", []),
        ("svcmesh members -bogus", []),
    ],
)
def test_a_word_is_completed_to_what_may_stand_there(
    run: Run, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]
) -> None:
    assert completed(run, monkeypatch, line) == words


def test_every_command_is_offered_at_the_start(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = completed(run, monkeypatch, "svcmesh ")
    assert {"agent", "members", "watch", "why"} <= set(found)
    assert found == sorted(found)


def test_flags_that_help_does_not_show_are_not_offered(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = completed(run, monkeypatch, "svcmesh agent -")
    monkeypatch.delenv("COMP_LINE")
    shown = run("agent", "-help").out
    assert "-retry-join" in offered
    assert all(f"  {name}" in shown for name in offered)


def test_what_stands_behind_the_cursor_does_not_matter(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed(run, monkeypatch, "svcmesh wa -type=nodes", point=10) == ["watch"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_installing_adds_one_line_and_uninstalling_takes_it_back(run: Run, home: Path) -> None:
    (home / ".bashrc").write_text("alias x=y\n")
    (home / ".zshrc").write_text("")
    for _ in range(2):
        assert run("-autocomplete-install").status == 0
    lines = (home / ".bashrc").read_text().splitlines()
    assert lines[0] == "alias x=y"
    assert len(lines) == 2
    assert lines[1].startswith("complete -C ")
    assert "bashcompinit" in (home / ".zshrc").read_text()
    assert run("-autocomplete-uninstall").status == 0
    assert (home / ".bashrc").read_text() == "alias x=y\n"


def test_without_a_shell_there_is_nothing_to_install_to(run: Run, home: Path) -> None:
    result = run("-autocomplete-install")
    assert result.status == 1
    assert result.err.startswith("Error installing autocomplete: no .bashrc or .zshrc in ")
