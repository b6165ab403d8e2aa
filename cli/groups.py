"""Groups of commands, each imported only when it is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import click

from cli.errors import CommandError
from cli.flags import HELP_FLAGS


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and what a listing says of it."""

    module: str
    attribute: str
    summary: str


class LazyGroup(click.Group):
    """A group that imports the command it is asked for.

    Without a command, or with one that it does not have, it prints its usage to standard error and
    ends with `no_command_status`.
    """

    def __init__(
        self, name: str, entries: Mapping[str, Entry], *, purpose: str, no_command_status: int
    ) -> None:
        super().__init__(name, add_help_option=False)
        self._entries = dict(entries)
        self._purpose, self._no_command_status = purpose, no_command_status

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, sorted."""
        return sorted(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command by name."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        command = getattr(import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look at the first argument only; the others are the command's."""
        if args and args[0].lstrip("-") in HELP_FLAGS and args[0].startswith("-"):
            click.echo(self.get_help(ctx))
            ctx.exit()
        if not args or args[0] not in self._entries:
            raise CommandError(self.get_help(ctx), status=self._no_command_status)
        return super().parse_args(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        """Usage and the list of commands."""
        width = max(len(name) for name in self._entries)
        listing = [
            f"    {name:<{width}}    {self._entries[name].summary}"
            for name in self.list_commands(ctx)
        ]
        if ctx.parent is None:
            usage = f"{ctx.command_path} [--version] [--help] <command> [<args>]"
            return "\n".join([f"Usage: {usage}", "", "Available commands are:", *listing])
        usage = f"{ctx.command_path} <subcommand> [options] [args]"
        return "\n".join(
            [f"Usage: {usage}", "", f"  {self._purpose}", "", "Subcommands:", *listing]
        )
