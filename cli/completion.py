"""Completion in the shell, the way Consul's tool has it: `svcmesh -autocomplete-install`.

Bash (and zsh, by its bashcompinit) runs the program itself with the line so far in `COMP_LINE`,
and takes the lines that it prints. Nothing is asked of an agent: it has to be quick.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from cli.errors import CommandError
from cli.flags import Flag
from cli.groups import LazyGroup

SHELL_FILES: Final = {
    ".bashrc": "complete -C {program} svcmesh",
    ".zshrc": "autoload -U +X bashcompinit && bashcompinit; complete -C {program} svcmesh",
}
_MARK: Final = " # svcmesh -autocomplete-install"


def print_completions(root: LazyGroup, environment: Mapping[str, str]) -> None:
    """Print what the word at the end of the line may become."""
    line = environment["COMP_LINE"]
    point = environment.get("COMP_POINT", "")
    if point.isdecimal():
        line = line[: int(point)]
    words = line.split()
    begun = words.pop() if words and not line[-1].isspace() else ""
    for candidate in candidates(root, words[1:], begun):
        click.echo(candidate)


def candidates(root: LazyGroup, words: Sequence[str], begun: str) -> list[str]:
    """What `begun` may become after `words`, the program's name not among them."""
    context = click.Context(root, info_name="svcmesh")
    command: click.Command = root
    for word in words:
        if not isinstance(command, LazyGroup):
            break
        found = command.get_command(context, word)
        if found is None:
            return []
        command = found
    if isinstance(command, LazyGroup):
        names = command.list_commands(context)
    else:
        dashes = "--" if begun.startswith("--") else "-"
        names = sorted(
            f"{dashes}{name}"
            for one in command.params
            if isinstance(one, Flag) and one.section
            for name in one.names
        )
        if not begun.startswith("-"):
            # What follows flags is files, mostly: the shell's own completion is better at those.
            return []
    return [name for name in names if name.startswith(begun)]


def install(home: Path) -> list[Path]:
    """Have the user's shells complete from their next start; the files that were changed.

    Raises:
        CommandError: There is no shell's file, or it cannot be written.
    """
    program = shutil.which("svcmesh") or os.path.abspath(sys.argv[0])
    files = [home / name for name in SHELL_FILES if (home / name).exists()]
    if not files:
        names = " or ".join(SHELL_FILES)
        raise CommandError(f"Error installing autocomplete: no {names} in {home}")
    for file in files:
        line = SHELL_FILES[file.name].format(program=program) + _MARK
        _rewrite(file, added=line)
    return files


def uninstall(home: Path) -> list[Path]:
    """Take back what `install` has written; the files that were changed.

    Raises:
        CommandError: A file cannot be written.
    """
    files = [home / name for name in SHELL_FILES if (home / name).exists()]
    return [file for file in files if _rewrite(file, added=None)]


def _rewrite(file: Path, *, added: str | None) -> bool:
    try:
        before = file.read_text(encoding="utf-8", errors="surrogateescape")
        kept = [line for line in before.splitlines() if not line.endswith(_MARK)]
        after = "\n".join([*kept, *([added] if added else [])]) + "\n"
        if after == before:
            return False
        file.write_text(after, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise CommandError(f"Error installing autocomplete: {error}") from error
    return True
