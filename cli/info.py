"""`svcmesh info`: an agent's counters and gauges, in groups."""

import click

from cli.client import client_flags, client_from_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand


@click.command("info", cls=GoCommand)
@client_flags
def info(args: tuple[str, ...], **http: object) -> int:
    """Print debugging information for operators."""
    try:
        about = client_from_flags(http).get("/v1/agent/self")
    except ApiError as error:
        raise CommandError(f"Error querying agent: {error}") from None
    for group, values in sorted((about.get("Stats") or {}).items()):
        click.echo(f"{group}:")
        for key, value in sorted(values.items()):
            click.echo(f"\t{key} = {value}")
    return 0
