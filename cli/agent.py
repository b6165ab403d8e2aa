"""`svcmesh agent`: runs an agent. Its flags come from the table of settings."""

from typing import Final

from cli.errors import CommandError
from cli.flags import HIDDEN, Flag, FlagKind, GoCommand
from svcmesh.config import FOREIGN, SETTINGS, Kind, load_config
from svcmesh.errors import ConfigError

_KINDS: Final[dict[Kind, FlagKind]] = {
    Kind.BOOLEAN: "bool",
    Kind.STRINGS: "list",
    Kind.STRING_MAP: "list",
}
"""Numbers and durations are text here: the parser of settings names the setting in errors."""

_METAVARS: Final = {Kind.INTEGER: "int", Kind.DURATION: "duration", Kind.STRING_MAP: "key:value"}

_PROCESS_FLAGS: Final = (
    Flag(
        ["config-file", "config-dir"],
        kind="list",
        metavar="path",
        help="File in JSON or HCL, or folder whose .json and .hcl files are read in alphabetical "
        "order. Can be repeated; later ones win, lists add up.",
    ),
    Flag(
        ["config-format"],
        kind="text",
        metavar="json|hcl",
        help="Read configuration files in this language whatever their extensions.",
    ),
    Flag(
        ["hcl"],
        kind="list",
        metavar="fragment",
        help="Configuration in HCL, read after everything else. Can be repeated.",
    ),
    Flag(
        ["dev"],
        kind="bool",
        help="Development: a server on loopback that needs nothing else and keeps everything in "
        "memory.",
    ),
)


def _setting_flags() -> list[Flag]:
    return [
        Flag(
            [setting.flag],
            kind=_KINDS.get(setting.kind, "text"),
            metavar=_METAVARS.get(setting.kind, "value"),
            help=f"{setting.doc} Default: {setting.default_text}"
            if setting.default_text
            else setting.doc,
        )
        for setting in SETTINGS
        if setting.flag
    ]


def _foreign_flags() -> list[Flag]:
    """Consul's flags of features that are not built: understood, and warned of or refused."""
    return [
        Flag(
            [foreign.flag],
            kind="bool" if foreign.flag_is_bool else "list",
            section=HIDDEN,
            help=foreign.about,
        )
        for foreign in FOREIGN
        if foreign.flag
    ]


def _run(args: tuple[str, ...], **values: object) -> int:
    if args:
        raise CommandError(f"==> Unexpected extra arguments: [{' '.join(args)}]")
    names = {param.name: param.names[0] for param in agent.params if isinstance(param, Flag)}
    flags = {names[name]: value for name, value in values.items() if value is not None}
    files = flags.pop("config-file")
    assert isinstance(files, tuple)
    try:
        config = load_config(flags, files)
    except ConfigError as error:
        raise CommandError(f"==> {error}") from None
    # Imported here: a mistake in the configuration is told at once.
    from svcmesh.process import run

    return run(config)


agent: Final = GoCommand(
    "agent",
    params=[*_PROCESS_FLAGS, *_setting_flags(), *_foreign_flags()],
    callback=_run,
    help="""Start an agent and run it until it is told to end.

    SIGINT and SIGTERM end it, a second one at once; whether it leaves the cluster first is up to
    skip_leave_on_interrupt and leave_on_terminate. SIGHUP reads its configuration again, as
    `svcmesh reload` does.

    Flags win over configuration files, -hcl fragments over flags; lists of all of them add up.
    docs/configuration.md has every setting, flag or not.

    Consul's flags of features that are not built are known: harmless ones are warned of, the
    others refused.""",
)
