"""`svcmesh reload`."""

import click

from cli.client import client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand


@click.command("reload", cls=GoCommand)
@client_flags
def reload(args: tuple[str, ...], **http: object) -> int:
    """Tell a running agent to read its configuration again, as SIGHUP does.

    What cannot be changed while it runs is named in the agent's log.
    """
    try:
        client_from_flags(http).put("/v1/agent/reload")
    except ApiError as error:
        raise CommandError(f"Error reloading: {error}") from None
    click.echo("Configuration reload triggered")
    return 0
