"""`svcmesh reload`."""

from typing import Final

import click

from cli.client import client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand

_SECTIONS: Final = (
    ("Changed:", "Applied"),
    ("Not changed before a restart:", "NeedsRestart"),
    ("Warnings:", "Warnings"),
)


@click.command("reload", cls=GoCommand)
@client_flags
def reload(args: tuple[str, ...], **http: object) -> int:
    """Tell a running agent to read its configuration again, as SIGHUP does.

    Says setting by setting what has changed, and what cannot before a restart. When a file is
    wrong, nothing changes.
    """
    try:
        # A Consul agent answers without a report.
        report = client_from_flags(http).put("/v1/agent/reload", [("report", "1")]) or {}
    except ApiError as error:
        raise CommandError(f"Error reloading: {error}") from None
    click.echo("Configuration reload triggered")
    for title, key in _SECTIONS:
        if lines := report.get(key):
            click.echo("\n".join(["", title, *(f"    {line}" for line in lines)]))
    return 0
