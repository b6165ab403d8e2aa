"""Flags as Go programs take them: `-flag`, `--flag`, `-flag=value`, `-flag value`, `-flag=false`.

`GoCommand` is a click command that reads them: it rewrites the arguments to click's own form
first. Flags end at the first argument that is none, or at `--`.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import click

from cli.errors import CommandError, FlagError
from svcmesh.goformats import parse_bool

F = TypeVar("F", bound=Callable[..., object])

FlagKind: TypeAlias = Literal["text", "int", "bool", "list"]

HELP_FLAGS: Final = frozenset({"h", "help"})
COMMAND_OPTIONS: Final = "Command Options"
HTTP_OPTIONS: Final = "HTTP API Options"
HIDDEN: Final = ""
"""Section of flags that help does not show."""

_WIDTH: Final = 72


class Flag(click.Option):
    """One flag. `names` are spellings that fill the same parameter, in the order given."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        kind: FlagKind,
        help: str,
        section: str = COMMAND_OPTIONS,
        metavar: str = "value",
    ) -> None:
        declarations = [f"--{name}" for name in names]
        if kind == "bool":
            # Only ever seen by click: `-flag=false` is rewritten to it.
            declarations = [f"--{names[0]}/--no-{names[0]}"]
        super().__init__(
            [*declarations, names[0].replace("-", "_")],
            help=help,
            multiple=kind == "list",
            type={"bool": None, "int": int}.get(kind, str),
            default=None,
        )
        self.names = tuple(names)
        self.kind, self.section, self.placeholder = kind, section, metavar

    def usage(self) -> str:
        """Lines of help for this flag."""
        value = "" if self.kind == "bool" else f"=<{self.placeholder}>"
        spellings = [f"  -{name}{value}" for name in self.names]
        text = textwrap.fill(
            self.help or "", _WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5
        )
        return "\n".join([*spellings, text])


def flag(
    *names: str,
    help: str,
    kind: FlagKind = "text",
    metavar: str = "value",
    section: str = COMMAND_OPTIONS,
) -> Callable[[F], F]:
    """Declare a flag of a command. One that is not given is None, or an empty tuple."""
    return click.option(*names, cls=Flag, kind=kind, metavar=metavar, section=section, help=help)


class GoCommand(click.Command):
    """A command with Go-style flags. `arguments` describes what follows them in the usage line.

    Its callback gets every flag by name, and `args`: what follows the flags.
    """

    def __init__(
        self,
        name: str | None,
        *,
        callback: Callable[..., int],
        help: str | None = None,
        params: list[click.Parameter] | None = None,
        arguments: str = "",
    ) -> None:
        rest = click.Argument(["args"], nargs=-1, type=click.UNPROCESSED)
        super().__init__(
            name,
            callback=callback,
            help=help,
            params=[*(params or []), rest],
            add_help_option=False,
        )
        self.arguments = arguments

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take Go-style arguments; the rest of the work is click's."""
        try:
            return super().parse_args(ctx, self._canonical(ctx, args))
        except FlagError as error:
            raise self._with_usage(ctx, error) from None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a flag that it finds wrong is reported with the usage."""
        try:
            return super().invoke(ctx)
        except FlagError as error:
            raise self._with_usage(ctx, error) from None
        except CommandError as error:
            if late := self._late_flag(ctx.params["args"]):
                error.text += f"\n({late} was taken for an argument: flags come before arguments)"
            raise

    def get_help(self, ctx: click.Context) -> str:
        """Usage, purpose and flags, by section."""
        usage = " ".join(filter(None, [ctx.command_path, "[options]", self.arguments]))
        parts = [f"Usage: {usage}"]
        parts += [
            textwrap.fill(paragraph, _WIDTH, initial_indent="  ", subsequent_indent="  ")
            for paragraph in inspect.cleandoc(self.help or "").split("\n\n")
        ]
        for section in (HTTP_OPTIONS, COMMAND_OPTIONS):
            flags = [p for p in self.params if isinstance(p, Flag) and p.section == section]
            if flags:
                parts.append(section)
            parts += [one.usage() for one in sorted(flags, key=lambda one: one.names)]
        return "\n\n".join(parts)

    def _with_usage(self, ctx: click.Context, error: FlagError) -> CommandError:
        return CommandError(f"{error.text}\n\n{self.get_help(ctx)}", status=error.status)

    def _late_flag(self, args: Sequence[str]) -> str:
        """The first of the arguments that would have been a flag of ours before them."""
        names = {name for one in self.params if isinstance(one, Flag) for name in one.names}
        spelled = {f"{dashes}{name}" for name in names for dashes in ("-", "--")}
        return next((one for one in args if one.partition("=")[0] in spelled), "")

    def _canonical(self, ctx: click.Context, args: Iterable[str]) -> list[str]:
        flags = {
            name: param for param in self.params if isinstance(param, Flag) for name in param.names
        }
        canonical: list[str] = []
        rest = list(args)
        while rest:
            if rest[0] == "--":
                rest.pop(0)
                break
            if not rest[0].startswith("-") or rest[0] == "-":
                break
            name, has_value, value = rest.pop(0).removeprefix("-").removeprefix("-").partition("=")
            one = flags.get(name)
            if one is None:
                if name in HELP_FLAGS:
                    click.echo(self.get_help(ctx))
                    ctx.exit()
                raise FlagError(f"flag provided but not defined: -{name}")
            if one.kind == "bool":
                is_set = _bool(name, value) if has_value else True
                canonical.append(f"--{'' if is_set else 'no-'}{name}")
                continue
            if not has_value:
                if not rest:
                    raise FlagError(f"flag needs an argument: -{name}")
                value = rest.pop(0)
            if one.kind == "int":
                _check_integer(name, value)
            canonical.append(f"--{name}={value}")
        return [*canonical, "--", *rest]


def _bool(name: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise FlagError(f'invalid boolean value "{value}" for -{name}: parse error') from None


def _check_integer(name: str, value: str) -> None:
    try:
        int(value)
    except ValueError:
        raise FlagError(f'invalid value "{value}" for flag -{name}: parse error') from None


def key_value_pairs(name: str, items: Iterable[str]) -> list[tuple[str, str]]:
    """Split `key=value` arguments of a flag.

    Raises:
        FlagError: One has no `=`.
    """
    pairs = []
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise FlagError(
                f'invalid value "{item}" for flag -{name}: Missing "=" value in argument: {item}'
            )
        pairs.append((key, value))
    return pairs


def check_arguments(args: Sequence[str], *, most: int = 0) -> None:
    """Refuse more than so many arguments after the flags.

    Raises:
        CommandError: There are more.
    """
    if len(args) > most:
        raise CommandError(f"Too many arguments (expected {most}, got {len(args)})")
